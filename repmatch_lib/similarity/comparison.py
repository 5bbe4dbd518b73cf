"""RepMatch of two adapters (section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from repmatch_lib.similarity.adapters import Adapter, place
from repmatch_lib.similarity.subspaces import Side, chance_scores, grassmann_similarity, lora_basis, repmatch_score

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from peft import PeftModel


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
        ``grid[l, i - 1, j - 1]`` is phi(i, j) in layer l.
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
    same_head: bool | None = None

    @cached_property
    def _unrelated(self) -> Tensor:
        # Wide matrices of high rank take longer to draw; means over their many layers need fewer draws.
        layers, rank, other = self.grid.shape
        draws = min(2000, max(200, 2**33 // (layers * self.width * other**2)))
        return chance_scores(self.width, rank, other, layers, draws)

    @property
    def chance(self) -> float:
        """Expected score of unrelated subspaces of these ranks and this width; phi(1, 1) alone expects 1 / width."""
        return float(self._unrelated.mean())

    @property
    def chance_95(self) -> float:
        """95 % of unrelated subspaces score below this."""
        return float(self._unrelated.quantile(0.95))

    def to_pandas(self) -> pd.DataFrame:
        """One row a layer: ``layer``, ``score``, ``phi_11``."""
        return pd.DataFrame(
            {"layer": range(1, len(self.layers) + 1), "score": self.layers, "phi_11": self.grid[:, 0, 0]}
        )

    def plot(self, path: str | Path | None = None) -> Figure:
        """Heat maps as in the paper, one panel a layer; written to ``path`` if one is given."""
        from repmatch_lib.figures.maps import grid_panels

        return grid_panels({" | ".join(self.names): self.grid}, chance=self.chance, path=path)


def repmatch(
    a: Adapter | str | Path | PeftModel,
    b: Adapter | str | Path | PeftModel,
    module: str = "value",
    side: Side = "left",
    same_base: bool = False,
) -> Comparison:
    """How similar are two sets of training data, judged by the LoRA updates learned from each?

    Reads only the adapters: no base model is loaded, and the ranks may differ.

    Parameters
    ----------
    a, b : Adapter, folder of a saved PEFT LoRA adapter, or PeftModel
        Two adapters of one base model.
    module : str
        ``"query"``, ``"key"``, ``"value"`` (the paper's choice), ``"output"``, or the model's own name of a matrix.
    side : {"left", "right"}
        Which singular vectors to compare; see `lora_basis`.
    same_base : bool
        Compare although the recorded base models have different names (two copies of one model).

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If the adapters have different base models, layers or widths, lack the matrix, or hold no update.
    """
    a, b = as_adapter(a), as_adapter(b)
    require_comparable(a, b, module, same_base)
    # Section 3.4: bases of both updates in each layer, every leading pair of subspaces, the best pair, the mean.
    _, A1, B1 = a.factors(module)
    _, A2, B2 = b.factors(module)
    U, V = trained_basis(a, A1, B1, side), trained_basis(b, A2, B2, side)
    grid = grassmann_similarity(U, V)
    scores = repmatch_score(grid)
    return Comparison(
        score=float(scores.mean()),
        layers=scores,
        grid=grid,
        width=U.shape[-2],
        names=(a.name, b.name),
        module=module,
        side=side,
        same_head=None if None in (a.head_seed, b.head_seed) else a.head_seed == b.head_seed,
    )


def require_comparable(a: Adapter, b: Adapter, module: str = "value", same_base: bool = False) -> None:
    """Refuse two adapters that do not adapt the same matrices of one base model.

    Raises
    ------
    ValueError
        If base models, layers or widths differ, or one lacks the matrix.
    """
    if a.base_model and b.base_model and a.base_model != b.base_model and not same_base:
        raise ValueError(
            f"{a.name} adapts {a.base_model!r} but {b.name} adapts {b.base_model!r}; subspaces of different models "
            "cannot be compared. If these are two copies of one model, say so with same_base=True (--same-base)"
        )
    weights, others_weights = a.weights, b.weights
    if weights and others_weights and weights != others_weights and not same_base:
        raise ValueError(
            f"{a.name} and {b.name} were trained on different weights of {a.base_model!r} (SHA-256 {weights[:12]}… "
            f"and {others_weights[:12]}…); train both on one encoder, or say same_base=True (--same-base)"
        )
    (layers, A1, B1), (others, A2, B2) = a.factors(module), b.factors(module)
    if len(layers) != len(others):
        raise ValueError(f"{a.name} has {len(layers)} adapted layers, {b.name} has {len(others)}: different models")
    for one, other in zip(layers, others, strict=True):
        if place(one) != place(other):
            raise ValueError(f"different layers are adapted: {a.name} has {one} where {b.name} has {other}")
    if (A1.shape[-1], B1.shape[-2]) != (A2.shape[-1], B2.shape[-2]):
        raise ValueError(
            f"widths differ: {a.name} is {B1.shape[-2]}x{A1.shape[-1]}, {b.name} is {B2.shape[-2]}x{A2.shape[-1]}; "
            "they adapt different models"
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
            f"{adapter.name} holds no update in layer {untrained[0]}: B is zero, as before training. Train it first"
        )
    return basis


def as_adapter(source: Adapter | str | Path | PeftModel) -> Adapter:
    """An adapter, from a folder or a live model too."""
    if isinstance(source, Adapter):
        return source
    if isinstance(source, str | Path):
        return Adapter.load(source)
    if hasattr(source, "peft_config"):
        return Adapter.from_model(source)
    raise TypeError(f"expected an Adapter, a folder or a PeftModel, got {type(source).__name__}")
