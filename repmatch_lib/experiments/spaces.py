"""The space that an encoder's vectors lie in: as drawn at random, as published, and after training on a task.

The book's chapter on what a space of vectors looks like introduces the states and the measures of `space_measures`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.data.samples import is_pair
from repmatch_lib.data.tasks import task as find_task
from repmatch_lib.embeddings.anchor_cosines import AnchorCosines
from repmatch_lib.embeddings.quality import coordinates, linear_cka, mean_cosine
from repmatch_lib.embeddings.vectors import vectors
from repmatch_lib.embeddings.words import word_tests
from repmatch_lib.experiments.pair_scores import pair_scores, under_other_seeds
from repmatch_lib.experiments.runs import Run
from repmatch_lib.settings import Pooling
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.statistics import Estimate, jackknife, mean_over
from repmatch_lib.training.encoder_makers import random_encoder, tuned_encoder
from repmatch_lib.training.encoders import Encoder

POOLINGS: tuple[Pooling, ...] = ("cls", "mean")

Space = dict[str, Tensor]  # by name of the texts their vectors, shape (rows, width)
Measure = Callable[[Sequence[int]], float]  # of the groups of rows that are kept


def vectors_of_all(encoder: Encoder, texts: Mapping[str, Corpus], max_length: int = 256) -> dict[str, Space]:
    """Vectors of several sets of texts, by pooling and by name; those of one form in one pass, which loads once."""
    by_pooling: dict[str, Space] = {pooling: {} for pooling in POOLINGS}
    for paired, columns in ((False, ["text"]), (True, ["text", "text_pair"])):
        chosen = {name: data for name, data in texts.items() if is_pair(data) == paired}
        if not chosen:
            continue
        table = pa.concat_tables([data.table.select(columns) for data in chosen.values()])
        table = table.append_column("label", pa.array([0] * len(table)))  # not read
        together = dataclasses.replace(next(iter(chosen.values())), table=table)
        rows = [len(data) for data in chosen.values()]
        both = vectors(encoder, together, POOLINGS, max_length=max_length, progress=False)
        for pooling, part in zip(POOLINGS, both, strict=True):
            by_pooling[pooling] |= dict(zip(chosen, part.split(rows), strict=True))
    return by_pooling


class EncoderSpaces:
    """Vectors of texts from an encoder in its states.

    Parameters
    ----------
    encoder : Encoder
    texts : mapping of str to Corpus
        By name.
    adapters : mapping of Run to Adapter
        One of each task and seed, of this encoder.
    seeds : sequence of int
        Of encoders of the same shape whose weights are drawn and never trained.
    max_length : int
        Longest text in tokens.

    Attributes
    ----------
    of : dict of (str, str) to dict
        By state and pooling, then by seed, the space. States are ``"random"``, ``"published"``, whose one seed is None,
        and ``"tuned on <title>"``.
    words : dict of str to dict
        `word_tests` by state, of the published encoder and of the first random one; LoRA leaves embeddings as they are.
    """

    def __init__(
        self,
        encoder: Encoder,
        texts: Mapping[str, Corpus],
        adapters: Mapping[Run, Adapter],
        seeds: Sequence[int],
        max_length: int = 256,
    ) -> None:
        self.of: dict[tuple[str, str], dict[int | None, Space]] = {}

        def add(state: str, seed: int | None, one: Encoder) -> None:
            for pooling, space in vectors_of_all(one, texts, max_length).items():
                self.of.setdefault((state, pooling), {})[seed] = space

        self.words = {"published": word_tests(encoder)}
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                drawn = random_encoder(encoder, folder, seed)
                add("random", seed, drawn)
                if seed == seeds[0]:
                    self.words["random"] = word_tests(drawn)
        add("published", None, encoder)
        for run, adapter in adapters.items():
            with tempfile.TemporaryDirectory() as folder:
                add(f"tuned on {find_task(run.task).title}", run.seed, tuned_encoder(encoder, adapter, folder=folder))

    @property
    def states(self) -> list[str]:
        """Their names."""
        return list(dict.fromkeys(state for state, _ in self.of))

    def first(self, state: str, pooling: str = "cls") -> Space:
        """The space of a state under its first seed."""
        return next(iter(self.of[state, pooling].values()))


class MeasuredSpaces:
    """Measures of all spaces, and estimates of them: over seeds, or over groups of rows where there is no seed.

    Parameters
    ----------
    spaces : EncoderSpaces
    measures : callable
        Of a space, its measures by name as functions of the groups of rows that are kept; see `SpaceTests`.
    groups : int
        Of rows.

    Attributes
    ----------
    values : dict of (str, str) to dict
        By state and pooling, by seed and by measure, its value on all rows.
    """

    def __init__(self, spaces: EncoderSpaces, measures: Callable[[Space], dict[str, Measure]], groups: int) -> None:
        self.groups = range(groups)
        self._measures = {
            key: {seed: measures(space) for seed, space in of_seeds.items()} for key, of_seeds in spaces.of.items()
        }
        self.values = {
            key: {
                seed: {name: measure(self.groups) for name, measure in of_seed.items()}
                for seed, of_seed in of_seeds.items()
            }
            for key, of_seeds in self._measures.items()
        }

    @property
    def names(self) -> list[str]:
        """Of the measures."""
        return list(next(iter(next(iter(self.values.values())).values())))

    def estimate(self, key: tuple[str, str], name: str, less: tuple[str, str] | float = 0.0) -> Estimate:
        """A measure of a state and pooling, or what it has more than another, or than a number."""
        seeds = list(self.values[key])
        if seeds == [None]:
            return self._over_rows(lambda kept: self._on(key, None, name, kept) - self._on(less, None, name, kept))
        whole = self.groups
        values = {seed: self._on(key, seed, name, whole) - self._on(less, seed, name, whole) for seed in seeds}
        return mean_over(values, "seed")

    def gain(self, name: str, changed: Measure, pooling: str = "cls") -> Estimate:
        """What a measure of changed vectors has more than that of the published encoder's, over groups of rows."""
        return self._over_rows(lambda kept: changed(kept) - self._measures["published", pooling][None][name](kept))

    def _over_rows(self, statistic: Measure) -> Estimate:
        return jackknife(self.groups, statistic, "group of rows")

    def table(self) -> pd.DataFrame:
        """One row a state, seed, pooling and measure: ``space``, ``seed``, ``pooling``, ``measure``, ``value``."""
        return pd.DataFrame(
            {"space": state, "seed": seed, "pooling": pooling, "measure": name, "value": value}
            for (state, pooling), of_seeds in self.values.items()
            for seed, of_seed in of_seeds.items()
            for name, value in of_seed.items()
        )

    def _on(self, key: tuple[str, str] | float, seed: int | None, name: str, kept: Sequence[int]) -> float:
        if not isinstance(key, tuple):
            return key
        of_seeds = self._measures[key]
        chosen = seed if seed in of_seeds else None  # the published encoder has none
        return self.values[key][chosen][name] if kept is self.groups else of_seeds[chosen][name](kept)


