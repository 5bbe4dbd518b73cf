"""Recorded estimates that claims use, worked out again from the records' own rows."""

import pytest
from recomputed import AGAIN, worked_out_again

import repmatch_lib as rm


@pytest.mark.parametrize("experiment", AGAIN)
def test_estimates_are_those_of_the_record_s_own_rows(experiment: str) -> None:
    assert worked_out_again(rm.recorded(experiment))


def test_many_lines_of_the_ledger_are_worked_out_again() -> None:
    assert sum(len(worked_out_again(rm.recorded(experiment))) for experiment in AGAIN) >= 60
