"""Updates of single instances compared: one instance under other seeds, and other instances (figure 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa
import torch
from torch import Tensor

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.similarity.subspaces import grassmann_similarity, repmatch_score
from repmatch_lib.statistics import Estimate, jackknife


def compared(bases: Sequence[Tensor], others: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
    """Compare instances with themselves and with each other.

    Parameters
    ----------
    bases : sequence of Tensor, each of shape (n, L, width, r)
        Of n instances, one a seed; see `Updates.basis`.
    others : sequence of Tensor, each of shape (n, L, width, r), optional
        Of the same instances trained in another way; ``bases`` if not given.

    Returns
    -------
    dict of str to Tensor
        ``itself``, shape (S, S, n, L): scores of each instance with itself, under a seed of ``bases`` (first axis) and
        one of ``others`` (second). ``others``, shape (n, n, L): of every two instances under one seed of ``bases``,
        mean over seeds. ``itself grid`` and ``others grid``, shape (L, r, r): mean grids over the pairs that differ in
        seed, and in instance.
    """
    itself = torch.stack([torch.stack([grassmann_similarity(a, b) for b in others or bases]) for a in bases])
    pairs = torch.stack([torch.stack([grassmann_similarity(row, basis) for row in basis]) for basis in bases])
    return {
        "itself": repmatch_score(itself),
        "others": repmatch_score(pairs).mean(0),
        "itself grid": itself[*_pairs(len(bases))].mean((0, 1)),
        "others grid": pairs[:, *_pairs(len(bases[0]))].mean((0, 1)),
    }


def seeds_apart(itself: Tensor) -> Tensor:
    """Scores of each instance with itself under two seeds of one way of training, shape (n, L), mean over pairs.

    Parameters
    ----------
    itself : Tensor, shape (S, S, n, L)
        From `compared`.
    """
    return itself[*_pairs(len(itself))].mean(0)


def under_two_heads(itself: Tensor, same_start: bool) -> Tensor:
    """Scores of each instance with itself under another head, shape (L,), mean over instances and pairs of seeds.

    Parameters
    ----------
    itself : Tensor, shape (S, S, n, L)
        From `compared`, the other way of training having another head.
    same_start : bool
        Pairs of one seed, so of one LoRA start; or of two.
    """
    one_seed = torch.eye(len(itself), dtype=torch.bool)
    return itself[one_seed if same_start else ~one_seed].mean((0, 1))


def over_instances(scores: Tensor) -> Estimate:
    """Mean score, with its interval from leaving out one instance at a time.

    Parameters
    ----------
    scores : Tensor, shape (n, L), or (n, n, L) for pairs of two instances
    """

    def mean(kept: list[int]) -> float:
        if scores.ndim == 3:
            return scores[*torch.combinations(torch.tensor(kept)).T].mean().item()
        return scores[kept].mean().item()

    return jackknife(range(len(scores)), mean, "instance")


def over_heads(scores: Mapping[tuple[int, int], Tensor]) -> Estimate:
    """Mean score of pairs of heads, with its interval from leaving out one head at a time.

    Parameters
    ----------
    scores : mapping of pair of heads to Tensor, shape (L,)
        From `under_two_heads`.
    """

    def mean(kept: list[int]) -> float:
        among = [layers.mean() for pair, layers in scores.items() if set(pair) <= set(kept)]
        return float(torch.stack(among).mean()) if among else float("nan")

    return jackknife(list(dict.fromkeys(head for pair in scores for head in pair)), mean, "head")


def by_label(scores: Tensor, labels: Tensor) -> dict[str, Estimate]:
    """Pairs of instances of one label and of two, and how often two are nearer than one.

    Parameters
    ----------
    scores : Tensor, shape (n, n)
        Mean over layers.
    labels : Tensor, shape (n,)

    Returns
    -------
    dict of str to Estimate
        ``other instance, same label``, ``other instance, other label``, ``same label - other label``, and ``other
        label ahead``, the share of pairs of a pair of two labels and a pair of one in which the former scores higher.
    """

    def parts(kept: list[int]) -> tuple[Tensor, Tensor]:
        i, j = torch.combinations(torch.tensor(kept)).T
        alike = labels[i] == labels[j]
        return scores[i, j][alike], scores[i, j][~alike]

    def mean(of: Callable[[Tensor, Tensor], Tensor], kept: list[int]) -> float:
        return of(*parts(kept)).mean().item()

    def ahead(same: Tensor, other: Tensor) -> Tensor:
        return (other > same[:, None]).double()

    statistics: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "other instance, same label": lambda same, other: same,
        "other instance, other label": lambda same, other: other,
        "same label - other label": lambda same, other: same.mean() - other.mean(),
        "other label ahead": ahead,
    }
    return {name: jackknife(range(len(labels)), partial(mean, of), "instance") for name, of in statistics.items()}


def _pairs(n: int) -> Tensor:
    return torch.combinations(torch.arange(n)).T


def with_other_labels(data: Corpus) -> Corpus:
    """The same texts, each with the next label."""
    turned = pa.array([(label + 1) % data.task.outputs for label in data.table["label"].to_pylist()])
    table = data.table.set_column(data.table.column_names.index("label"), "label", turned)
    return replace(data, table=table)
