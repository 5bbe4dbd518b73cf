"""Groups of pairs by the words they share, against counts by hand and brute force."""

from __future__ import annotations

import csv
import os
import random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import repmatch_lib as rm
from repmatch_lib.data.overlap_groups import BANDS, GROUPS, HEURISTICS

LABELS = ("entailment", "neutral", "contradiction")
WORDS = [f"w{k}" for k in range(12)]
BOTH = "as long and labelled as full"


@pytest.mark.parametrize(
    ("premise", "hypothesis", "share"),
    [
        ("A man sleeps.", "a MAN, sleeps!", 1),
        ("a man", "a woman", 1 / 2),
        ("dogs run", "cats sleep", 0),
        ("dogs run", "dog runs", 0),  # words, not stems and not parts of words
        ("the cat", "the the the dog", 1 / 2),  # distinct words
        ("red red red", "red green", 1 / 2),
        ("a b c", "a b c d e", 3 / 5),
        ("a b c d", "a b c d e", 4 / 5),
        ('he said "stop"', "Stop", 1),
        ("I don't know", "don't", 1),
        ("I do not know", "don't", 0),
        ("an x-ray (old)", "old x-ray", 1),
        ("Straße", "STRASSE", 1),
        ("...", "word", 0),
    ],
)
def test_the_rule_on_pairs_by_hand(premise: str, hypothesis: str, share: float) -> None:
    assert rm.word_overlap([premise], [hypothesis]).tolist() == [share]


def test_a_hypothesis_without_words_has_no_overlap() -> None:
    assert np.isnan(rm.word_overlap(["a man ."], ["?! ..."])).all()


def test_another_rule_of_what_a_word_is() -> None:
    assert rm.word_overlap(["A man."], ["a man"], words=str.split).tolist() == [0.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8)] * 2), min_size=1, max_size=9))
def test_against_a_brute_force_loop(pairs: list[tuple[list[str], list[str]]]) -> None:
    expected = []
    for premise, hypothesis in pairs:
        seen: list[str] = []
        hits = 0
        for word in hypothesis:
            if word not in seen:
                seen.append(word)
                hits += word in premise
        expected.append(hits / len(seen))
    texts = [[" ".join(side) for side in sides] for sides in zip(*pairs, strict=True)]
    assert rm.word_overlap(*texts).tolist() == expected


def in_group(premise: str, hypothesis: str, name: str) -> bool:
    """The paper's definition, in whole numbers: the texts below are plain words."""
    told = set(hypothesis.split())
    hits = len(told & set(premise.split()))
    return {
        "full": hits == len(told), "mid": 6 * len(told) <= 10 * hits <= 8 * len(told), "no": hits == 0,
    }[name]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> rm.Corpus:
    """1,200 pairs of every overlap and length; a group's label mix and lengths are its own."""
    source = random.Random(0)
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["premise", "hypothesis", "label", "heuristic"])
        for k in range(1200):
            shared = source.sample(WORDS, source.randint(0, 5))
            own = [f"v{k}" for k in range(source.choice([0, 0, 1, 2, 3]))] or ([] if shared else ["v0"])
            premise = shared + [f"u{j}" for j in range(source.randint(1, 20))]
            label = source.choices(LABELS, [2, 2, 1 + len(own)])[0]
            writer.writerow([" ".join(premise), " ".join(shared + own), label, HEURISTICS[k % 3]])
    return rm.load(rm.Task.from_file(file, text=("premise", "hypothesis"), labels=LABELS))


def texts(data: rm.Corpus) -> list[tuple[str, str, str]]:
    labels = [data.task.labels[k] for k in data.table["label"].to_pylist()]
    return list(zip(data.table["text"].to_pylist(), data.table["text_pair"].to_pylist(), labels, strict=True))


def test_counts_against_a_loop(corpus: rm.Corpus) -> None:
    counts = rm.group_counts(corpus).set_index("group")
    assert list(counts.index) == ["full", "mid", "no"]
    rest = [row for row in texts(corpus) if row[2] != "entailment"]
    for name in BANDS:
        rows = [row for row in rest if in_group(row[0], row[1], name)]
        found = counts.loc[name]
        assert (found["rows"], found["of"]) == (len(rows), len(rest)) and len(rows) > 30
        for label in LABELS[1:]:
            assert found[label] == pytest.approx(np.mean([row[2] == label for row in rows]))
        assert found.premise_words == pytest.approx(np.mean([len(row[0].split()) for row in rows]))
        assert found.hypothesis_words == pytest.approx(np.mean([len(row[1].split()) for row in rows]))


