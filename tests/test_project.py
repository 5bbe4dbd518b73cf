"""The repository keeps its promises: files in step with each other, pages true to the library."""

import re
import shutil
import sys
import tomllib
from pathlib import Path

import nbformat
import pyarrow.parquet as pq
import pytest
import yaml
from packaging.requirements import Requirement

import repmatch_lib as rm
from repmatch_lib.book import ledger as published
from repmatch_lib.book.records import Record

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    return [Requirement(r) for r in [*PROJECT["dependencies"], *extras["book"], *extras["test"]]]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    pins = {name.lower().replace("_", "-"): version for name, version in PINS.items()}
    assert requirement.specifier.contains(pins[requirement.name.lower()], prereleases=True)


def test_constraints_name_no_machine() -> None:
    assert not re.search(r"[/@+]|://", (ROOT / "constraints.txt").read_text())


def test_conda_environment_installs_what_pyproject_asks_for() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    (python,) = [d.partition("=")[2] for d in plain if d.startswith("python=")]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)
    assert "--constraint constraints.txt" in pip
    (own,) = [line for line in pip if line.startswith("--editable")]
    extras = set(re.search(r"\[(.*)\]", own)[1].split(","))
    assert extras == {"book", "test"} <= PROJECT["optional-dependencies"].keys()


