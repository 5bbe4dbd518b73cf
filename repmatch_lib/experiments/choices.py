"""What a selection has chosen: its classes, its words, how alike its instances are, how well they cover the pool.

The book's chapter on better selection introduces the measures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from repmatch_lib.experiments.chains import Outcomes
from repmatch_lib.experiments.rankings import Ranking
from repmatch_lib.instances.scoring import instance_updates
from repmatch_lib.selection.coverage import update_similarity
from repmatch_lib.training.encoder_variants import encoder


def own_similarity(ranking: Ranking) -> np.ndarray:
    """RepMatch of every two instances' own updates of a ranking's pool, under another start than the ranking's.

    Returns
    -------
    ndarray, shape (n, n), from 0 to 1
    """
    how = ranking.settings() | {"seed": ranking.seed - 1, "head_seed": ranking.target.head_seed}
    return update_similarity(instance_updates(encoder(ranking.target.encoder), ranking.pool(), progress=False, **how))


def choice_measures(pool: pd.DataFrame, similarity: np.ndarray, rows: Sequence[int]) -> dict[str, float]:
    """What some rows of a pool have in common.

    Parameters
    ----------
    pool : DataFrame
        ``label``, ``text`` and, for pairs, ``text_pair``.
    similarity : ndarray, shape (n, n)
    rows : sequence of int

    Returns
    -------
    dict of str to float
        ``largest class, %``; ``words`` of an instance, mean; ``alike``, the mean similarity of two of the rows;
        ``cover``, the mean over the pool of the similarity to the nearest of the rows.
    """
    chosen, among = pool.iloc[list(rows)], similarity[np.ix_(rows, rows)]
    texts = [chosen[column].str.split().str.len() for column in ("text", "text_pair") if column in chosen]
    return {
        "largest class, %": float(100 * chosen.label.value_counts().max() / len(chosen)),
        "words": float(sum(texts).mean()),
        "alike": float((among.sum() - np.trace(among)) / (len(rows) * (len(rows) - 1))),
        "cover": float(similarity[list(rows)].max(0).mean()),
    }


def measured_choices(
    outcomes: Outcomes, pools: dict[str, pd.DataFrame], similarities: dict[str, np.ndarray]
) -> pd.DataFrame:
    """`choice_measures` of every fine-tuning: one row each, with ``task``, ``selection`` and ``seed``."""
    return pd.DataFrame(
        {"task": task, "selection": way, "seed": seed}
        | choice_measures(pools[task], similarities[task], pd.Index(pools[task].id).get_indexer(instances).tolist())
        for task, way in outcomes.asked
        for seed, instances in outcomes.instances(task, way).items()
    )
