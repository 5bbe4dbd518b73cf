"""Rows of the bundled corpora in another number or form."""

import repmatch_lib as rm
from repmatch_lib.data.samples import is_pair

SST2, SNLI = rm.task("sst2"), rm.task("snli")


def test_at_most_so_many_rows_in_random_order():
    everything = rm.load(SNLI, source="mini")
    some, most = (rm.load_at_most(SNLI, source="mini", most=most) for most in (10, 10**9))
    assert (len(some), len(most)) == (10, len(everything))
    assert most.table["id"].to_pylist() != everything.table["id"].to_pylist()
    assert sorted(most.table["id"].to_pylist()) == everything.table["id"].to_pylist()
    assert some.fingerprint == most.take(range(10)).fingerprint
    assert rm.load_at_most(SNLI, source="mini").fingerprint == most.fingerprint


def test_either_text_of_a_pair_alone():
    data = rm.load(SNLI, source="mini", rows=5)
    first, second = rm.single_texts(data), rm.single_texts(data, "text_pair")
    assert first.table["text"].to_pylist() == data.table["text"].to_pylist()
    assert second.table["text"].to_pylist() == data.table["text_pair"].to_pylist()
    assert is_pair(data) and not is_pair(first) and not is_pair(second)


def test_single_texts_in_pairs_with_their_neighbours():
    data = rm.load(SST2, source="mini", rows=3)
    texts = data.table["text"].to_pylist()
    pairs = rm.in_pairs(data).table
    assert pairs["text"].to_pylist() == texts
    assert pairs["text_pair"].to_pylist() == [texts[1], texts[2], texts[0]]
