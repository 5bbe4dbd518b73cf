"""Pairs grouped by how many of the hypothesis' words the premise holds, and draws from the groups (tables 3 and 5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from repmatch_lib.data.corpora import Corpus

BANDS = {"full": (1.0, 1.0), "mid": (0.6, 0.8), "no": (0.0, 0.0)}

HEURISTICS = ("lexical_overlap", "subsequence", "constituent")

LIKE = {
    "as long as full": ("premise_words", "hypothesis_words"),
    "labelled as full": ("label",),
    "as long and labelled as full": ("premise_words", "hypothesis_words", "label"),
}

ENTAILMENT = "entailment"

OTHER_LABEL = 1000  # words that two rows may differ in before one with another label is taken

_WORD = re.compile(r"\w+(?:[^\w\s]+\w+)*")


@dataclass(frozen=True)
class Group:
    """Which rows of a corpus belong, and how they are drawn.

    Attributes
    ----------
    overlap : pair of float, optional
        Rows that are not entailment, with an overlap from the first to the second, both included.
    heuristic : str
        Instead: rows with this value in the column ``heuristic``, whatever their label.
    follows : tuple of str
        ``premise_words``, ``hypothesis_words``, ``label``: how a draw is like the draw from *full* of the same seed.
        For each row there, a row as near in these as can be.
    """

    overlap: tuple[float, float] | None = None
    heuristic: str = ""
    follows: tuple[str, ...] = ()


GROUPS = (
    {name: Group(band) for name, band in BANDS.items()}
    | {f"{name}, {how}": Group(BANDS[name], follows=columns) for name in ("mid", "no") for how, columns in LIKE.items()}
    | {name: Group(heuristic=name) for name in HEURISTICS}
)


def words(text: str) -> list[str]:
    """Words in their order, case folded, without the punctuation around them: ``Don't stop!`` has two."""
    return _WORD.findall(text.casefold())


def word_overlap(
    premises: Iterable[str], hypotheses: Sequence[str], words: Callable[[str], Iterable[str]] = words
) -> np.ndarray:
    """Share of each hypothesis' distinct words that occur in its premise.

    Parameters
    ----------
    premises, hypotheses : sequence of str, length n
    words : callable, optional
        Another rule of what the words of a text are.

    Returns
    -------
    ndarray, shape (n,)
        In [0, 1]; NaN for a hypothesis without any word.
    """
    shares = np.full(len(hypotheses), np.nan)
    for row, (premise, hypothesis) in enumerate(zip(premises, hypotheses, strict=True)):
        if told := set(words(hypothesis)):
            shares[row] = len(told.intersection(words(premise))) / len(told)
    return shares


def group_counts(corpus: Corpus, words: Callable[[str], Iterable[str]] = words) -> pd.DataFrame:
    """Table 3 of the paper for one corpus: how many of its pairs belong to each group.

    Parameters
    ----------
    corpus : Corpus
        Of pairs, with ``entailment`` among its labels.
    words : callable, optional
        See `word_overlap`.

    Returns
    -------
    DataFrame
        ``group``; ``rows`` and ``of``, the pairs of the group and all that are not entailment; each further label's
        share of the group; ``premise_words`` and ``hypothesis_words``, means.
    """
    pairs = _pairs(corpus, words)
    rest = pairs[pairs.label != ENTAILMENT]
    groups = {name: rest[rest.overlap.between(*band)] for name, band in BANDS.items()}
    return pd.DataFrame(
        {
            "group": name,
            "rows": len(rows),
            "of": len(rest),
            **{label: (rows.label == label).mean() for label in corpus.task.labels if label != ENTAILMENT},
            "premise_words": rows.premise_words.mean(),
            "hypothesis_words": rows.hypothesis_words.mean(),
        }
        for name, rows in groups.items()
    )


def draw(corpus: Corpus, group: str, rows: int | None = None, seed: int = 0) -> Corpus:
    """Rows of a group, drawn without repetition.

    Parameters
    ----------
    corpus : Corpus
    group : str
        One of `GROUPS`.
    rows : int, optional
        So many; all that there are if not given. Fewer rows of one seed are a prefix of more, save in a group that
        follows another one.
    seed : int
        Of the draw.

    Raises
    ------
    ValueError
        If there is no such group, the corpus cannot have it or has too few rows, or all rows drawn have one label.
    """
    chosen = _rows(corpus, group, rows, seed)
    if len(set(corpus.table["label"].take(chosen).to_pylist())) < 2:
        raise ValueError(
            f"{corpus.task.name}: the {len(chosen)} rows drawn from the group {group!r} have one label; a classifier "
            "needs two. Raise rows, or give another seed"
        )
    return replace(corpus.take(chosen), source=f"{corpus.source}, {group}")


def find(group: str) -> Group:
    """A group by its name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if group not in GROUPS:
        raise ValueError(f"unknown group {group!r}: give one of {'; '.join(GROUPS)}")
    return GROUPS[group]


def _rows(corpus: Corpus, group: str, rows: int | None, seed: int) -> np.ndarray:
    """Numbers of the rows drawn."""
    known = find(group)
    members = np.random.default_rng(seed).permutation(_members(corpus, known))
    followed = _rows(corpus, "full", rows, seed) if known.follows else None
    wanted = len(members if followed is None else followed) if rows is None else rows
    if not 0 < wanted <= len(members):
        raise ValueError(
            f"{corpus.task.name} ({corpus.source}) has {len(members)} rows of the group {group!r}; asked for {wanted}. "
            "Lower rows, or take the whole corpus with source='hub'"
        )
    return members[:wanted] if followed is None else _nearest(_pairs(corpus), known.follows, followed, members)


def _members(corpus: Corpus, group: Group) -> np.ndarray:
    """Numbers of the group's rows."""
    if group.overlap is None:
        if "heuristic" not in corpus.table.column_names:
            raise ValueError(f"{corpus.task.name} has no column 'heuristic'; for {group.heuristic!r} give task='hans'")
        return np.flatnonzero(np.array(corpus.table["heuristic"].to_pylist()) == group.heuristic)
    pairs = _pairs(corpus)
    return np.flatnonzero((pairs.label != ENTAILMENT) & pairs.overlap.between(*group.overlap))


def _pairs(corpus: Corpus, words: Callable[[str], Iterable[str]] = words) -> pd.DataFrame:
    """One line a pair: its overlap, the name of its label, and how many words its two texts have."""
    if "text_pair" not in corpus.table.column_names or ENTAILMENT not in corpus.task.labels:
        raise ValueError(
            f"{corpus.task.name} has no pairs of premise and hypothesis with the label {ENTAILMENT!r}, which groups by "
            "overlap need: give snli, mnli, hans, or a file with two text columns and such a label"
        )
    premises, hypotheses = (corpus.table[column].to_pylist() for column in ("text", "text_pair"))
    return pd.DataFrame(
        {
            "overlap": word_overlap(premises, hypotheses, words),
            "label": pd.Categorical.from_codes(corpus.table["label"].to_pylist(), corpus.task.labels),
            "premise_words": [len(text.split()) for text in premises],
            "hypothesis_words": [len(text.split()) for text in hypotheses],
        }
    )


def _nearest(pairs: pd.DataFrame, columns: tuple[str, ...], followed: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """For each row of one group another row of another group, so that all together differ least in these columns."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    places = pairs.assign(label=OTHER_LABEL * pairs.label.cat.codes.astype(int))[list(columns)].to_numpy()
    _, match = linear_sum_assignment(cdist(places[followed], places[candidates], "cityblock"))
    return candidates[match]
