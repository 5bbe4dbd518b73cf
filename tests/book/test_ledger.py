"""Every claim of the paper has its line, its estimate and its verdict."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

import repmatch_lib as rm
from repmatch_lib.book import claims, ledger


def test_a_claim_without_a_record_is_not_run(tmp_path: Path) -> None:
    with_records = rm.ledger(build=tmp_path)
    assert "seed_robustness" in set(with_records[with_records.verdict != "not run"].experiment)
    shutil.copytree(ROOT / "data/recorded", tmp_path / "recorded")
    (tmp_path / "recorded/seed_robustness.json").unlink()
    without = rm.ledger(build=tmp_path, recorded=tmp_path / "recorded")
    assert set(without[without.experiment == "seed_robustness"].verdict) == {"not run"}


def test_claims_name_estimates_that_their_records_hold() -> None:
    known = ledger.records(ROOT / "data/recorded")
    asked = [claim for claim in rm.claims() if claim.experiment in known and not claim.needs]
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
    assert claims._number({"a": {"b": 0.5, "c": [91.4, 4.8]}}, path) == text


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
    asked = set(leaves(rm.published_numbers())) - {"table3/mid"}
    assert len(asked) > 60 and not asked - cited


def test_a_claim_that_cannot_be_run_says_what_it_needs(tmp_path: Path) -> None:
    table = rm.three_columns(rm.ledger(build=tmp_path, recorded=tmp_path), "other_encoders").data
    assert table.count("not run: needs ELECTRA-base from the hub") == 2 and "not run: needs LLaMA2-7B" in table


def test_recorded_results_are_real_and_whole() -> None:
    for record in ledger.records(ROOT / "data/recorded").values():
        assert {c["source"].partition(":")[0] for c in record.provenance["corpora"]} <= {"local", "hub", "scikit-learn"}
        asked = {c.estimate for c in rm.claims() if c.experiment == record.experiment and not c.needs}
        claimed = [estimate for name, estimate in record.estimates.items() if name in asked]
        assert claimed or not asked
        assert all(estimate.n >= (3 if estimate.unit in ("head", "seed") else 5) for estimate in claimed)
        assert {"encoder", "corpora", "training", "software"} <= record.provenance.keys()


def test_a_share_of_the_paper_comes_from_its_counts() -> None:
    numbers = rm.published_numbers()
    claim = next(c for c in rm.claims() if c.id == "share-mnli-full")
    expected = 100 * numbers["table3"]["MNLI"]["full"] / numbers["training_sets"]["MNLI"]
    assert claim.paper == f"{expected:.2f} %" and claim.rule["value"] == pytest.approx(expected, abs=0.005)
    assert claim.rule["within"] == pytest.approx(claim.rule["value"] / 10)
    assert claim.verdict(rm.Estimate(expected, expected - 0.01, expected + 0.01, 9, "row")) == "reproduced"
    written = yaml.safe_load(Path(ROOT / "data/published/claims.yaml").read_text())
    plain = {c["id"]: c for c in written if " % of " not in c["paper"]}
    assert all(c.rule == plain[c.id]["rule"] for c in rm.claims() if c.id in plain)