def test_method_page_examples_hold() -> None:
    """Every Python block of the page, in order; they hold assertions of the worked example."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "book/method.md").read_text(), flags=re.DOTALL)
    assert blocks and any("assert" in block for block in blocks)
    scope: dict = {}
    for block in blocks:
        exec(compile(block, "method.md", "exec"), scope)


@pytest.mark.parametrize("task", sorted({task.folder or task.name for task in rm.TASKS.values()}))
def test_bundled_corpora_are_what_their_script_writes(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "data/mini")
    from build import generate

    for split, table in generate(task).items():
        assert pq.read_table(ROOT / f"data/mini/{task}/{split}.parquet").to_pylist() == table.to_pylist()


def test_bundled_corpora_load_and_their_splits_share_no_row() -> None:
    for task in rm.TASKS.values():
        train, validation = (rm.load(task, split, source="mini") for split in ("train", "validation"))
        columns = [c for c in ("text", "text_pair") if c in train.table.column_names]
        rows = [set(zip(*(c.table[n].to_pylist() for n in columns), strict=True)) for c in (train, validation)]
        assert not rows[0] & rows[1]


def test_a_claim_without_a_record_is_not_run(tmp_path: Path) -> None:
    with_records = rm.ledger(build=tmp_path)
    assert "seed_robustness" in set(with_records[with_records.verdict != "not run"].experiment)
    shutil.copytree(ROOT / "data/recorded", tmp_path / "recorded")
    (tmp_path / "recorded/seed_robustness.json").unlink()
    without = rm.ledger(build=tmp_path, recorded=tmp_path / "recorded")
    assert set(without[without.experiment == "seed_robustness"].verdict) == {"not run"}


def test_claims_name_estimates_that_their_records_hold() -> None:
    known = published.records(ROOT / "data/recorded")
    asked = [claim for claim in published.claims() if claim.experiment in known and not claim.needs]
    lines = [(claim.id, claim.estimate, known[claim.experiment].estimates) for claim in asked]
    assert not [line for line, name, estimates in lines if not any(one in estimates for one in names_alike(name))]


def names_alike(estimate: str) -> list[str]:
    """The name of an estimate, and of the same for another task: a recorded run may leave a task out."""
    task, rest = re.match(r"(\w*)(.*)", estimate).groups()
    return [estimate] + ([f"{other}{rest}" for other in rm.TASKS] if task in rm.TASKS else [])


@pytest.mark.parametrize(
    ("path", "text"),
    [("a/b", "0.5"), ("a/c/1", "4.8"), ("a/c/1/0", "a/c/1/0"), ("a/c/2", "a/c/2"), ("a/c/-1", "a/c/-1"), ("x", "x")],
)
def test_a_path_into_the_numbers_follows_lists(path: str, text: str) -> None:
    assert published._number({"a": {"b": 0.5, "c": [91.4, 4.8]}}, path) == text


# What the paper's numbers hold beside claims: definitions and settings.
SETTINGS = {"what", "metric", "note", "source", "layers", "instances", "anchor", "columns", "threshold", "subset"}
SETTINGS |= {"stsb_size", "finetuning", "hyperparameters", "training_sets"}


def leaves(numbers: object, path: str = "") -> list[str]:
    """Paths to every number and claim; of a mean with its deviation, the mean."""
    if isinstance(numbers, dict):
        return [leaf for k, v in numbers.items() if k not in SETTINGS for leaf in leaves(v, f"{path}/{k}".strip("/"))]
    if isinstance(numbers, list):
        return [f"{path}/{k}" for k in ([0] if len(numbers) == 2 else range(len(numbers)))]
    return [path]


def test_every_number_of_the_paper_has_a_line_in_the_ledger() -> None:
    lines = yaml.safe_load((ROOT / "data/published/claims.yaml").read_text())
    cited = {path for line in lines for path in re.findall(r"[\w.|-]+(?:/[\w.|-]+)+", line["paper"])}
    asked = set(leaves(published.published_numbers())) - {"table3/mid"}
    assert len(asked) > 60 and not asked - cited


def test_a_claim_that_cannot_be_run_says_what_it_needs(tmp_path: Path) -> None:
    table = rm.three_columns(rm.ledger(build=tmp_path, recorded=tmp_path), "other_encoders").data
    assert table.count("not run: needs ELECTRA-base from the hub") == 2 and "not run: needs LLaMA2-7B" in table


def test_no_public_name_is_a_module_s() -> None:
    modules = {path.stem for path in (ROOT / "repmatch_lib").iterdir()}
    assert not modules & set(rm.__all__)  # the import of a module would put it where the name was


def test_a_chapter_opens_with_the_verdicts_on_the_paper_s_claims() -> None:
    claims = published.claims()
    for chapter in {claim.experiment for claim in claims}:
        cells = nbformat.read(ROOT / f"notebooks/{chapter}.ipynb", as_version=4).cells
        first = next(cell for cell in cells[1:] if "install" not in cell.metadata.get("tags", []))
        assert "## The result first" in cells[0].source and f'rm.in_short("{chapter}")' in first.source
        shown = rm.in_short(chapter).data
        own = [claim for claim in claims if claim.experiment == chapter]
        asked = [claim for claim in own if not claim.where.startswith("beside")] or own
        assert sum(line.startswith("| ") for line in shown.splitlines()) == len(asked) + 2
        assert all(claim.claim.replace("|", "\\|") in shown for claim in asked)


def test_numbers_of_the_paper_in_the_text_are_the_paper_s() -> None:
    texts = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]
    quoted = [number for text in texts for number in re.findall(r"\[([\d.]+)\]\{\.paper\}", text.read_text())]
    known = re.findall(r"\d+(?:\.\d+)?", str(published.published_numbers()))
    assert quoted and set(quoted) <= set(known)


@pytest.mark.parametrize(
    ("rule", "interval", "verdict"),
    [
        ({"above": 0.7}, (0.71, 0.9), "reproduced"),
        ({"above": 0.7}, (0.5, 0.69), "not reproduced"),
        ({"above": 0.7}, (0.6, 0.8), "undecided"),
        ({"below": 0.02}, (0.0, 0.019), "reproduced"),
        ({"below": 0.02}, (0.03, 0.04), "not reproduced"),
        ({"value": 0.45}, (0.4, 0.5), "reproduced"),
        ({"value": 0.45}, (0.1, 0.2), "not reproduced"),
        ({"above": 0.0}, (float("nan"), float("nan")), "undecided"),
    ],
)
def test_verdicts_follow_the_interval(rule: dict, interval: tuple[float, float], verdict: str) -> None:
    claim = published.Claim("id", "where", "claim", "paper", "experiment", "estimate", rule)
    assert claim.verdict(rm.Estimate(sum(interval) / 2, *interval, 5, "seed")) == verdict
    assert claim.verdict(None) == "not run"


def test_recorded_results_are_real_and_whole() -> None:
    for record in published.records(ROOT / "data/recorded").values():
        assert {c["source"].partition(":")[0] for c in record.provenance["corpora"]} <= {"local", "hub", "scikit-learn"}
        asked = {c.estimate for c in published.claims() if c.experiment == record.experiment and not c.needs}
        claimed = [estimate for name, estimate in record.estimates.items() if name in asked]
        assert claimed or not asked
        assert all(estimate.n >= (3 if estimate.unit == "head" else 5) for estimate in claimed)
        assert {"encoder", "corpora", "training", "software"} <= record.provenance.keys()


def test_cover_figure_is_drawn_from_the_recorded_run() -> None:
    digest = Record.load(ROOT / "data/recorded/dataset_heatmaps.json").digest
    assert digest in (ROOT / "book/_static/cover.svg").read_text()


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_figures_have_alternative_text_and_caption(notebook: Path) -> None:
    drawn = {"rm.grid_panels", "rm.matrix(", "rm.estimates_figure", "rm.share_curves", "rm.spectrum_figure", "picture("}
    drawn |= {"rm.matrix_panels", "rm.order_figure"}
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code" and any(name in cell.source for name in drawn):
            described = cell.metadata.get("mystnb", {})
            assert described.get("image", {}).get("alt") and described.get("figure", {}).get("caption")


def test_importing_the_library_does_not_import_torch() -> None:
    import subprocess

    planning = "repmatch_lib.cli, repmatch_lib.book.notebooks, repmatch_lib.experiments.catalogue"
    code = f"import {planning}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
