"""One vector a row of a corpus: an encoder's last hidden state, pooled.

Those of table 2's baseline; the book's chapter on it introduces them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from repmatch_lib.data.corpora import Corpus
from repmatch_lib.settings import Pooling, Precision
from repmatch_lib.training.batching import encode, within_memory
from repmatch_lib.training.devices import resolve_device, resolve_precision, token_budget
from repmatch_lib.training.encoders import Encoder
from repmatch_lib.training.heads import check_length, frozen_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

POOLINGS = {
    "cls": lambda hidden, mask: hidden[:, 0],
    "mean": lambda hidden, mask: (hidden * mask).sum(1) / mask.sum(1),
}


def vectors(
    encoder: Encoder,
    data: Corpus,
    pooling: Pooling | Sequence[Pooling] = "cls",
    *,
    max_length: int = 256,
    precision: Precision = "float32",
    tokens: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Tensor:
    """One vector a row of a corpus: the untrained encoder's last hidden state, pooled.

    Parameters
    ----------
    encoder : Encoder
    data : Corpus
        Its labels are not read. A pair of texts is one input, as in training.
    pooling : {"cls", "mean"}, or several of them
        ``"cls"``: of the first token, [CLS]. ``"mean"``: over all tokens but padding.
    max_length : int
        Longest sequence in tokens.
    precision : {"auto", "float32", "bf16"}
        As in `train_adapter`.
    tokens : int, optional
        Padded tokens in one pass: 2,048 on a CPU, 65,536 on CUDA, if not given; halved where memory runs out.
    device : str
        ``"auto"``: CUDA if there is any.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Tensor, float32, shape (rows, width), or (poolings, rows, width) if several were asked for
        On the CPU, in the corpus' order; several come from one pass.

    Raises
    ------
    ValueError
        If a pooling is unknown or the encoder has no [CLS] token, or ``max_length`` is above what it reads.
    FloatingPointError
        If a vector is not finite.
    """
    names = (pooling,) if isinstance(pooling, str) else tuple(pooling)
    if not names or (unknown := set(names) - POOLINGS.keys()):
        raise ValueError(f"unknown pooling {', '.join(map(repr, unknown)) if names else '()'}: give 'cls' or 'mean'")
    tokenizer = encoder.tokenizer()
    if "cls" in names and tokenizer.cls_token is None:
        raise ValueError(f"the tokenizer of {encoder.name} has no [CLS] token: give pooling='mean'")
    device = resolve_device(device)
    precision = resolve_precision(precision, device)
    # The head goes: this loader, unlike a bare AutoModel, refuses a checkpoint that lacks the encoder's weights.
    model = frozen_model(encoder, "regression", 1).base_model.to(device).eval()
    check_length(model, max_length, encoder.name)
    encoded = encode(tokenizer, data, max_length)

    def compute(rows: np.ndarray) -> Tensor:
        batch = {name: value for name, value in encoded.collate(rows, device).items() if name in encoded.tokens}
        with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16, precision == "bf16"):
            hidden = model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"][..., None]
        return torch.stack([POOLINGS[name](hidden, mask) for name in names]).cpu()

    pooled_rows = torch.empty(len(names), len(encoded), cast("PreTrainedConfig", model.config).hidden_size)
    order = np.argsort(encoded.lengths, kind="stable")
    budget = tokens or token_budget("vectors", device)
    with tqdm(total=len(encoded), desc=data.title, unit="row", disable=not progress, leave=False) as bar:
        for rows, pooled in within_memory(order, encoded.lengths, budget, compute):
            pooled_rows[:, torch.from_numpy(rows)] = pooled
            bar.update(len(rows))
    if not pooled_rows.isfinite().all():
        raise FloatingPointError(f"{data.title}: a vector is not finite; use precision='float32'")
    return pooled_rows[0] if isinstance(pooling, str) else pooled_rows
