"""RepMatch of two adapters (section 3.4)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.similarity.matrices import Matrix, paired
from repmatch_lib.similarity.subspaces import Side, chance_of_layers, grassmann_similarity, lora_basis, repmatch_score

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from peft import PeftModel
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """What ``repmatch`` found.

    Attributes
    ----------
    score : float
        RepMatch of the two models: the mean of ``layers``, in [0, 1].
    layers : Tensor, shape (L,)
        RepMatch of each layer: its grid's largest entry.
    grid : Tensor, shape (L, r, r')
        ``grid[l, i - 1, j - 1]`` is phi(i, j) in layer l; NaN beyond a layer's own ranks, where they differ.
    matrices : tuple of str
        Names of the L matrices in the first model.
    ranks : tuple of (int, int)
        Of both updates in each layer.
    left_out : tuple of str
        Matrices that are not compared, each with the reason: only one adapter has them, or holds an update in them.
    same_head : bool or None
        Whether both were trained under one frozen head; None where an adapter does not say. Under two heads a low
        score says nothing of the data.
    """

    score: float
    layers: Tensor
    grid: Tensor
    width: int
    names: tuple[str, str]
    module: str
    side: Side
    matrices: tuple[str, ...]
    ranks: tuple[tuple[int, int], ...]
    left_out: tuple[str, ...] = ()
    same_head: bool | None = None

    @cached_property
    def _unrelated(self) -> Tensor:
        # High ranks take longer to draw; means over many layers need fewer draws.
        draws = min(2000, max(100, 2**25 // sum(rank * other**2 for rank, other in self.ranks)))
        return chance_of_layers(self.width, self.ranks, draws)

    @property
    def chance(self) -> float:
        """Expected score of unrelated subspaces of these ranks and this width; phi(1, 1) alone expects 1 / width."""
        return float(self._unrelated.mean())

    @property
    def chance_95(self) -> float:
        """95 % of unrelated subspaces score below this."""
        return float(self._unrelated.quantile(0.95))

    def to_pandas(self) -> pd.DataFrame:
        """One row a layer: ``layer``, ``score``, ``phi_11``, ``matrix``."""
        numbers = range(1, len(self.layers) + 1)
        return pd.DataFrame(
            {"layer": numbers, "score": self.layers, "phi_11": self.grid[:, 0, 0], "matrix": self.matrices}
        )

    def plot(self, path: str | Path | None = None) -> Figure:
        """Heat maps as in the paper, one panel a layer; written to ``path`` if one is given."""
        from repmatch_lib.figures.maps import grid_panels

        return grid_panels({" | ".join(self.names): self.grid}, chance=self.chance, path=path)


def repmatch(
    a: Adapter | str | Path | PeftModel | PreTrainedModel,
    b: Adapter | str | Path | PeftModel | PreTrainedModel,
    module: str = "value",
    side: Side = "left",
    same_base: bool = False,
) -> Comparison:
    """How similar are two sets of training data, judged by the LoRA updates learned from each?

    Reads only the adapters: no base model is loaded, and the ranks may differ. Matrices that only one of the two has,
    or holds an update in, are left out, and a warning says so.

    Parameters
    ----------
    a, b : Adapter, folder of a saved PEFT LoRA adapter, or a live model with one
        Two adapters of one base model.
    module : str
        ``"query"``, ``"key"``, ``"value"`` (the paper's choice), ``"output"``, or the model's own name of a matrix;
        after a tower and a colon where a model has two, as in ``"text_model:value"``.
    side : {"left", "right"}
        Which singular vectors to compare; see `lora_basis`.
    same_base : bool
        Compare although the recorded base models have different names or revisions (two copies of one model).

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If an adapter is not plain LoRA, the two have different base models or widths or no matrix in common, or one
        holds no update.
    """
    a, b = as_adapter(a), as_adapter(b)
    require_one_base(a, b, same_base)
    compared, left_out = _in_common(a, b, module)
    # Section 3.4: bases of both updates in each layer, every leading pair of subspaces, the best pair, the mean.
    grids = [
        grassmann_similarity(*(_basis(adapter, one, side) for adapter, one in zip((a, b), pair, strict=True)))
        for pair in compared
    ]
    scores = torch.stack([repmatch_score(grid) for grid in grids])
    if left_out:
        logger.warning("%s | %s: %d matrices are left out: %s", a.name, b.name, len(left_out), "; ".join(left_out))
    return Comparison(
        score=float(scores.mean()),
        layers=scores,
        grid=_stacked(grids),
        width=compared[0][0].shape[0 if side == "left" else 1],
        names=(a.name, b.name),
        module=module,
        side=side,
        matrices=tuple(one.name for one, _ in compared),
        ranks=tuple((grid.shape[0], grid.shape[1]) for grid in grids),
        left_out=left_out,
        same_head=None if None in (a.head_seed, b.head_seed) else a.head_seed == b.head_seed,
    )


def _in_common(a: Adapter, b: Adapter, module: str) -> tuple[list[tuple[Matrix, Matrix]], tuple[str, ...]]:
    """Matrices of one place that both have trained, and why each of the others is left out."""
    ours, theirs = a.of(module), b.of(module)
    _require_one_width(a, b, ours[0], theirs[0])
    pairs = paired([one.name for one in ours], [one.name for one in theirs])
    if not pairs:
        raise ValueError(
            f"no {module!r} matrix stands in one place of both models: {a.name} has {ours[0].name} and "
            f"{len(ours) - 1} more, {b.name} has {theirs[0].name} and {len(theirs) - 1} more"
        )
    compared, left_out = [], []
    for k, other in pairs:
        without = [x.name for x, one in ((a, ours[k]), (b, theirs[other])) if not one.trained]
        if without:
            left_out.append(f"{ours[k].name}, which holds no update in {' and '.join(without)} (B is zero)")
        else:
            compared.append((ours[k], theirs[other]))
    sides = (a, b, ours, {k for k, _ in pairs}), (b, a, theirs, {k for _, k in pairs})
    for adapter, other_adapter, matrices, there in sides:
        alone = [matrix.name for k, matrix in enumerate(matrices) if k not in there]
        if alone and not other_adapter.adapts_some_layers:
            raise ValueError(
                f"{a.name} has {len(ours)} adapted layers, {b.name} has {len(theirs)}, and {other_adapter.name} does "
                f"not say that it adapts only some (layers_to_transform): different models, by {alone[0]}"
            )
        left_out += [f"{name}, which only {adapter.name} adapts" for name in alone]
    if not compared:
        untrained = next(x for x, found in ((a, ours), (b, theirs)) if not all(one.trained for one in found))
        raise ValueError(f"{untrained.name} holds no update in any layer that both have: B is zero, as before training")
    return compared, tuple(left_out)


def _require_one_width(a: Adapter, b: Adapter, one: Matrix, other: Matrix) -> None:
    if one.shape != other.shape:
        (out, into), (others_out, others_into) = one.shape, other.shape
        raise ValueError(
            f"widths differ: {a.name} is {out}x{into}, {b.name} is {others_out}x{others_into}; they adapt different "
            "models"
        )


def _basis(adapter: Adapter, matrix: Matrix, side: Side) -> Tensor:
    return trained_basis(adapter, matrix.A[None], matrix.B[None], side)[0]


def _stacked(grids: Sequence[Tensor]) -> Tensor:
    """Grids of several sizes as one tensor, NaN where a grid has ended."""
    rows, columns = (max(grid.shape[axis] for grid in grids) for axis in (0, 1))
    stacked = torch.full((len(grids), rows, columns), torch.nan, dtype=grids[0].dtype)
    for whole, grid in zip(stacked, grids, strict=True):
        whole[: grid.shape[0], : grid.shape[1]] = grid
    return stacked


def require_comparable(a: Adapter, b: Adapter, module: str = "value", same_base: bool = False) -> None:
    """Refuse two adapters that do not adapt the same matrices of one base model, and no others.

    Raises
    ------
    ValueError
        If base models, layers or widths differ, or one lacks the matrix.
    """
    require_one_base(a, b, same_base)
    ours, theirs = a.of(module), b.of(module)
    _require_one_width(a, b, ours[0], theirs[0])
    pairs = paired([one.name for one in ours], [one.name for one in theirs])
    if pairs != [(k, k) for k in range(max(len(ours), len(theirs)))]:
        raise ValueError(
            f"different layers are adapted: {a.name} has {ours[0].name} to {ours[-1].name}, {b.name} has "
            f"{theirs[0].name} to {theirs[-1].name}"
        )


def require_one_base(a: Adapter, b: Adapter, same_base: bool = False) -> None:
    """Refuse two adapters of different base models, revisions or weights, as far as they say.

    Raises
    ------
    ValueError
        Unless ``same_base``.
    """
    if same_base:
        return
    mend = "If these are two copies of one model, say so with same_base=True (--same-base)"
    if a.base_model and b.base_model and a.base_model != b.base_model:
        raise ValueError(
            f"{a.name} adapts {a.base_model!r} but {b.name} adapts {b.base_model!r}; subspaces of different models "
            f"cannot be compared. {mend}"
        )
    revisions = [one.config.get("revision") or "main" for one in (a, b)]
    if a.base_model and b.base_model and revisions[0] != revisions[1]:
        raise ValueError(
            f"{a.name} adapts revision {revisions[0]!r} of {a.base_model!r}, {b.name} revision {revisions[1]!r}: these "
            f"may be different weights. {mend}"
        )
    copies = [one.config.get("layer_replication") for one in (a, b)]
    if copies[0] != copies[1]:
        raise ValueError(
            f"the layers of {a.name} are repeated in another way than those of {b.name} (layer_replication "
            f"{copies[0]} and {copies[1]}). {mend}"
        )
    weights, others_weights = a.weights, b.weights
    if weights and others_weights and weights != others_weights:
        raise ValueError(
            f"{a.name} and {b.name} were trained on different weights of {a.base_model!r} (SHA-256 {weights[:12]}… "
            f"and {others_weights[:12]}…); train both on one encoder, or say same_base=True (--same-base)"
        )


def trained_basis(adapter: Adapter, A: Tensor, B: Tensor, side: Side) -> Tensor:
    """`lora_basis` of every layer of an adapter.

    Raises
    ------
    ValueError
        If a factor is not finite or a layer holds no update.
    """
    try:
        basis = lora_basis(A, B, side)
    except ValueError as error:
        raise ValueError(f"{adapter.name}: {error}") from error
    if untrained := [i + 1 for i, layer in enumerate(basis) if not layer.any()]:
        raise ValueError(
            f"{adapter.name} holds no update in layer {untrained[0]} of {len(basis)}: B is zero, as before training. "
            "Train it first, or leave out what got no gradient (layers_to_transform)"
        )
    return basis


def as_adapter(source: Adapter | str | Path | PeftModel | PreTrainedModel) -> Adapter:
    """An adapter, from a folder or a live model too."""
    if isinstance(source, Adapter):
        return source
    if isinstance(source, str | Path):
        return Adapter.load(source)
    if getattr(source, "peft_config", None):
        return Adapter.from_model(source)
    raise TypeError(f"expected an Adapter, a folder or a PeftModel, got {type(source).__name__}")
