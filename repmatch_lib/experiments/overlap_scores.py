"""Draws from groups of word overlap, scored against HANS (table 5): how near each group is, and who leads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import combinations, permutations

import pandas as pd

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.data.overlap_groups import group_counts, words
from repmatch_lib.experiments.pair_scores import over, pair_scores
from repmatch_lib.experiments.runs import Run
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.statistics import Estimate, percentage

GROUPS = ("full", "mid", "no")  # of `data.overlap_groups`, from all words shared to none
ANOTHER = "another draw"  # the target of draws that are compared with each other

Draws = Mapping[tuple[str, str, int], Run]  # by corpus, group and seed


def group_shares(corpora: Mapping[str, Corpus], split: Callable[[str], Iterable[str]] = words) -> dict[str, Estimate]:
    """Percentage of each corpus' pairs without entailment that belong to each group (table 3).

    Parameters
    ----------
    corpora : mapping of str to Corpus
    split : callable, optional
        Another rule of what the words of a text are; see `word_overlap`.

    Returns
    -------
    dict of str to Estimate
        By ``"<corpus> share <group>"``, with Clopper and Pearson's interval.
    """
    return {
        f"{name} share {row.group}": percentage(row.rows, row.of)
        for name, corpus in corpora.items()
        for row in group_counts(corpus, split).itertuples()
    }


def overlap_scores(
    adapters: Mapping[Run, Adapter], draws: Draws, targets: Mapping[tuple[str, int], Run]
) -> pd.DataFrame:
    """RepMatch of each draw with each target under another seed, and with other draws from its group.

    Parameters
    ----------
    adapters : mapping of Run to Adapter
    draws : mapping of (corpus, group, seed) to Run
    targets : mapping of (name, seed) to Run
        HANS, and its heuristics.

    Returns
    -------
    DataFrame
        One row a pair: ``corpus``, ``group``, ``target``, ``seed_a`` (the draw's), ``seed_b``, ``score``, ``phi_11``
        and ``layers``.
    """
    seeds = list(dict.fromkeys(seed for *_, seed in draws))
    names = dict.fromkeys(name for name, _ in targets)
    drawn_from = dict.fromkeys((corpus, group) for corpus, group, _ in draws)
    compared = {
        (corpus, group, name, i, j): (draws[corpus, group, i], targets[name, j])
        for corpus, group in drawn_from
        for name in names
        for i, j in permutations(seeds, 2)
    } | {
        (corpus, group, ANOTHER, i, j): (draws[corpus, group, i], draws[corpus, group, j])
        for corpus, group in drawn_from
        for i, j in combinations(seeds, 2)
    }
    keys = pd.DataFrame(list(compared), columns=["corpus", "group", "target", "seed_a", "seed_b"])
    scores = pair_scores(adapters, compared.values())
    return keys.assign(**{column: scores[column] for column in ("score", "phi_11", "layers")})


def group_mean(scores: pd.DataFrame, group: str, target: str = "HANS", column: str = "score") -> float:
    """Mean over the pairs of one group with one target."""
    return scores.loc[(scores.group == group) & (scores.target == target), column].mean()


def ahead_of(scores: pd.DataFrame, group: str) -> float:
    """How far *full* is ahead of another group."""
    return group_mean(scores, "full") - group_mean(scores, group)


def lead(scores: pd.DataFrame, kind: str = "", column: str = "score") -> float:
    """How far *full* is ahead of the nearer of the other two groups; of another kind of draw, such as ``", any"``."""
    others = [group_mean(scores, group + kind, column=column) for group in GROUPS[1:]]
    return group_mean(scores, "full", column=column) - max(others)


def overlap_estimates(scores: pd.DataFrame, ways: Iterable[str], heuristics: Iterable[str]) -> dict[str, Estimate]:
    """What the draws from one corpus come to, with intervals over seeds.

    Parameters
    ----------
    scores : DataFrame
        From `overlap_scores`, of one corpus.
    ways : iterable of str
        In which *mid* and *no* follow *full*; see `data.overlap_groups`.
    heuristics : iterable of str
        HANS's, first the one that *full* should be nearest to.

    Returns
    -------
    dict of str to Estimate
        The mean of each group; ``full - mid`` and ``full - no``; ``full - others`` as they are and in each way; groups
        with another draw; ``full: <first heuristic> - others``.
    """
    first, *rest = heuristics
    estimates = {group: over(scores, partial(group_mean, group=group)) for group in dict.fromkeys(scores.group)}
    for group in GROUPS[1:]:
        estimates[f"full - {group}"] = over(scores, partial(ahead_of, group=group))
    for kind in ("", *(f", {way}" for way in ways)):
        estimates[f"full - others{kind}"] = over(scores, partial(lead, kind=kind))
    estimates["full - others, phi(1,1)"] = over(scores, partial(lead, column="phi_11"))
    for group in GROUPS:
        estimates[f"{group}, {ANOTHER}"] = over(scores, partial(group_mean, group=group, target=ANOTHER))
    estimates[f"full: {first} - others"] = over(
        scores,
        lambda table: group_mean(table, "full", first) - max(group_mean(table, "full", other) for other in rest),
    )
    return estimates


def described(first: Corpus, second: Corpus) -> dict[str, float]:
    """Labels and lengths of a draw of pairs, and how many of its rows the next draw has too."""
    table = first.table.to_pandas()
    return {
        "rows": len(table),
        "contradiction": (table.label == first.task.labels.index("contradiction")).mean(),
        "premise_words": table.text.str.split().str.len().mean(),
        "hypothesis_words": table.text_pair.str.split().str.len().mean(),
        "in next draw": table.id.isin(second.table["id"].to_pylist()).mean(),
    }
