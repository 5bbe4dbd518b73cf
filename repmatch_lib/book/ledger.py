"""The ledger: every claim with the paper's number, the recorded one, this build's, and the verdict."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from repmatch_lib.book.claims import NEITHER, NOT_LEARNED, UNKNOWN, Claim, claims, holm
from repmatch_lib.book.records import Record
from repmatch_lib.paths import project_file

PAPERS_ENCODER = "bert-base"


def records(folder: str | Path) -> dict[str, Record]:
    """The records of a folder, by experiment; those of runs with other parameters go by longer names and are left."""
    by_name = {file.stem: Record.load(file) for file in sorted(Path(folder).glob("*.json"))}
    return {name: record for name, record in by_name.items() if record.experiment == name}


def recorded(experiment: str) -> Record | None:
    """The recorded run of an experiment, if there is one."""
    file = project_file("data/recorded") / f"{experiment}.json"
    return Record.load(file) if file.is_file() else None


def keep(build: str | Path, names: list[str]) -> None:
    """Make a build's records the recorded ones, where they are `fit_to_keep`."""
    for record in fit_to_keep(build, names):
        record.save(project_file("data/recorded") / f"{record.experiment}.json")


def fit_to_keep(build: str | Path, names: list[str]) -> list[Record]:
    """Records of a build that can be made the recorded ones.

    Raises
    ------
    ValueError
        If the build lacks one of them, or one was made by code that is in no commit.
    """
    built = records(build)
    if lacking := sorted(set(names) - built.keys()):
        raise ValueError(f"{build} has no record of {lacking[0]}; it has {', '.join(sorted(built)) or 'none'}")
    for name in names:
        if (commit := built[name].provenance["software"]["git_commit"] or "").endswith("+"):
            raise ValueError(f"{name} was made by code that is in no commit ({commit}): commit it, and build again")
    return [built[name] for name in names]


def ledger(build: str | Path | Record | None = None, recorded: str | Path | None = None) -> pd.DataFrame:
    """One row a claim: the paper's number, the recorded one, this build's, and the verdict on the recorded one.

    Parameters
    ----------
    build : folder or Record, optional
        This build's records, or the one a chapter has just made; one that repeats the recorded one is left out.
    recorded : folder, optional
        ``data/recorded`` if not given.

    Returns
    -------
    DataFrame
        ``id``, ``kind``, ``where``, ``claim``, ``criterion``, ``paper``, ``recorded`` and ``build`` (Estimate or None),
        ``verdict``, ``holm`` (the adjusted p-value of a finding among those of its table of the paper, else NaN),
        ``experiment``, ``needs``.
    """
    known = records(recorded or project_file("data/recorded"))
    built = {build.experiment: build} if isinstance(build, Record) else records(build) if build else {}
    built = {name: one for name, one in built.items() if not (name in known and one.repeats(known[name]))}
    lines = claims()
    table = pd.DataFrame([_line(claim, known.get(claim.experiment), built.get(claim.experiment)) for claim in lines])
    p_values = [claim.p_value(estimate) for claim, estimate in zip(lines, table.recorded, strict=True)]
    families = table["where"].where((table.kind == "finding") & table["where"].str.startswith("table"))
    table["holm"] = pd.Series(p_values).groupby(families).transform(lambda p: holm(p))
    return table


def _line(claim: Claim, record: Record | None, build: Record | None) -> dict[str, Any]:
    estimate = record.estimates.get(claim.estimate) if record else None
    encoder = record.provenance.get("encoder", {}).get("name") if record else None
    return {
        "id": claim.id, "kind": claim.kind, "where": claim.where, "claim": claim.claim, "criterion": claim.criterion,
        "paper": claim.paper, "recorded": estimate,
        "build": build.estimates.get(claim.estimate) if build else None,
        "verdict": claim.verdict(estimate, encoder == PAPERS_ENCODER, gate(claim, record) if record else ""),
        "experiment": claim.experiment, "needs": claim.needs,
    }  # fmt: skip


def gate(claim: Claim, record: Record) -> str:
    """Why an estimate decides nothing, or nothing: an adapter or both arms that it rests on learned nothing.

    The adapters are those of the claim's tasks; of all tasks where neither it nor the estimate's name says any. An arm
    is ahead of the constant answer if its interval over runs is.
    """
    if claim.rests_on != "adapters":
        return ""
    constant = record.estimates.get(f"{claim.arms[0].partition(' ')[0]} commonest class") if claim.arms else None
    if constant:
        ends = [record.estimates[arm].low for arm in claim.arms if arm in record.estimates]
        if not any(end > constant.value for end in ends):
            return NEITHER if ends else UNKNOWN
    learned = record.provenance.get("learned")
    if not learned:
        return UNKNOWN
    tasks = {*re.findall(r"[\w-]+", claim.estimate)} if claim.tasks is None else {*claim.tasks}
    of_claim = [entry for entry in learned if entry["task"] in tasks] or learned
    return "" if all(entry["lead_low"] > 0 for entry in of_claim) else NOT_LEARNED
