"""This build's estimates, worked out again from its records' rows: another number in a chapter is noticed."""

import pytest
from helpers import ROOT
from recomputed import AGAIN, worked_out_again

import repmatch_lib as rm

MAY_HAVE_NONE = {"subset_size"}  # its claims are of sizes at which a way is ahead of the commonest class


@pytest.mark.parametrize("experiment", AGAIN)
def test_a_chapter_s_estimates_are_those_of_its_rows(experiment: str) -> None:
    record = rm.Record.load(ROOT / f"book/executed/{experiment}.json")
    claimed = {c.estimate for c in rm.claims() if c.experiment == experiment} & record.estimates.keys()
    assert worked_out_again(record) if claimed else experiment in MAY_HAVE_NONE
