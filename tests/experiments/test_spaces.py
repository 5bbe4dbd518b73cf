"""Spaces of vectors: measures, estimates and comparisons against cases worked out by hand."""

import dataclasses
from itertools import product
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import drawn_adapter
from torch.nn.functional import normalize

import repmatch_lib as rm
from repmatch_lib.experiments.paraphrases import Paraphrases
from repmatch_lib.experiments.spaces import in_groups, vectors_of_all

GROUPS = 5


def pairs_of(*rows: tuple[str, str, float]) -> rm.Corpus:
    columns = dict(zip(("text", "text_pair", "label"), map(list, zip(*rows, strict=True)), strict=True))
    return dataclasses.replace(rm.load(rm.task("stsb"), source="mini", rows=1), table=pa.table(columns))


def test_paraphrases_by_hand():
    alike = [("a", "A", 5.0), ("a", "alpha", 4.0), ("b", "b", 5.0), ("e", "E", 4.2)]
    pairs = pairs_of(*alike, ("c", "A", 1.0), ("d", "D", 3.9))
    search = Paraphrases.of(pairs)
    first, second = pairs.table["text"].to_pylist(), pairs.table["text_pair"].to_pylist()
    assert [first[row] for row in search.queries] == ["a", "e"]  # b's is the same text, c's and d's are too far
    assert sorted(second[row] for row in search.candidates) == ["A", "D", "E", "alpha", "b"]
    relevant = {
        (first[q], second[c])
        for (i, q), (j, c) in product(enumerate(search.queries), enumerate(search.candidates))
        if search.relevant[i, j]
    }
    assert relevant == {("a", "A"), ("a", "alpha"), ("e", "E")}
    # Directions of the second sentences; "a" is nearest to D, then to A, "e" to E.
    angle = {"A": 10, "alpha": 80, "b": 60, "D": 2, "E": 30, "a": 0, "e": 31, "c": 0, "d": 0}
    space = [
        torch.tensor([[np.cos(np.radians(angle[t])), np.sin(np.radians(angle[t]))] for t in s]) for s in (first, second)
    ]
    retrieved = search.retrieved(*space)
    assert retrieved["MRR"].tolist() == [1 / 2, 1]


@pytest.mark.parametrize(
    ("rows", "kept", "expected"), [(5, [0, 4], [0, 4]), (10, [1], [2, 3]), (7, [0, 1, 2, 3, 4], range(7))]
)
def test_groups_are_neighbours(rows, kept, expected):
    assert np.flatnonzero(in_groups(rows, GROUPS, kept)).tolist() == list(expected)


def test_every_row_is_in_one_group():
    counted = sum(in_groups(23, GROUPS, [group]).astype(int) for group in range(GROUPS))
    assert counted.tolist() == [1] * 23


def test_vectors_of_all_are_those_of_each(tiny):
    encoder = tiny("bert")
    texts = {name: rm.load(rm.task(name), source="mini", rows=3) for name in ("sst2", "snli", "mnli")}
    together = vectors_of_all(encoder, texts, max_length=32)
    for name, data in texts.items():
        cls, mean = rm.vectors(encoder, data, ("cls", "mean"), max_length=32, progress=False)
        torch.testing.assert_close(together["cls"][name], cls, atol=1e-5, rtol=0)
        torch.testing.assert_close(together["mean"][name], mean, atol=1e-5, rtol=0)


@pytest.fixture
def tests() -> rm.SpaceTests:
    pairs = rm.load(rm.task("stsb"), "validation", "mini", rows=20)
    train, test = (rm.load(rm.task("sst2"), split, "mini", rows=20) for split in ("train", "validation"))
    return rm.SpaceTests(pairs, train, test, ["snli", "mnli"], 0.2, GROUPS)


@pytest.fixture
def space() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(20, 6, generator=generator) for name in ("first", "second", "train", "test", "snli", "mnli")
    }


def test_measures_see_the_rows_that_are_kept_and_no_others(tests, space):
    measures, rows = tests.measures(space), slice(4, 20)  # without the first of five groups
    kept = range(1, GROUPS)
    assert measures["mean cosine"](kept) == pytest.approx(rm.mean_cosine(space["first"][rows]))
    assert measures["uniformity"](kept) == pytest.approx(rm.uniformity(space["first"][rows]))
    assert measures["effective rank, sst2"](kept) == pytest.approx(rm.effective_rank(space["test"][rows]))
    unit = normalize(space["snli"][rows], dim=1)
    upper = (unit @ unit.T)[torch.triu(torch.ones(16, 16), 1).bool()]
    assert measures["snli above 0.2, %"](kept) == pytest.approx(100 * float((upper > 0.2).float().mean()))
    alike = np.flatnonzero(tests.scores >= 4)
    alike = alike[alike >= 4]
    squared = (normalize(space["first"][alike], dim=1) - normalize(space["second"][alike], dim=1)).square().sum(1)
    assert measures["alignment"](kept) == pytest.approx(float(squared.mean()), rel=1e-5)
    labels = np.array(tests.test.table["label"])
    right = rm.probe(space["train"], np.array(tests.train.table["label"]), space["test"], "knn") == labels
    assert measures["knn probe"](kept) == pytest.approx(right[rows].mean())
    assert tests.largest_class == max(labels.mean(), 1 - labels.mean())


def test_clusters_of_sets_that_lie_apart_are_pure(tests, space):
    space |= {"snli": space["snli"] * 0.01 + 1, "mnli": space["mnli"] * 0.01 - 1}
    measures = tests.measures(space)
    assert measures["purity"](range(GROUPS)) == measures["adjusted Rand"]([0, 3]) == 1


