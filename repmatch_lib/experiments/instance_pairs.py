"""What scores of single instances come to, with intervals over instances and heads (figure 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from repmatch_lib.statistics import Estimate, jackknife


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
