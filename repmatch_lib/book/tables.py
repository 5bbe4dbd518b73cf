"""The ledger and the records as Markdown tables for pages."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import Markdown

from repmatch_lib.book.claims import DIFFERS, NOT_RUN, REFUTED, REPRODUCED, UNDECIDED, WORDS, rule_changes
from repmatch_lib.book.ledger import ledger, recorded, records
from repmatch_lib.book.records import Record
from repmatch_lib.data.tasks import task as find_task
from repmatch_lib.figures.style import KINDS
from repmatch_lib.paths import project_file
from repmatch_lib.statistics import Estimate


def three_columns(ledger: pd.DataFrame, experiment: str | None = None) -> Markdown:
    """The ledger as a table for a page; one chapter's lines, or all with links to their chapters.

    There is no column of this build's where the page is built from the record.
    """
    chosen = ledger if experiment is None else ledger[ledger.experiment == experiment]
    builds = chosen.build.notna().any()
    rows = [
        {
            "claim": f"{row.where if experiment else chapter_link(row.experiment, row.where)}: {row.claim}",
            "interval must": row.criterion, "paper": row.paper, "recorded": _shown(row.recorded),
            **({"this build": _shown(row.build)} if builds else {}),
            "verdict": _verdict(row) + ("" if math.isnan(row.holm) else f"; Holm's p = {row.holm:.2g}"),
        }
        for row in chosen.itertuples()
    ]  # fmt: skip
    return as_markdown(rows)


def in_short(experiment: str) -> Markdown:
    """What the recorded run says of the paper's claims of a chapter, before anything is explained, as a table.

    Where the paper claims nothing, what it says of our own questions.
    """
    lines = ledger()
    chapter = lines[lines.experiment == experiment]
    own = chapter["where"].str.startswith("beside")
    rows = [
        {
            "our question" if own.all() else "the paper's claim": f"{row.where}: {row.claim}",
            "paper": row.paper,
            "recorded": _shown(row.recorded),
            "verdict": _verdict(row),
        }
        for row in chapter[own if own.all() else ~own].itertuples()
    ]
    return as_markdown(rows)


def rules() -> Markdown:
    """The verdicts and what decides them, as a table for a page."""
    findings = [
        ("a number is above a bound", "above it", "below it", "across it"),
        ("a number is below a bound", "below it", "above it", "across it"),
        ("A comes before B", "of A − B above 0", "of A − B below 0", "across 0"),
        ("a number is x, give or take t", "within t of x", "outside", "across an end of it"),
        ("A does not differ from B", "of A − B within t of 0", "outside", "across an end of it"),
    ]
    return as_markdown(
        [
            {"claim": claim, REPRODUCED: f"interval {yes}", REFUTED: f"interval {no}", UNDECIDED: f"interval {across}"}
            for claim, yes, no, across in findings
        ]
    )


def learned(build: Record) -> Markdown:
    """What the adapters behind a chapter learned, a line a task, in the recorded run and in this build."""
    rows = []
    for kind, record in _both(build).items():
        table = pd.DataFrame(record.provenance.get("learned") or [])
        for task, of_task in table.groupby("task", sort=False) if len(table) else ():
            losses = pd.DataFrame(of_task.loss.tolist())
            rows.append(
                {
                    "task": find_task(str(task)).title, "run": kind, "adapters": str(len(of_task)),
                    "ahead of the constant answer": str(int((of_task.lead_low > 0).sum())),
                    "on development rows": f"{of_task.metric.iloc[0]} {_range(of_task.value)}",
                    "constant answer": _range(of_task.constant),
                    "loss, first to last pass": f"{_range(losses.first_epoch)} to {_range(losses.last_epoch)}",
                    "of a constant answer": _range(losses.constant),
                }
            )  # fmt: skip
    return as_markdown(rows) if rows else Markdown("No record says it.")


def _range(values: pd.Series) -> str:
    """Two digits of one value, or of the lowest and the highest."""
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} – {high}"


def state(lines: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How many lines of the ledger have which verdict: by kind, undecided ones together whatever the reason."""
    words = lines.verdict.where(~lines.verdict.str.startswith(UNDECIDED), UNDECIDED)
    order = {kind: [*both, *([DIFFERS] if kind == "value" else []), UNDECIDED, NOT_RUN] for kind, both in WORDS.items()}
    return {
        kind: {word: int((words[lines.kind == kind] == word).sum()) for word in of_kind}
        for kind, of_kind in order.items()
    }