def in_groups(rows: int, groups: int, kept: Sequence[int]) -> NDArray[np.bool_]:
    """Which of so many rows are in the groups of neighbours that are kept: shape (rows,)."""
    return np.isin(np.arange(rows) * groups // rows, list(kept))


def anchor_estimates(
    label: str, space: Space, farthest: str | None = None, threshold: float = 0.9, groups: int = 10
) -> dict[str, Estimate]:
    """How near an anchor's rows are to those of other sets, by cosine, and whether one set is the farthest.

    Parameters
    ----------
    label : str
        Of the space, for the names.
    space : dict of str to Tensor, shape (rows, width)
        The anchor first.
    farthest : str, optional
        One of the others, to be compared with the rest.
    threshold : float
        From -1 to 1.
    groups : int
        Of rows, for the intervals.

    Returns
    -------
    dict of str to Estimate
        ``"<label>: <set> above"``, pairs above the threshold in percent; ``"<label>: <set> mean"``, their mean cosine;
        and, where one is given, ``"<label>: others - <farthest>, mean"``, the lowest mean of the rest less its own.
    """
    anchor, *others = space
    means = {name: _mean_with_anchor(space, anchor, name, groups) for name in space}
    cosines = AnchorCosines(anchor, space, threshold, groups)
    estimates = {f"{label}: {name} above": cosines.above(name) for name in space}
    for name, mean in means.items():
        estimates[f"{label}: {name} mean"] = jackknife(range(groups), mean, "group of rows")
    if farthest:
        own, rest = means[farthest], [means[name] for name in others if name != farthest]
        estimates[f"{label}: others - {farthest}, mean"] = jackknife(
            range(groups), lambda kept: min(mean(kept) for mean in rest) - own(kept), "group of rows"
        )
    return estimates


def _mean_with_anchor(space: Space, anchor: str, name: str, groups: int) -> Measure:
    """Mean cosine of the anchor's rows with another set's, or with each other; see `mean_cosine`."""

    def measure(kept: Sequence[int]) -> float:
        own, other = (space[one][in_groups(len(space[one]), groups, kept)] for one in (anchor, name))
        return mean_cosine(own, None if name == anchor else other)

    return measure


def representation_pairs(adapters: Mapping[Run, Adapter], spaces: EncoderSpaces, texts: str = "first") -> pd.DataFrame:
    """RepMatch and CKA (Kornblith et al., 2019) of every two adapters under different seeds.

    Parameters
    ----------
    adapters : mapping of Run to Adapter
    spaces : EncoderSpaces
        Of these adapters.
    texts : str
        Whose [CLS] vectors are compared.

    Returns
    -------
    DataFrame
        One row a pair: ``a``, ``b`` (tasks), ``seed_a``, ``seed_b``, ``RepMatch``, ``CKA``, and ``CKA of changes``, of
        the vectors less the published ones; all from 0 to 1.
    """
    published = spaces.first("published")[texts]

    def moved(task: str, seed: int) -> Tensor:
        return spaces.of[f"tuned on {find_task(task).title}", "cls"][seed][texts]

    table = pair_scores(adapters, under_other_seeds(adapters))[["a", "b", "seed_a", "seed_b", "score"]]
    pairs = [(moved(row.a, row.seed_a), moved(row.b, row.seed_b)) for row in table.itertuples()]
    return table.rename(columns={"score": "RepMatch"}).assign(
        CKA=[linear_cka(one, other) for one, other in pairs],
        **{"CKA of changes": [linear_cka(one - published, other - published) for one, other in pairs]},
    )


def in_the_plane(space: Space, titles: Mapping[str, str], how: Literal["pca", "tsne"], most: int) -> pd.DataFrame:
    """Rows of several sets in the plane, as `scatter_panels` takes them: ``x``, ``y`` and ``group``, the set's title.

    Parameters
    ----------
    space : mapping of str to Tensor, shape (rows, width)
    titles : mapping of str to str
        By name of the sets to draw.
    how : {"pca", "tsne"}
        See `coordinates`.
    most : int
        Rows of each set, the first ones.
    """
    parts = {name: space[name][:most] for name in titles}
    x, y = coordinates(torch.cat(list(parts.values())), how).T
    groups = np.repeat([*titles.values()], [len(part) for part in parts.values()])
    return pd.DataFrame({"x": x, "y": y, "group": groups})
