"""The pre-trained matrices that an adapter adds to.

For the book's chapters on full fine-tuning and on the attention matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repmatch_lib.similarity.adapters import Adapter
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.heads import frozen_model


def frozen_weights(encoder: Encoder, adapter: Adapter, module: str = "value") -> Tensor:
    """The encoder's own weights of the matrix that an adapter changes, shape (L, out, in).

    Parameters
    ----------
    encoder : Encoder
        The one that the adapter was trained on.
    adapter : Adapter
    module : str
        As for `repmatch`.
    """
    model = frozen_model(encoder, "classification", 2)
    names = [layer.removeprefix("base_model.model.") for layer in adapter.factors(module)[0]]
    return torch.stack([model.get_parameter(f"{name}.weight") for name in names])