@pytest.mark.parametrize("group", GROUPS)
def test_a_draw_is_of_its_group_without_repetition_and_deterministic(corpus: rm.Corpus, group: str) -> None:
    drawn, again, other = (rm.draw(corpus, group, 30, seed) for seed in (0, 0, 1))
    ids = drawn.table["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 30
    assert drawn.table.equals(again.table) and drawn.fingerprint != other.fingerprint
    assert drawn.table.equals(corpus.table.take(ids)) and drawn.source == f"{corpus.source}, {group}"
    if group in HEURISTICS:
        assert set(drawn.table["heuristic"].to_pylist()) == {group}
    else:
        band = group.partition(",")[0]
        assert all(label != "entailment" and in_group(p, h, band) for p, h, label in texts(drawn))


@pytest.mark.parametrize("group", BANDS)
def test_fewer_rows_of_one_seed_are_a_prefix_and_all_are_all(corpus: rm.Corpus, group: str) -> None:
    few, every = rm.draw(corpus, group, 20).table, rm.draw(corpus, group).table
    assert few.equals(every.slice(0, 20))
    assert len(every) == rm.group_counts(corpus).set_index("group")["rows"][group]


def labels(data: rm.Corpus) -> list[str]:
    return [label for _, _, label in texts(data)]


def lengths(data: rm.Corpus) -> np.ndarray:
    return np.array([[len(p.split()), len(h.split())] for p, h, _ in texts(data)])


@pytest.mark.parametrize("group", ["mid", "no"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_matched_rows_are_like_those_of_full(corpus: rm.Corpus, group: str, seed: int) -> None:
    full, plain, long, labelled, both = (
        rm.draw(corpus, name, 40, seed)
        for name in ("full", group, *(f"{group}, {how}" for how in ("as long as full", "labelled as full", BOTH)))
    )
    assert labels(labelled) == labels(both) == labels(full)
    assert sorted(labels(plain)) != sorted(labels(full))
    assert abs(lengths(long) - lengths(full)).sum() <= abs(lengths(both) - lengths(full)).sum()
    # lengths in the best order that a plain draw can be put in, column by column
    of_plain, of_full = (np.sort(lengths(data), 0) for data in (plain, full))
    assert abs(lengths(both) - lengths(full)).sum() < abs(of_plain - of_full).sum()
    # no two rows could be swapped for less
    cost = abs(lengths(long)[None] - lengths(full)[:, None]).sum(-1)
    assert (cost + cost.T >= cost.diagonal()[:, None] + cost.diagonal()[None]).all()


def test_all_of_a_matched_group_is_as_many_as_it_follows(corpus: rm.Corpus) -> None:
    full = rm.draw(corpus, "full").table["id"].to_pylist()
    fewer = corpus.take(sorted(set(range(len(corpus))) - set(full[50:])))
    assert len(rm.draw(fewer, "mid, as long as full")) == len(rm.draw(fewer, "full")) == 50
    with pytest.raises(ValueError, match="50 rows of the group 'full'; asked for 60"):
        rm.draw(fewer, "mid, as long as full", 60)


def test_too_few_rows_name_what_there_is(corpus: rm.Corpus) -> None:
    there = rm.group_counts(corpus).set_index("group")["rows"]
    for group in BANDS:
        with pytest.raises(ValueError, match=rf"{there[group]} rows of the group '{group}'; asked for 999.*Lower rows"):
            rm.draw(corpus, group, 999)
    rest = [row for row in range(len(corpus)) if corpus.table["label"][row].as_py() == 0]
    with pytest.raises(ValueError, match="has 0 rows of the group 'full'"):
        rm.draw(corpus.take(rest), "full")


def test_a_group_that_there_is_not_and_a_task_without_groups(corpus: rm.Corpus) -> None:
    with pytest.raises(ValueError, match="unknown group 'most': give one of full; mid; no; mid, as long as full"):
        rm.draw(corpus, "most", 10)
    with pytest.raises(ValueError, match="unknown group 'most': give one of full; mid"):
        rm.Run("snli", group="most")
    with pytest.raises(ValueError, match=r"sst2 has no pairs.*'entailment'.*give snli, mnli"):
        rm.draw(rm.load(rm.task("sst2"), source="mini"), "full", 10)
    with pytest.raises(ValueError, match="snli has no column 'heuristic'.*task='hans'"):
        rm.draw(rm.load(rm.task("snli"), source="mini"), "subsequence", 10)


def test_one_label_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="hans: the 10 rows drawn from the group 'full' have one label.*Raise rows"):
        rm.draw(rm.load(rm.task("hans"), source="mini"), "full", 10)


@pytest.mark.real
@pytest.mark.skipif(not os.environ.get("REPMATCH_DATA"), reason="REPMATCH_DATA is not set")
def test_real_corpora_have_every_group() -> None:
    for name in ("snli", "mnli"):
        counts = rm.group_counts(rm.load(rm.task(name), source="local")).set_index("group")["rows"]
        assert counts["mid"] > counts["no"] > counts["full"] > 0
