"""What a selection has chosen, counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import repmatch_lib as rm


def test_measures_of_a_choice_by_hand() -> None:
    pool = pd.DataFrame(
        {"label": [0, 1, 1, 0], "text": ["a b", "a", "a b c", "d"], "text_pair": ["e", "e f", "g", "h"]}
    )
    similarity = np.array([[1, 0.2, 0.4, 0.1], [0.2, 1, 0.6, 0.3], [0.4, 0.6, 1, 0.5], [0.1, 0.3, 0.5, 1]])
    found = rm.choice_measures(pool, similarity, [2, 1, 0])
    assert found["largest class, %"] == pytest.approx(200 / 3)
    assert found["words"] == pytest.approx((4 + 3 + 3) / 3)
    assert found["alike"] == pytest.approx((0.6 + 0.4 + 0.2) / 3)
    assert found["cover"] == pytest.approx((1 + 1 + 1 + 0.5) / 4)


def test_own_similarity_is_of_another_start_than_the_ranking_s(toy: rm.Corpus, tiny: object) -> None:
    run = rm.Run(str(toy.task.file), encoder=str(tiny("bert").folder), rank=1, max_length=32, head_seed=2)  # type: ignore[operator]
    ranking = rm.Ranking(run, rows=6, seed=7)
    found = rm.own_similarity(ranking)
    updates = rm.instance_updates(
        rm.encoder(run.encoder), ranking.pool(), rank=1, seed=6, head_seed=2, max_length=32, progress=False
    )
    basis = updates.basis()
    expected = float(rm.grassmann_similarity(basis[1], basis[4])[..., 0, 0].mean())
    assert found.shape == (6, 6) and found[1, 4] == pytest.approx(expected, abs=1e-5)
