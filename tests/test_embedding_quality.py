"""Measures of vectors against cases worked out by hand, symmetries, and scikit-learn, SciPy and NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file
from scipy.integrate import quad
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group
from sklearn.decomposition import PCA
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

import repmatch_lib as rm
from repmatch_lib.embeddings import words
from repmatch_lib.training.heads import frozen_model

Tiny = Callable[[str], rm.Encoder]


def draw(rows: int, width: int = 5, seed: int = 0, shift: float = 0.8) -> Tensor:
    """Rows around a common direction."""
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) + shift


# Geometry


def test_alignment_of_pairs_by_hand() -> None:
    x, y = torch.tensor([[1.0, 0], [3.0, 0], [0, 2.0]]), torch.tensor([[5.0, 0], [0, 1.0], [0, -1.0]])
    assert rm.alignment(x, y) == pytest.approx((0 + 2 + 4) / 3)  # the same, at a right angle, opposite
    assert rm.alignment(x, y, alpha=1) == pytest.approx((0 + math.sqrt(2) + 2) / 3)


def test_uniformity_of_three_by_hand() -> None:
    x = torch.tensor([[1.0, 0], [0, 7.0], [-2.0, 0]])  # squared distances 2, 2 and 4
    assert rm.uniformity(x, t=1) == pytest.approx(math.log((2 * math.exp(-2) + math.exp(-4)) / 3))
    assert rm.uniformity(torch.ones(4, 3)) == pytest.approx(0)  # all in one place


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 50), st.sampled_from([0.5, 2.0, 5.0]))
def test_uniformity_is_scipy_s_whatever_the_blocks(rows: int, block: int, t: float) -> None:
    x = draw(rows, seed=rows)
    directions = x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True)
    assert rm.uniformity(x, t, block) == pytest.approx(
        np.log(np.exp(-t * pdist(directions, "sqeuclidean")).mean()), abs=1e-5
    )


def test_uniform_points_on_the_sphere_have_the_uniformity_of_the_integral() -> None:
    """Of two even points in d dimensions the cosine has density proportional to (1 - c²)^((d - 3) / 2)."""
    width, t = 8, 2.0
    weight = quad(lambda c: (1 - c * c) ** ((width - 3) / 2), -1, 1)[0]
    expected = quad(lambda c: math.exp(2 * t * (c - 1)) * (1 - c * c) ** ((width - 3) / 2), -1, 1)[0] / weight
    assert rm.uniformity(draw(4000, width, shift=0), t) == pytest.approx(math.log(expected), abs=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 30), st.integers(1, 20), st.booleans())
def test_the_mean_cosine_is_scikit_learn_s(rows: int, others: int, itself: bool) -> None:
    x, y = draw(rows), None if itself else draw(others, seed=1)
    full = cosine_similarity(x, x if y is None else y)
    expected = full[np.triu_indices(rows, 1)].mean() if itself else full.mean()
    assert rm.mean_cosine(x, y) == pytest.approx(expected, abs=1e-5)


def test_the_spectrum_is_that_of_the_covariance() -> None:
    x = draw(50, 6)
    variances = np.linalg.eigvalsh(np.cov(x.double().numpy().T, ddof=0))[::-1]
    assert rm.spectrum(x).square().numpy() == pytest.approx(variances)
    moments = np.linalg.eigvalsh(x.double().numpy().T @ x.double().numpy() / 50)[::-1]
    assert rm.spectrum(x, centred=False).square().numpy() == pytest.approx(moments)


def test_the_effective_rank_of_known_sets() -> None:
    corners = torch.cat([torch.eye(7), -torch.eye(7)])  # alike in seven directions
    assert rm.effective_rank(corners) == pytest.approx(7)
    line = torch.arange(1.0, 9)[:, None] * torch.tensor([[1.0, 2, 3]])
    assert rm.effective_rank(line) == pytest.approx(1) == rm.effective_rank(torch.ones(5, 3), centred=False)
    two = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]])  # singular values as 3 to 1
    assert rm.effective_rank(two) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    with pytest.raises(ValueError, match="all rows of x are one.*say centred=False"):
        rm.effective_rank(torch.full((5, 3), 0.1))


MEASURES: dict[str, Callable[[Tensor], float]] = {
    "alignment": lambda x: rm.alignment(x[::2], x[1::2]),
    "uniformity": rm.uniformity,
    "mean cosine": rm.mean_cosine,
    "effective rank": rm.effective_rank,
    "uncentred effective rank": lambda x: rm.effective_rank(x, centred=False),
    "CKA": lambda x: rm.linear_cka(x, x.square()) if x.shape[1] == 1 else rm.linear_cka(x, draw(len(x), 3, 9)),
}


@pytest.mark.parametrize("name", MEASURES)
def test_rotations_and_scales_do_not_matter(name: str) -> None:
    x, measure = draw(20).double(), MEASURES[name]
    rotation = torch.from_numpy(ortho_group.rvs(5, random_state=3))
    assert measure(3.5 * x @ rotation) == pytest.approx(measure(x))


@pytest.mark.parametrize("name", ["uniformity", "mean cosine", "effective rank"])
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    x = draw(20).double()
    assert MEASURES[name](x.flip(0)) == pytest.approx(MEASURES[name](x))


def test_centred_rows_have_mean_zero_and_whitened_ones_unit_covariance() -> None:
    x = draw(60, 6) @ draw(6, 6, seed=2)
    assert rm.centre(x).mean(0).abs().max() < 1e-6
    assert np.cov(rm.whiten(x).numpy().T) == pytest.approx(np.eye(6), abs=1e-6)
    few, by_sklearn = rm.whiten(x, keep=3), PCA(3, whiten=True).fit_transform(x.double())
    assert np.abs(few.numpy()) == pytest.approx(np.abs(by_sklearn), abs=1e-6)  # up to the directions' signs
    flat = torch.cat([x, x[:, :1]], dim=1)  # a column twice is no new direction
    assert rm.whiten(flat).shape == (60, 6)


def test_moments_may_come_from_other_rows() -> None:
    x, reference = draw(4), draw(30, seed=1)
    torch.testing.assert_close(rm.centre(x, reference), x.double() - reference.double().mean(0))
    both = rm.whiten(torch.cat([reference, x]), reference)
    torch.testing.assert_close(rm.whiten(x, reference), both[30:])
    assert np.cov(both[:30].numpy().T) == pytest.approx(np.eye(5), abs=1e-6)


def test_cka_is_that_of_the_centred_gram_matrices() -> None:
    """Kornblith et al., equations 3 and 4: HSIC of the two kernels over the roots of each with itself."""
    x, y = draw(12, 4).double(), draw(12, 7, seed=1).double()
    H = torch.eye(12).double() - 1 / 12
    K, L = H @ x @ x.T @ H, H @ y @ y.T @ H
    assert rm.linear_cka(x, y) == pytest.approx(float((K * L).sum() / (K.norm() * L.norm())))
    assert rm.linear_cka(x, x) == pytest.approx(1)
    apart = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert rm.linear_cka(apart[:, :1], apart[:, 1:]) == pytest.approx(0)


def test_two_clouds_are_apart_in_both_pictures() -> None:
    x = torch.cat([draw(20, 6, shift=0) + 9 * torch.eye(6)[k] for k in (0, 1)])
    for how in ("pca", "tsne"):
        found = rm.coordinates(x, how)
        assert found.shape == (40, 2)
        torch.testing.assert_close(found, rm.coordinates(x, how))
        gap = (found[:20].mean(0) - found[20:].mean(0)).norm()
        assert gap > 2 * max(part.std(0).norm() for part in (found[:20], found[20:]))


# Classes, groups, pairs, neighbours


@pytest.mark.parametrize("how", ["logistic", "knn"])
def test_a_probe_reads_a_direction_and_no_noise(how: str) -> None:
    labels = np.arange(200) % 2
    x = draw(200, 8, shift=0) + 6.0 * torch.eye(8)[torch.from_numpy(labels)]
    assert (rm.probe(x[:100], labels[:100], x[100:], how) == labels[100:]).mean() > 0.95
    noise = draw(200, 8, seed=5, shift=0)
    assert 0.3 < (rm.probe(noise[:100], labels[:100], noise[100:], how) == labels[100:]).mean() < 0.7


def test_neighbours_are_the_nearest_by_cosine() -> None:
    train, test, labels = draw(50), draw(20, seed=1), np.arange(50) % 3
    nearest = cosine_similarity(test, train).argmax(1)
    assert (rm.probe(train, labels, test, "knn", neighbours=1) == labels[nearest]).all()


def test_purity_by_hand() -> None:
    assert rm.purity([0, 0, 0, 1, 1, 1], list("aabbba")) == pytest.approx(4 / 6)
    assert rm.purity([5, 5, 5, 5], list("aaab")) == 0.75  # one cluster: the largest class
    assert rm.purity(range(4), list("aaab")) == 1


def test_clusters_that_are_the_classes() -> None:
    labels = np.repeat([0, 1, 2], 15)
    x = draw(45, 6, shift=0) + 12.0 * torch.eye(6)[torch.from_numpy(labels)]
    found = rm.k_means(x, 3)
    scores = rm.cluster_scores(x, found, labels)
    assert scores["purity"] == scores["adjusted Rand"] == 1 and 0.5 < scores["silhouette"] < 1
    shuffled = rm.cluster_scores(x, np.random.default_rng(0).permutation(found), labels)
    assert abs(shuffled["adjusted Rand"]) < 0.1 and shuffled["silhouette"] < 0.1
    assert rm.k_means(100 * x, 3).tolist() == found.tolist()


def test_the_silhouette_by_its_definition() -> None:
    x, found = draw(12, 4).double(), np.arange(12) % 3
    distances = 2 - 2 * cosine_similarity(x)
    distances = np.sqrt(np.maximum(distances, 0))
    each = []
    for k in range(12):
        own = distances[k, (found == found[k]) & (np.arange(12) != k)].mean()
        other = min(distances[k, found == g].mean() for g in set(found) - {found[k]})
        each.append((other - own) / max(own, other))
    assert rm.cluster_scores(x, found, found)["silhouette"] == pytest.approx(np.mean(each))


def test_pairs_are_ranked_by_their_cosines() -> None:
    angles = torch.tensor([0.1, 0.5, 1.0, 2.0])
    x, y = torch.tensor([[1.0, 0]]).repeat(4, 1), torch.stack([angles.cos(), angles.sin()], dim=1)
    assert rm.pair_spearman(x, y, [5, 4, 3, 0]) == pytest.approx(1)
    assert rm.pair_spearman(2 * y, 3 * x, [0, 1, 2, 3]) == pytest.approx(-1)
    assert rm.pair_spearman(x, y, [5, 4, 0, 3]) == pytest.approx(0.8)  # 1 - 6 · 2 / (4 · 15)


def test_ranks_by_hand() -> None:
    scores = [[0.9, 0.5, 0.1], [0.1, 0.5, 0.9], [0.3, 0.2, 0.1]]
    relevant = [[1, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert rm.reciprocal_ranks(scores, relevant) == pytest.approx([1, 1 / 3, 1 / 2])
    assert rm.ndcg(scores, relevant) == pytest.approx([1, 0.5, (1 / math.log2(3) + 0.5) / (1 + 1 / math.log2(3))])
    assert rm.ndcg(scores, relevant, k=2) == pytest.approx([1, 0, 1 / math.log2(3) / (1 + 1 / math.log2(3))])
    assert rm.reciprocal_ranks([[-math.inf, 0.0]], [[False, True]]) == [1]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(2, 15), st.integers(1, 12), st.integers(0, 10**6))
def test_ndcg_and_ranks_are_scikit_learn_s(queries: int, candidates: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, relevant = random.random((queries, candidates)), random.random((queries, candidates)) < 0.3
    relevant[np.arange(queries), random.integers(candidates, size=queries)] = True
    assert rm.ndcg(scores, relevant, k).mean() == pytest.approx(ndcg_score(relevant, scores, k=k))
    only = np.zeros_like(relevant)  # with one relevant candidate, average precision is the reciprocal rank
    only[np.arange(queries), relevant.argmax(1)] = True
    expected = label_ranking_average_precision_score(only, scores)
    assert rm.reciprocal_ranks(scores, only).mean() == pytest.approx(expected)


# Words


def test_analogies_and_intruders_by_hand() -> None:
    #                      man, woman,  king, queen, noise; then padding, which has no direction
    table = torch.tensor([[1.0, 0, 1], [1, 1, 1], [5, 0, 1], [5, 4, 1], [-1, -1, 0.5], [0, 0, 0]])
    assert rm.analogies(table, np.array([[0, 1, 2, 3], [0, 1, 2, 4]])).tolist() == [True, False]
    assert rm.analogies(table, np.array([[0, 0, 2, 2]])).tolist() == [False]  # a given word is no answer
    assert rm.intruders(table, np.array([[0, 1, 3, 4], [0, 1, 4, 3]])).tolist() == [True, False]
    assert rm.intruders(table[:5] * torch.arange(1.0, 6)[:, None], np.array([[0, 1, 3, 4]])).tolist() == [True]


def test_questions_are_distinct_and_have_their_words_once() -> None:
    asked = rm.analogy_questions()
    assert len(set(asked)) == len(asked) == sum(n * (n - 1) for n in (8, 8, 8, 8, 8, 8, 7))
    found = rm.intruder_questions()
    assert len({q[-1] for q in found}) == len(found) and all(len(set(q)) == 5 for q in found)
    kind = {word: (k, half) for k, pair in enumerate(words.KINDS) for half in (0, 1) for word in pair[half].split()}
    for *group, intruder in found:
        assert len({kind[word] for word in group}) == 1
        (own,) = {kind[word] for word in group}
        assert kind[intruder] == (own[0], 1 - own[1])
    assert found == rm.intruder_questions() != rm.intruder_questions(seed=1)


def test_every_word_is_a_token_of_the_default_encoder() -> None:
    vocabulary = rm.encoder("minilm").tokenizer().get_vocab()
    for asked in (rm.analogy_questions(), rm.intruder_questions()):
        rows = rm.token_rows(asked, vocabulary)
        assert len(rows) == len(asked) and rows.shape[1] == len(asked[0])


def test_words_of_several_tokens_are_left_out_and_marked_ones_found() -> None:
    assert rm.token_rows([("cat", "dog"), ("cat", "ox")], {"▁cat": 3, "cat": 8, "dog": 1}).tolist() == [[3, 1]]
    with pytest.raises(ValueError, match="every question has a word of several tokens"):
        rm.token_rows([("cat", "ox")], {"cat": 1})


# Encoders


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_a_tuned_encoder_is_the_encoder_with_the_update(
    family: str, tiny: Tiny, toy: rm.Corpus, tmp_path: Path
) -> None:
    adapter = rm.train_adapter(tiny(family), toy, rank=2, lr=0.05, epochs=1, max_length=32, progress=False)
    tuned = rm.tuned_encoder(tiny(family), adapter, tmp_path / "tuned")
    before, after = (dict(frozen_model(e, "regression", 1).named_parameters()) for e in (tiny(family), tuned))
    layers, A, B = adapter.factors("value")
    for layer, a, b in zip(layers, A, B, strict=True):
        name = f"{layer.removeprefix('base_model.model.')}.weight"
        torch.testing.assert_close(after.pop(name) - before.pop(name), b @ a, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(before[n], after[n]) for n in before)
    how = {"max_length": 32, "precision": "float32", "progress": False}
    assert not torch.allclose(rm.vectors(tuned, toy, **how), rm.vectors(tiny(family), toy, **how), atol=1e-3)


def test_the_update_of_a_span_task_is_added_too(tiny: Tiny, tmp_path: Path) -> None:
    """LLaMA's class for spans names the encoder within it otherwise than the one for classes does."""
    rows = rm.load(rm.task("squad"), source="mini", rows=12)
    adapter = rm.train_adapter(tiny("llama"), rows, rank=1, lr=0.05, epochs=1, max_length=32, progress=False)
    tuned = load_file(rm.tuned_encoder(tiny("llama"), adapter, tmp_path / "tuned").folder / "model.safetensors")
    old = load_file(tiny("llama").folder / "model.safetensors")
    _, A, B = adapter.factors("value")
    for k, update in enumerate(B @ A):
        name = f"layers.{k}.self_attn.v_proj.weight"
        torch.testing.assert_close(tuned[name] - old[f"model.{name}"], update, atol=1e-5, rtol=1e-4)


