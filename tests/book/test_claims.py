"""What decides a verdict: the interval against the rule, the gates before it, and Holm's correction."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from helpers import ROOT
from scipy.stats import ttest_1samp

import repmatch_lib as rm
from repmatch_lib.book import claims, ledger

UNDECIDED = "undecided"


def claim(rule: dict[str, float], kind: str = "finding", **more: object) -> claims.Claim:
    return claims.Claim("id", "where", "claim", "paper", "experiment", "estimate", rule, kind, **more)


def interval(low: float, high: float, value: float | None = None) -> rm.Estimate:
    return rm.Estimate((low + high) / 2 if value is None else value, low, high, 5, "seed")


@pytest.mark.parametrize(
    ("rule", "ends", "verdict"),
    [
        ({"above": 0.7}, (0.71, 0.9), "reproduced"),
        ({"above": 0.7}, (0.5, 0.69), "not reproduced"),
        ({"above": 0.7}, (0.65, 0.85), UNDECIDED),
        ({"above": 0.7}, (0.5, 0.72), UNDECIDED),
        ({"below": 0.02}, (0.0, 0.019), "reproduced"),
        ({"below": 0.02}, (0.03, 0.04), "not reproduced"),
        ({"below": 0.02}, (0.01, 0.025), UNDECIDED),
        ({"below": 0.02}, (0.018, 0.04), UNDECIDED),
        ({"value": 0.2, "within": 0.05}, (0.208, 0.237), "reproduced"),
        ({"value": 0.2, "within": 0.05}, (0.15, 0.25), "reproduced"),
        ({"value": 0.2, "within": 0.05}, (0.2, 0.26), UNDECIDED),
        ({"value": 0.2, "within": 0.05}, (0.1, 0.2), UNDECIDED),
        ({"value": 0.2, "within": 0.05}, (0.1, 0.3), UNDECIDED),
        ({"value": 0.2, "within": 0.05}, (0.251, 0.3), "not reproduced"),
        ({"value": 0.2, "within": 0.05}, (0.1, 0.149), "not reproduced"),
        ({"value": 0, "within": 0.05}, (-0.04, 0.03), "reproduced"),
        ({"value": 0, "within": 0.05}, (-0.04, 0.3), UNDECIDED),
        ({"above": 0.0}, (math.nan, math.nan), UNDECIDED),
    ],
)
def test_verdicts_follow_the_ends_of_the_interval(rule: dict, ends: tuple[float, float], verdict: str) -> None:
    assert claim(rule).verdict(interval(*ends)) == verdict
    assert claim(rule).verdict(None) == "not run"


@pytest.mark.parametrize("rule", [{"above": 0.2}, {"below": 0.2}, {"value": 0.2, "within": 0.05}])
def test_where_the_middle_lies_decides_nothing(rule: dict) -> None:
    ends = [k / 100 for k in range(10, 31)]
    for low, high in itertools.combinations(ends, 2):
        assert len({claim(rule).verdict(interval(low, high, value)) for value in (low, high)}) == 1


@pytest.mark.parametrize("narrow", [0.04, 0.01, 0.001])
def test_a_narrower_interval_never_undoes_a_verdict(narrow: float) -> None:
    judged = claim({"value": 0.2, "within": 0.05})
    assert judged.verdict(interval(0.222 - narrow / 2, 0.222 + narrow / 2)) == "reproduced"


def test_values_of_another_encoder_differ_and_refute_nothing() -> None:
    value = claim({"value": 0.2, "within": 0.05}, "value")
    assert value.verdict(interval(0.3, 0.4), same_encoder=False) == "differs; another encoder"
    assert value.verdict(interval(0.3, 0.4)) == "not reproduced"
    assert value.verdict(interval(0.19, 0.21), same_encoder=False) == "reproduced"
    of_vectors = replace(value, rests_on="encoder")
    assert of_vectors.verdict(interval(0.3, 0.4), same_encoder=False) == "differs; another encoder"
    assert replace(value, rests_on="data").verdict(interval(0.3, 0.4), same_encoder=False) == "not reproduced"
    assert claim({"above": 0.5}).verdict(interval(0.3, 0.4), same_encoder=False) == "not reproduced"


def test_guesses_are_confirmed_or_refuted() -> None:
    words = [claim({"above": 0}, "guess").verdict(interval(*ends)) for ends in ((1, 2), (-2, -1), (-1, 1))]
    assert words == ["confirmed", "refuted", UNDECIDED]


def test_one_answer_of_all_runs_decides_nothing() -> None:
    of_arms = claim({"below": 0.5}, arms=("a", "b"))
    assert of_arms.verdict(interval(0, 0)) == "undecided: neither learns"
    assert replace(of_arms, arms=(), estimate="a less b").verdict(interval(3, 3)) == "undecided: neither learns"
    assert replace(of_arms, rests_on="data").verdict(interval(0, 0)) == "reproduced"
    assert claim({"above": 50}).verdict(interval(100, 100)) == "reproduced"  # a share of rows, and all of them


def test_p_values_are_those_of_students_test() -> None:
    runs = {0: 1.2, 1: 0.4, 2: 2.0, 3: 1.1, 4: -0.3}
    expected = ttest_1samp(list(runs.values()), 0.5).pvalue
    assert claim({"above": 0.5}).p_value(rm.mean_over(runs)) == pytest.approx(expected)
    assert math.isnan(claim({"above": 0.5}).p_value(None))


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, never falling; NaN is no member of the family.
    assert claims.holm([0.02, math.nan, 0.5, 0.01, 0.03]) == pytest.approx(
        [0.06, math.nan, 0.5, 0.04, 0.06], nan_ok=True
    )
    assert claims.holm([0.9, 0.8]) == [1.0, 1.0]


LEARNED = {"task": "sst2", "value": 0.8, "constant": 0.5, "lead_low": 0.2}


def record(estimates: dict[str, rm.Estimate], learned: list[dict] | None, encoder: str = "minilm") -> rm.Record:
    provenance = {"encoder": {"name": encoder}, "learned": learned, "software": {"git_commit": "abc"}}
    return rm.Record("top100_selection", {}, estimates, [], provenance, {})


def verdicts(tmp_path: Path, made: rm.Record) -> dict[str, str]:
    (tmp_path / "recorded").mkdir(exist_ok=True)
    made.save(tmp_path / "recorded/top100_selection.json")
    table = rm.ledger(recorded=tmp_path / "recorded")
    return dict(zip(table.id, table.verdict, strict=True))


def test_an_adapter_at_the_constant_answer_turns_its_lines_to_undecided(tmp_path: Path) -> None:
    estimates = {"sst2": interval(1, 2), "snli": interval(1, 2)}
    both = [LEARNED, LEARNED | {"task": "snli"}]
    assert verdicts(tmp_path, record(estimates, both))["top-sst2"] == "reproduced"
    at_floor = [LEARNED | {"value": 0.5, "lead_low": -0.04}, LEARNED | {"task": "snli"}]
    got = verdicts(tmp_path, record(estimates, at_floor))
    assert got["top-sst2"] == "undecided: the target has not learned its task"
    assert got["top-snli"] == "reproduced"
    assert verdicts(tmp_path, record(estimates, None))["top-sst2"].startswith("undecided: the record does not say")


def test_a_task_that_the_estimate_s_name_leaves_out_counts(tmp_path: Path) -> None:
    """Table 5 scores draws of MNLI against HANS, and table 2 every task against SNLI."""
    floor = LEARNED | {"task": "hans", "lead_low": 0.0}
    of = {c.id: c for c in rm.claims()}
    made = record({}, [LEARNED, LEARNED | {"task": "mnli"}, LEARNED | {"task": "snli"}, floor])
    for line in ("overlap-mnli", "overlap-snli-no", "repmatch-hans", "repmatch-snli-stsb", "transfer-order"):
        assert ledger.gate(of[line], made) == claims.NOT_LEARNED, line
    assert not ledger.gate(of["repmatch-sst2"], made) and not ledger.gate(of["sst2-mnli"], made)
    assert not ledger.gate(of["instance-same"], made) and not ledger.gate(of["cls-hans"], made)


def test_two_arms_at_the_floor_decide_nothing(tmp_path: Path) -> None:
    constant = rm.Estimate(50, math.nan, math.nan, 100, "row")
    arms = {"sst2 top": interval(49, 53), "sst2 random": interval(48, 52), "sst2 commonest class": constant}
    gap = {"sst2": interval(0.5, 1.5)}
    assert verdicts(tmp_path, record(arms | gap, [LEARNED]))["top-sst2"] == "undecided: neither learns"
    one_learns = arms | {"sst2 top": interval(51, 55)}
    assert verdicts(tmp_path, record(one_learns | gap, [LEARNED]))["top-sst2"] == "reproduced"


def test_the_ledger_judges_the_recorded_number_and_shows_both(tmp_path: Path) -> None:
    (tmp_path / "recorded").mkdir()
    record({"sst2": interval(1, 3)}, [LEARNED]).save(tmp_path / "recorded/top100_selection.json")
    build = record({"sst2": interval(-5, -3)}, [LEARNED])
    row = rm.ledger(build=build, recorded=tmp_path / "recorded").set_index("id").loc["top-sst2"]
    assert (row.recorded.value, row.build.value, row.verdict) == (2, -4, "reproduced")
    only_built = rm.ledger(build=build, recorded=tmp_path / "none").set_index("id").loc["top-sst2"]
    assert (only_built.recorded, only_built.build.value, only_built.verdict) == (None, -4, "not run")


def test_the_columns_of_a_page_s_table_hold_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "recorded").mkdir()
    record({"sst2": interval(10, 30)}, [LEARNED]).save(tmp_path / "recorded/top100_selection.json")
    table = rm.ledger(build=record({"sst2": interval(-50, -30)}, [LEARNED]), recorded=tmp_path / "recorded")
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in rm.three_columns(table, "top100_selection").data.splitlines()
        if line.startswith("|")
    ]
    assert cells[0] == ["claim", "interval must", "paper", "recorded", "this build", "verdict"]
    (line,) = (line for line in cells if "SST-2: top 100 ahead of random" in line[0])
    assert line[1:5] == ["lie above 0", line[2], "20.0 [10.0, 30.0]", "-40.0 [-50.0, -30.0]"]
    assert line[0].startswith("table 1") and line[5].startswith("reproduced; Holm's p = ")
    assert re.fullmatch(r"[\d.]+ > [\d.]+", line[2])
    assert "HANS" not in str(cells)  # another chapter's


def test_the_chance_that_small_values_are_held_against() -> None:
    line = 100 * float(rm.chance_scores(384, 4, 4, 6).quantile(0.95))
    bounds = {c.id: c.rule["below"] for c in rm.claims() if c.id in ("sst2-mnli", "repmatch-sst2", "repmatch-stsb")}
    assert bounds == {"sst2-mnli": 0.0205, "repmatch-sst2": 2.05, "repmatch-stsb": 2.05}
    assert line == pytest.approx(2.05, abs=0.02)  # of 2,000 draws


def test_every_value_has_its_tolerance_and_no_two_lines_are_one() -> None:
    lines = rm.claims()
    assert all("within" in c.rule for c in lines if "value" in c.rule)
    assert len({(c.experiment, c.estimate) for c in lines}) == len({c.id for c in lines}) == len(lines)
    assert {"finding", "value", "guess"} == {c.kind for c in lines}


def test_guesses_are_older_than_the_records_that_decide_them() -> None:
    known = subprocess.run(["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True)
    if known.stdout != "false\n":
        pytest.skip("no full history")
    guesses = {c.id: c for c in rm.claims() if c.claim.startswith("our guess")}
    assert len(guesses) > 20
    written = first_with("data/published/claims.yaml", [f"id: {name}," for name in guesses])
    late = []
    for name, guess in guesses.items():
        decided = first_with(f"data/recorded/{guess.experiment}.json", [f'"{guess.estimate}":'])[f'"{guess.estimate}":']
        if decided and not older(written[f"id: {name},"], decided):
            late.append(name)
    assert not late, f"{late} came with or after the record that decides them: call them questions"


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def commits(path: str) -> list[str]:
    return git("log", "--reverse", "--format=%H", "--", path).split()


def first_with(path: str, texts: list[str]) -> dict[str, str | None]:
    """The oldest commit in which a file holds each text."""
    found: dict[str, str | None] = dict.fromkeys(texts)
    for commit in commits(path):
        try:
            content = git("show", f"{commit}:{path}")
        except subprocess.CalledProcessError:
            continue
        for text in texts:
            if found[text] is None and text in content:
                found[text] = commit
    return found


def older(one: str | None, other: str) -> bool:
    if one is None or one == other:
        return False
    return subprocess.run(["git", "merge-base", "--is-ancestor", one, other], cwd=ROOT, check=False).returncode == 0


def test_rules_were_changed_on_dates_that_rise() -> None:
    changes = rm.rule_changes()
    dates = [str(change["date"]) for change in changes]
    assert dates == sorted(dates) and all(change["what"] and change["why"] for change in changes)
    written = yaml.safe_load((ROOT / "data/published/rule_changes.yaml").read_text())
    assert rm.changes().data.count("\n| ") >= len(written)


def test_a_record_of_uncommitted_code_is_not_kept(tmp_path: Path) -> None:
    made = record({}, None)
    made = replace(made, provenance=made.provenance | {"software": {"git_commit": "abc+"}})
    made.save(tmp_path / "top100_selection.json")
    with pytest.raises(ValueError, match=r"top100_selection was made by code that is in no commit \(abc\+\)"):
        ledger.keep(tmp_path, ["top100_selection"])