def test_estimates_over_seeds_and_over_rows():
    rows = torch.arange(10.0)
    spaces = SimpleNamespace(
        of={
            ("random", "cls"): {seed: {"x": rows + seed} for seed in (0, 1, 5)},
            ("published", "cls"): {None: {"x": rows}},
            ("published", "mean"): {None: {"x": 2 * rows}},
        }
    )

    def measures(space):
        return {"total": lambda kept: float(space["x"][in_groups(10, GROUPS, kept)].sum())}

    measured = rm.MeasuredSpaces(spaces, measures, GROUPS)
    assert measured.names == ["total"]
    assert measured.values["random", "cls"][5]["total"] == 45 + 50
    random = {seed: 45.0 + 10 * seed for seed in (0, 1, 5)}
    assert measured.estimate(("random", "cls"), "total") == rm.mean_over(random, "seed")
    less = {seed: value - 45 for seed, value in random.items()}
    assert measured.estimate(("random", "cls"), "total", less=("published", "cls")) == rm.mean_over(less, "seed")
    assert measured.estimate(("random", "cls"), "total", less=45.0) == rm.mean_over(less, "seed")

    def of_groups(kept):
        return float(sum(2 * group + 2 * group + 1 for group in kept))  # rows 2g and 2g + 1

    assert measured.estimate(("published", "cls"), "total") == rm.jackknife(range(GROUPS), of_groups, "group of rows")
    assert measured.estimate(("published", "mean"), "total", less=("published", "cls")) == rm.jackknife(
        range(GROUPS), of_groups, "group of rows"
    )
    doubled = measured.gain("total", lambda kept: 2 * of_groups(kept))
    assert doubled == rm.jackknife(range(GROUPS), of_groups, "group of rows")
    table = measured.table()
    assert table.value.tolist() == [45, 55, 95, 45, 90] and table.measure.unique().tolist() == ["total"]


def test_nearness_to_an_anchor(space):
    sets = {"anchor": space["first"] + 1, "near": space["second"] + 1, "far": space["train"] - 1}
    estimates = rm.anchor_estimates("s", sets, "far", 0.3, GROUPS)
    unit = {name: normalize(rows, dim=1) for name, rows in sets.items()}
    cosines = unit["anchor"] @ unit["near"].T
    assert estimates["s: near above"].value == pytest.approx(100 * float((cosines > 0.3).float().mean()))
    assert estimates["s: near mean"].value == pytest.approx(float(cosines.mean()), abs=1e-6)
    own = (unit["anchor"] @ unit["anchor"].T)[~torch.eye(20, dtype=torch.bool)]
    assert estimates["s: anchor mean"].value == pytest.approx(float(own.mean()), abs=1e-6)
    lead = float(cosines.mean() - (unit["anchor"] @ unit["far"].T).mean())
    assert estimates["s: others - far, mean"].value == pytest.approx(lead, abs=1e-6)
    assert estimates["s: others - far, mean"].low > 0


def test_points_in_the_plane_carry_their_sets_title(space):
    table = rm.in_the_plane(space, {"snli": "SNLI", "mnli": "MNLI"}, "pca", 7)
    assert table.group.tolist() == ["SNLI"] * 7 + ["MNLI"] * 7
    both = torch.cat([space["snli"][:7], space["mnli"][:7]])
    np.testing.assert_allclose(table[["x", "y"]].to_numpy(), rm.coordinates(both, "pca").numpy())


def test_pairs_of_representations(space):
    adapters = {rm.Run("sst2", seed=seed): drawn_adapter(seed) for seed in (0, 1)} | {
        rm.Run("snli", seed=seed): drawn_adapter(10 + seed) for seed in (0, 1)
    }
    published, sst2, snli = (space[name] for name in ("first", "second", "train"))
    turned = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(9))).Q
    spaces = SimpleNamespace(
        first=lambda state: {"first": published},
        of={
            ("tuned on SST-2", "cls"): {0: {"first": sst2}, 1: {"first": 3 * sst2 @ turned}},
            ("tuned on SNLI", "cls"): {0: {"first": snli}, 1: {"first": published + sst2 - published}},
        },
    )
    table = rm.representation_pairs(adapters, spaces)
    assert [(row.a, row.b, row.seed_a, row.seed_b) for row in table.itertuples()] == [
        ("sst2", "sst2", 0, 1), ("sst2", "snli", 0, 1), ("sst2", "snli", 1, 0), ("snli", "snli", 0, 1)
    ]  # fmt: skip
    expected = rm.repmatch(drawn_adapter(0), drawn_adapter(1)).score
    assert table.RepMatch[0] == pytest.approx(expected)
    assert table.CKA[0] == pytest.approx(1, abs=1e-5)  # one is the other turned and stretched
    assert table["CKA of changes"][1] == pytest.approx(1, abs=1e-5)  # seed 1 of SNLI moved as seed 0 of SST-2 did
    assert rm.same_task_lead(table, "CKA") == pytest.approx(table.CKA[[0, 3]].mean() - table.CKA[[1, 2]].mean())


def test_word_tests_are_both_tests_of_the_embeddings():
    encoder = rm.encoder("minilm")
    embeddings, vocabulary = rm.token_embeddings(encoder)
    questions = rm.token_rows(rm.intruder_questions(), vocabulary)
    answers = rm.word_tests(encoder)
    assert answers["intruders"].tolist() == rm.intruders(embeddings, questions).tolist()
    assert len(answers["analogies"]) == len(rm.analogy_questions()) and 0 < answers["analogies"].mean() < 1
