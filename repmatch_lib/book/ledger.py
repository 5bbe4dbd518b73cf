"""The paper's numbers and claims, the rules that decide a verdict, and the ledger of recorded and built numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from repmatch_lib.book.records import Record
from repmatch_lib.paths import project_file
from repmatch_lib.statistics import Estimate

REPRODUCED, REFUTED, UNDECIDED, NOT_RUN = "reproduced", "not reproduced", "undecided", "not run"


# A rule looks at the interval alone: wholly on the claim's side, wholly off it, or across the bound.
RULES: dict[str, tuple[str, Callable[[Estimate, float], tuple[bool, bool]]]] = {
    "above": ("lie above {bound}", lambda e, b: (e.low > b, e.high <= b)),
    "below": ("lie below {bound}", lambda e, b: (e.high < b, e.low >= b)),
    "value": ("hold {bound}", lambda e, b: (e.low <= b <= e.high, not e.low <= b <= e.high)),
}


@dataclass(frozen=True)
class Claim:
    """One claim of the paper and the rule it is judged by; where it cannot be run, what that needs."""

    id: str
    where: str
    claim: str
    paper: str
    experiment: str
    estimate: str
    rule: dict[str, float]
    needs: str = ""

    @property
    def criterion(self) -> str:
        """The rule in words: what the interval must do."""
        ((kind, bound),) = self.rule.items()
        return RULES[kind][0].format(bound=f"{bound:g}")

    def verdict(self, estimate: Estimate | None) -> str:
        """Judge an estimate; none, or one without an interval, decides nothing."""
        if estimate is None:
            return NOT_RUN
        if math.isnan(estimate.low):
            return UNDECIDED
        ((kind, bound),) = self.rule.items()
        holds, fails = RULES[kind][1](estimate, bound)
        return REPRODUCED if holds else REFUTED if fails else UNDECIDED


def published_numbers() -> dict[str, Any]:
    """The paper's numbers, as ``data/published/numbers.json`` holds them."""
    return json.loads(project_file("data/published/numbers.json").read_text())


def claims() -> list[Claim]:
    """The paper's claims, in its own order."""
    numbers = published_numbers()
    items = yaml.safe_load(project_file("data/published/claims.yaml").read_text())
    return [_claim(item, _paper(numbers, item["paper"])) for item in items]


def records(folder: str | Path) -> dict[str, Record]:
    """The records of a folder, by experiment; those of runs with other parameters go by longer names and are left."""
    by_name = {file.stem: Record.load(file) for file in sorted(Path(folder).glob("*.json"))}
    return {name: record for name, record in by_name.items() if record.experiment == name}


def recorded(experiment: str) -> Record | None:
    """The recorded run of an experiment, if there is one."""
    file = project_file("data/recorded") / f"{experiment}.json"
    return Record.load(file) if file.is_file() else None


def keep(build: str | Path, names: list[str]) -> None:
    """Make a build's records the recorded ones.

    Raises
    ------
    ValueError
        If the build lacks one of them.
    """
    built = records(build)
    if lacking := sorted(set(names) - built.keys()):
        raise ValueError(f"{build} has no record of {lacking[0]}; it has {', '.join(sorted(built)) or 'none'}")
    for name in names:
        built[name].save(project_file("data/recorded") / f"{name}.json")


def ledger(build: str | Path | Record | None = None, recorded: str | Path | None = None) -> pd.DataFrame:
    """One row a claim: the paper's number, the recorded one, this build's, and the verdict on the recorded one.

    Parameters
    ----------
    build : folder or Record, optional
        This build's records, or the one a chapter has just made.
    recorded : folder, optional
        ``data/recorded`` if not given.

    Returns
    -------
    DataFrame
        ``id``, ``where``, ``claim``, ``criterion``, ``paper``, ``recorded`` and ``build`` (Estimate or None),
        ``verdict``, ``experiment``, ``needs``.
    """
    known = records(recorded or project_file("data/recorded"))
    built = {build.experiment: build} if isinstance(build, Record) else records(build) if build else {}
    rows = []
    for claim in claims():
        numbers = {
            name: found[claim.experiment].estimates.get(claim.estimate) if claim.experiment in found else None
            for name, found in (("recorded", known), ("build", built))
        }
        rows.append(
            {
                "id": claim.id, "where": claim.where, "claim": claim.claim, "criterion": claim.criterion,
                "paper": claim.paper, **numbers, "verdict": claim.verdict(numbers["recorded"]),
                "experiment": claim.experiment, "needs": claim.needs,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _claim(item: dict[str, Any], paper: str) -> Claim:
    """A claim; a bound given as ``paper`` is the paper's number as it is shown."""
    rule = {
        kind: float(paper.removesuffix(" %")) if bound == "paper" else bound for kind, bound in item["rule"].items()
    }
    return Claim(**item | {"paper": paper, "rule": rule})


def _paper(numbers: dict[str, Any], text: str) -> str:
    """A path into the numbers, or a share of two, ``path % of path``; any other text as it stands."""
    part, share, whole = text.partition(" % of ")
    if not share:
        return _number(numbers, text)
    return f"{100 * float(_number(numbers, part)) / float(_number(numbers, whole)):.2f} %"


def _number(numbers: dict[str, Any], text: str) -> str:
    """The text with each path into the numbers, in braces or alone, followed; any other text as it stands."""
    if "{" in text:
        return re.sub(r"\{([^}]+)\}", lambda match: _number(numbers, match[1]), text)
    value: Any = numbers
    for part in text.split("/"):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return text
    return str(value)
