"""This build's estimates, worked out again from its records' rows: another number in a chapter is noticed."""

import pytest
from helpers import ROOT
from recomputed import AGAIN, worked_out_again

import repmatch_lib as rm


@pytest.mark.parametrize("experiment", AGAIN)
def test_a_chapter_s_estimates_are_those_of_its_rows(experiment: str) -> None:
    assert worked_out_again(rm.Record.load(ROOT / f"book/executed/{experiment}.json"))