def state_table(lines: pd.DataFrame) -> Markdown:
    """`state` as a table for a page."""
    counted = state(lines)
    words = list(dict.fromkeys(word for of_kind in counted.values() for word in of_kind))
    return as_markdown(
        [
            {"lines": f"{kind}es" if kind.endswith("s") else f"{kind}s"} | {w: str(of_kind.get(w, "–")) for w in words}
            for kind, of_kind in counted.items()
        ]
    )


def changes() -> Markdown:
    """When the rules were changed, what and why, as a table for a page."""
    return as_markdown([{name: str(change[name]) for name in ("date", "what", "why")} for change in rule_changes()])


def recorded_with(folder: str | Path | None = None) -> Markdown:
    """What the recorded numbers were made with, as a table for a page."""
    rows = []
    for record in records(folder or project_file("data/recorded")).values():
        made, trained = record.provenance, record.provenance["training"]
        long = "epochs" if "epochs" in trained else "steps"
        sources = sorted({corpus["source"].partition(":")[0] for corpus in made["corpora"]})
        rows.append(
            {
                "experiment": chapter_link(record.experiment, record.experiment),
                "encoder": listed(made["encoder"]["name"]),
                "weights (SHA-256)": re.sub(r"(\w{12})\w+", r"`\1…`", listed(made["encoder"]["weights_sha256"])),
                "corpora": ", ".join(sources),
                "rows": listed(record.parameters.get("rows", sorted({corpus["rows"] for corpus in made["corpora"]}))),
                "rank": listed(trained["rank"]),
                "learning rate": listed(trained["lr"]), "training length": f"{listed(trained[long])} {long}",
                "precision": listed(trained["precision"]), "device": listed(trained["device"]),
                "training": f"{record.measured['training_seconds'] / 60:.0f} min",
            }
        )  # fmt: skip
    return as_markdown(rows) if rows else Markdown("No recorded run yet.")


def running_times(build: Record) -> Markdown:
    """How long the training behind a chapter took, in the recorded run and in this build, as a table for a page."""
    rows = [
        {"": kind, "training, minutes of one core": f"{record.measured['training_seconds'] / 60:.1f}"}
        for kind, record in _both(build).items()
    ]
    return as_markdown(rows)


def _both(build: Record) -> dict[str, Record]:
    """A chapter's records by the kind of number: one, where the build is made of the recorded results."""
    known = recorded(build.experiment)
    ours = {} if known and build.repeats(known) else {"this build": build}
    return ({"recorded": known} if known else {}) | ours


def points_table(
    points: Sequence[tuple[str, str, Estimate | float]], quantity: str = "quantity", spec: str = ".3f"
) -> Markdown:
    """Points, as `estimates_figure` draws them, as a table for a page: a line a label, a column a kind of number."""
    kinds = [kind for kind in KINDS if any(kind == one for _, one, _ in points)]
    lines: dict[str, dict[str, str]] = {}
    for label, kind, value in points:
        line = lines.setdefault(label, {quantity: label} | dict.fromkeys(kinds, "–"))
        if not math.isnan(value.value if isinstance(value, Estimate) else value):
            line[kind] = format(value, spec)
    return as_markdown(list(lines.values())) if lines else Markdown("Neither run has any.")


def as_markdown(rows: list[dict[str, str]]) -> Markdown:
    """Rows as a Markdown table, in a container of its own, for its style and so that it scrolls by itself.

    Names of a user's files, tasks and encoders may stand in it: an element of HTML is shown, and not one.
    """
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    cells = [[cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in line] for line in lines]
    text = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    return Markdown(f":::{{container}} ledger\n\n{text}\n\n:::")


def chapter_link(experiment: str, text: str) -> str:
    """A link to the chapter, if there is one yet."""
    is_chapter = project_file(f"notebooks/{experiment}.ipynb").is_file()
    return f"[{text}]({experiment}.ipynb)" if is_chapter else text


def listed(value: Any) -> str:
    """One value, or several with commas; a rank or a number of rows that is none is all there are."""
    return ", ".join("all" if one is None else str(one) for one in (value if isinstance(value, list) else [value]))


def _verdict(row: Any) -> str:
    """The verdict of a line of the ledger; where a claim cannot be run, with what that needs."""
    return f"{row.verdict}: needs {row.needs}" if row.verdict == NOT_RUN and row.needs else row.verdict


def _shown(estimate: Estimate | None) -> str:
    return str(estimate) if estimate and not math.isnan(estimate.value) else "–"