def test_an_adapter_of_another_encoder_is_refused(tiny: Tiny, toy: rm.Corpus, tmp_path: Path) -> None:
    adapter = rm.train_adapter(tiny("bert"), toy, rank=1, epochs=1, max_length=32, progress=False)
    with pytest.raises(ValueError, match="was trained on other weights than .*give its own encoder"):
        rm.tuned_encoder(tiny("electra"), adapter, tmp_path / "tuned")


def test_a_random_encoder_has_the_shape_and_none_of_the_weights(tiny: Tiny, toy: rm.Corpus, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    made = [rm.random_encoder(tiny("bert"), tmp_path / f"{k}-{seed}", seed) for k, seed in enumerate((0, 0, 1))]
    assert torch.equal(state, torch.random.get_rng_state())
    tables = [rm.token_embeddings(e)[0] for e in (tiny("bert"), *made)]
    assert torch.equal(tables[1], tables[2]) and len({t.shape for t in tables}) == 1
    assert not torch.equal(tables[1], tables[0]) and not torch.equal(tables[1], tables[3])
    assert made[0].sha256 == made[1].sha256 != made[2].sha256
    assert rm.vectors(made[0], toy, "mean", max_length=32, progress=False).shape == (40, 32)


# What is refused, with the mend

E3 = torch.eye(3)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no direction": (lambda: rm.alignment(E3, torch.zeros(3, 3)), r"row 0 of y has length 0\.0.*drop it"),
    "not finite": (lambda: rm.mean_cosine(E3 / 0), "row 0 of x has length nan.*drop it"),
    "no table": (lambda: rm.uniformity(torch.ones(3)), r"x has shape \(3,\).*\(rows, width\)"),
    "one row": (lambda: rm.uniformity(torch.ones(1, 3)), r"x has shape \(1, 3\): give at least 2 rows"),
    "other shapes": (lambda: rm.alignment(E3, torch.eye(2)), r"x has shape \(3, 3\) and y \(2, 2\).*every pair"),
    "other widths": (lambda: rm.mean_cosine(E3, torch.eye(2)), "x is 3 wide and y 2.*one encoder"),
    "directions": (lambda: rm.whiten(E3, keep=3), "keep = 3: reference spreads in 2 directions; give 1 to that"),
    "other texts": (lambda: rm.linear_cka(E3, torch.eye(2)), "x has 3 rows and y 2: give vectors of the same texts"),
    "no spread": (lambda: rm.linear_cka(E3, torch.ones(3, 2)), "no spread to compare"),
    "a picture": (lambda: rm.coordinates(E3, "umap"), "unknown way 'umap': give 'pca' or 'tsne'"),
    "few points": (lambda: rm.coordinates(E3[:2]), "give at least 3 rows"),
    "a probe": (lambda: rm.probe(E3, [0, 1, 0], E3, "svm"), "unknown probe 'svm': give 'logistic' or 'knn'"),
    "labels": (lambda: rm.probe(E3, [0, 1], E3), r"train has shape \(3, 3\).*2 labels: give a label a row"),
    "neighbours": (lambda: rm.probe(E3, [0, 1, 0], E3, "knn"), "neighbours = 10: give 1 to the number of rows, 3"),
    "clusters": (lambda: rm.k_means(E3, 4), "clusters = 4: give 1 to the number of rows, 3"),
    "scores": (lambda: rm.pair_spearman(E3, E3, [1, 2]), "3 and 3 rows with 2 scores: give one of each a pair"),
    "relevance": (lambda: rm.ndcg(E3, E3[:2]), r"scores have shape \(3, 3\), relevant \(2, 3\).*a score"),
    "a query": (lambda: rm.ndcg(E3, [[1, 0, 0], [0, 0, 0], [0, 0, 1]]), "query 1 has no relevant candidate: drop it"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_named_with_its_mend(bad: str) -> None:
    attempt, message = BAD[bad]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        attempt()


# Pictures


def test_groups_differ_in_marker_and_colour_and_lines_in_dashes() -> None:
    import pandas as pd

    points = pd.DataFrame({"x": range(6), "y": range(6), "group": list("abcabc")})
    figure = rm.scatter_panels({"one": points, "two": points})
    drawn = figure.axes[0].collections
    assert len(figure.axes) == 2 and len({len(c.get_paths()[0].vertices) for c in drawn}) > 1
    assert len({tuple(c.get_facecolor()[0]) for c in drawn}) == 3
    curves = rm.spectrum_figure({"[CLS]": {"a": [2.0, 1.0], "b": [1.0, 1.0]}}).axes[0].lines
    assert curves[0].get_ydata() == pytest.approx([0.8, 1]) and curves[0].get_linestyle() != curves[1].get_linestyle()
