"""SemDeDup looked at closely: how much it finds, how sure that is, what it misses, and what it costs.

The book's chapter on SemDeDup introduces the questions; the method itself is `near_duplicates` (Abbas et al., 2023).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.selection.duplicates import Duplicates, near_duplicates
from repmatch_lib.statistics import Estimate, jackknife, percentage

Statistic = Callable[[Duplicates, NDArray], float]


class DuplicateSearch:
    """SemDeDup on a corpus, and again without each group of its rows, so that what it finds has an interval.

    Parameters
    ----------
    vectors : Tensor, shape (rows, width)
    labels : array, shape (rows,)
    groups : int
        Of neighbouring rows; they are random where the rows are in random order.

    Attributes
    ----------
    whole : Duplicates
        Of all rows.
    """

    def __init__(self, vectors: Tensor, labels: ArrayLike, groups: int = 10) -> None:
        self.groups = range(groups)
        self._rows = np.array_split(np.arange(len(vectors)), groups)
        self._labels = np.asarray(labels)
        self.whole = near_duplicates(vectors, progress=False)
        self._without = {group: near_duplicates(vectors[self._kept(group)], progress=False) for group in self.groups}

    def kept(self, eps: float, less: DuplicateSearch | None = None) -> Estimate:
        """Rows that stay at ε, in percent of all; or how many more than in another search."""
        return self._estimate(lambda duplicates, _: 100 * len(duplicates.kept(eps)) / len(duplicates), less)

    def other_label(self, eps: float, less: DuplicateSearch | None = None) -> Estimate:
        """Rows with another label than their neighbour, in percent of those that go at ε; NaN if none goes."""

        def share(duplicates: Duplicates, labels: NDArray) -> float:
            dropped = duplicates.dropped(eps)
            other = labels[dropped] != labels[duplicates.neighbour[dropped]]
            return 100 * float(other.mean()) if len(dropped) else float("nan")

        return self._estimate(share, less)

    def _kept(self, group: int) -> NDArray[np.intp]:
        """Numbers of the rows but for one group."""
        return np.concatenate(self._rows[:group] + self._rows[group + 1 :])

    def _value(self, statistic: Statistic, groups: list[int]) -> float:
        if len(groups) == len(self.groups):
            return statistic(self.whole, self._labels)
        (left_out,) = {*self.groups} - {*groups}
        return statistic(self._without[left_out], self._labels[self._kept(left_out)])

    def _estimate(self, statistic: Statistic, less: DuplicateSearch | None) -> Estimate:
        def value(groups: list[int]) -> float:
            return self._value(statistic, groups) - (less._value(statistic, groups) if less else 0)

        return jackknife(self.groups, value, "group of rows", None if less else (0, 100))


def duplicate_estimates(
    searches: Mapping[str, DuplicateSearch], epsilons: Iterable[float], eps: float
) -> dict[str, Estimate]:
    """What searches in several corpora found.

    Parameters
    ----------
    searches : mapping of str to DuplicateSearch
        By corpus, all with as many groups.
    epsilons : iterable of float
        From 0 to 2.
    eps : float
        At which labels are looked at, and corpora compared.

    Returns
    -------
    dict of str to Estimate
        In percent: ``"<corpus> kept at <eps>"``, ``"<corpus> other label"``, and of every further corpus less the first
        ``"<corpus> kept - <first> kept"`` and ``"<corpus> other label - <first> other label"``.
    """
    estimates = {f"{name} kept at {at:g}": search.kept(at) for at in epsilons for name, search in searches.items()}
    estimates |= {f"{name} other label": search.other_label(eps) for name, search in searches.items()}
    first, *others = searches
    for name in others:
        search, base = searches[name], searches[first]
        estimates[f"{name} kept - {first} kept"] = search.kept(eps, less=base)
        estimates[f"{name} other label - {first} other label"] = search.other_label(eps, less=base)
    return estimates


@dataclass(frozen=True)
class Planted:
    """A corpus with duplicates planted into it, so that it is known what a search should find.

    Attributes
    ----------
    data : Corpus
        Its rows, then the planted ones.
    pairs : dict of str to list of (int, int)
        By kind, the row and its duplicate: ``exact`` copies, ``near`` copies that lack their middle letter, and
        ``paraphrase``, of which both are planted.
    """

    data: Corpus
    pairs: dict[str, list[tuple[int, int]]]

    @classmethod
    def into(cls, data: Corpus, pairs: Corpus, n: int, least: float = 4.8) -> Planted:
        """Plant up to so many duplicates of each kind.

        Parameters
        ----------
        data : Corpus
            Of single texts, or of pairs whose first texts are taken.
        pairs : Corpus
            Of pairs with scores, such as STS-B: those with a score of at least ``least`` are paraphrases.
        n : int
            Near copies are of rows of at least eight words after the first n, which have exact copies.
        """
        texts = data.table["text"].to_pylist()
        rows = len(texts)
        exact = list(range(min(n, rows)))
        near = [row for row, text in enumerate(texts) if row >= n and len(text.split()) >= 8][:n]
        alike = pairs.table.to_pandas().query("label >= @least and text != text_pair")
        alike = alike.drop_duplicates("text").drop_duplicates("text_pair").head(n)
        texts += [texts[row] for row in exact] + [_without_middle(texts[row]) for row in near]
        first = len(texts)
        texts += [text for both in zip(alike.text, alike.text_pair, strict=True) for text in both]
        numbered = {
            "exact": [(row, rows + k) for k, row in enumerate(exact)],
            "near": [(row, rows + len(exact) + k) for k, row in enumerate(near)],
            "paraphrase": [(row, row + 1) for row in range(first, len(texts), 2)],
        }
        return cls(dataclasses.replace(data, table=pa.table({"text": texts, "label": [0] * len(texts)})), numbered)

    def recall(self, kind: str, duplicates: Duplicates, eps: float) -> Estimate:
        """Pairs of a kind of which a row goes at ε, in percent."""
        dropped = {*duplicates.dropped(eps)}
        recovered = [bool(dropped & {*pair}) for pair in self.pairs[kind]]
        return percentage(sum(recovered), len(recovered), "pair")

    def precision(self, duplicates: Duplicates, eps: float) -> Estimate:
        """Rows of planted pairs, in percent of those that go at ε; natural duplicates count as errors."""
        planted = [row for pairs in self.pairs.values() for pair in pairs for row in pair]
        dropped = duplicates.dropped(eps)
        return percentage(int(np.isin(dropped, planted).sum()), len(dropped))

    def estimates(
        self, whole: Duplicates, in_clusters: Mapping[int, Duplicates], epsilons: Iterable[float], eps: float
    ) -> dict[str, Estimate]:
        """What a search of all pairs recovered, and searches by number of clusters.

        Parameters
        ----------
        whole : Duplicates
            Searched in one cluster.
        in_clusters : mapping of int to Duplicates
            By number of clusters.
        epsilons : iterable of float
            At which the search of all pairs is looked at, each from 0 to 2.
        eps : float
            At which those in clusters are.

        Returns
        -------
        dict of str to Estimate
            In percent: ``"<kind> found at <eps>"``, ``"precision at <eps>"`` and ``"<kind> found in clusters <n>"``.
        """
        estimates: dict[str, Estimate] = {}
        for at in epsilons:
            estimates |= {f"{kind} found at {at:g}": self.recall(kind, whole, at) for kind in self.pairs}
            estimates[f"precision at {at:g}"] = self.precision(whole, at)
        for kind in self.pairs:
            estimates |= {
                f"{kind} found in clusters {n}": self.recall(kind, search, eps) for n, search in in_clusters.items()
            }
        return estimates


def nearest_pairs(duplicates: Duplicates, data: Corpus, eps: float, n: int = 4) -> pd.DataFrame:
    """The most similar rows and neighbours that a search found, as one text each with the label, to read."""
    table, names = duplicates.pairs(eps, data).head(n), data.task.labels
    read = pd.DataFrame({"corpus": data.title, "similarity": table.similarity})
    for whose in ("", "neighbour's "):
        parts = [table[whose + part] for part in ("text", "text_pair") if whose + part in table]
        labels = [names[label] for label in table[f"{whose}label"]]
        rows = zip(*parts, labels, strict=True)
        read[f"{whose}text and label"] = [f"{' / '.join(texts)} ({label})" for *texts, label in rows]
    return read


def repetition(vectors: Tensor, pool: Corpus, chosen: Mapping[int, Iterable[int]]) -> dict[int, float]:
    """How much the instances of a selection repeat each other.

    Parameters
    ----------
    vectors : Tensor, shape (rows, width)
    pool : Corpus
        The rows that the vectors are of.
    chosen : mapping of int to iterable of int
        By seed, ids of the pool's rows.

    Returns
    -------
    dict of int to float
        By seed, the mean cosine, from -1 to 1, of each chosen row with the nearest before it, in one cluster.
    """
    number_of = {row: number for number, row in enumerate(pool.table["id"].to_pylist())}
    searches = {
        seed: near_duplicates(vectors[[number_of[row] for row in ids]], 1, progress=False)
        for seed, ids in chosen.items()
    }
    return {seed: float(search.similarity[1:].mean()) for seed, search in searches.items()}


def search_costs(rows: Iterable[int], width: int) -> pd.DataFrame:
    """SemDeDup timed on vectors drawn at random.

    Parameters
    ----------
    rows : iterable of int
        Numbers of vectors, each at least 1.
    width : int
        Of a vector, at least 1.

    Returns
    -------
    DataFrame
        One line a number of rows: ``rows``, ``clusters``, ``cosines, millions`` (counted), ``seconds``, and ``vectors
        twice and a block, GB`` (counted: as given, at length one, and a block of cosines, in float32).
    """
    return pd.DataFrame([_cost(n, width) for n in rows])


def _cost(n: int, width: int) -> dict[str, float]:
    vectors = np.random.default_rng(0).standard_normal((n, width), dtype=np.float32)
    started = time.perf_counter()
    sizes = np.bincount(near_duplicates(vectors, progress=False).cluster).astype(int)
    seconds = time.perf_counter() - started
    return {
        "rows": n,
        "clusters": len(sizes),
        "cosines, millions": float((sizes * (sizes - 1) // 2).sum() / 1e6),
        "seconds": seconds,
        "vectors twice and a block, GB": (2 * n * width + min(2048, n) ** 2) * 4 / 1e9,
    }


def _without_middle(text: str) -> str:
    middle = len(text) // 2
    return text[:middle] + text[middle + 1 :]
