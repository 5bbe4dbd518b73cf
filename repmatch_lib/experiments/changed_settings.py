"""What a changed setting does to a score, beside what another seed does.

For the book's chapter on batches: what else moves an adapter.
"""

from __future__ import annotations

from repmatch_lib.experiments.seed_scores import Scores, other_seeds, over_seeds, same_seeds
from repmatch_lib.statistics import Estimate


def setting_estimates(name: str, beside: Scores, themselves: Scores, plain: Scores) -> dict[str, Estimate]:
    """Scores of runs with a changed setting, and each less that of two runs as they are under different seeds.

    Parameters
    ----------
    name : str
        The setting's, which all names of estimates begin with.
    beside : array, shape (S, S)
        Of changed runs (rows) with runs as they are (columns), under the same S seeds.
    themselves : array, shape (S, S)
        Of changed runs among themselves.
    plain : array, shape (S, S)
        Of runs as they are among themselves.

    Returns
    -------
    dict of str to Estimate
        "name: same seeds" and "name: other seeds", changed with as they are, and "name: among themselves", under other
        seeds; the first two also ", less another seed", the last ", less as it is". Intervals over seeds.
    """
    compared = (
        ("same seeds", "less another seed", same_seeds, beside),
        ("other seeds", "less another seed", other_seeds, beside),
        ("among themselves", "less as it is", other_seeds, themselves),
    )
    estimates = {}
    for what, less, mean, scores in compared:
        estimates[f"{name}: {what}"] = over_seeds(mean, scores)
        estimates[f"{name}: {what}, {less}"] = over_seeds(
            lambda changed, as_it_is, mean=mean: mean(changed) - other_seeds(as_it_is), scores, plain
        )
    return estimates
