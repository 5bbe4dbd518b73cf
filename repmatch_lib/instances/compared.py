"""One target's part of a job: its subspaces in the model's layers, and what instances' updates score with them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from repmatch_lib.instances.matrices import Matrix
from repmatch_lib.instances.trainee import Scoring
from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.similarity.comparison import trained_basis
from repmatch_lib.similarity.matrices import paired
from repmatch_lib.similarity.signed import Factors, update_cosines
from repmatch_lib.similarity.subspaces import grassmann_similarity, repmatch_score

Places = dict[str, list[int]]  # of each module: where its matrices are among the model's, layer by layer


@dataclass(frozen=True)
class Compared:
    """A target, ready to be compared with.

    Attributes
    ----------
    adapter : Adapter
    scoring : Scoring
    bases : dict of str to Tensor, shape (L, width, r)
        Of each compared module.
    factors : list of (A, B), shape (L, r, in) and (L, out, r)
        Of each compared module.
    """

    adapter: Adapter
    scoring: Scoring
    bases: dict[str, Tensor]
    factors: list[Factors]

    @classmethod
    def of(cls, adapter: Adapter, scoring: Scoring, matrices: list[Matrix], places: Places) -> Compared:
        """The target beside a model's matrices.

        Raises
        ------
        ValueError
            If it adapts other layers, or another encoder.
        """
        bases = {module: _basis(adapter, module, scoring, [matrices[p] for p in at]) for module, at in places.items()}
        device = matrices[0].A.device
        factors = [(A.to(device), B.to(device)) for _, A, B in map(adapter.factors, places)]
        return cls(adapter, scoring, bases, factors)

    def scores(self, A: dict[str, Tensor], B: dict[str, Tensor], bases: dict[str, Tensor]) -> Tensor:
        """What instances score, one column a layer, then the score, and by cosine RepMatch.

        Parameters
        ----------
        A, B : dict of str to Tensor, shape (n, L, r, in), or shared (L, r, in), and (n, L, out, r)
            The instances' factors, module by module.
        bases : dict of str to Tensor, shape (n, L, width, r)
            Of these factors.

        Returns
        -------
        Tensor, shape (n, columns), float64, on the CPU
        """
        layers = [repmatch_score(grassmann_similarity(basis, self.bases[module])) for module, basis in bases.items()]
        grid = torch.cat(layers, 1)
        score = grid.mean(1, keepdim=True)
        if self.scoring.measure == "repmatch":
            return torch.cat([grid, score], 1).cpu()
        cosines, whole = update_cosines([(A[module], B[module]) for module in bases], self.factors)
        return torch.cat([cosines, whole.unsqueeze(1), score], 1).cpu()


def _basis(target: Adapter, module: str, scoring: Scoring, matrices: list[Matrix]) -> Tensor:
    layers, A, B = target.factors(module)
    places = paired([matrix.name for matrix in matrices], layers)
    if places != [(k, k) for k in range(max(len(matrices), len(layers)))]:
        raise ValueError(
            f"the target {target.name} adapts {module!r} in {len(layers)} layers, the model in {len(matrices)}, or in "
            "others: adapt the same layers"
        )
    basis = trained_basis(target, A, B, scoring.side).to(matrices[0].A.device)
    linear = matrices[0].linear
    width = linear.out_features if scoring.side == "left" else linear.in_features
    if basis.shape[-2] != width:
        raise ValueError(
            f"the target {target.name} is {basis.shape[-2]} wide, the model's {module!r} {width}: another encoder"
        )
    return basis
