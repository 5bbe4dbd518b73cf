"""Many instances' own LoRA updates from one batched pass (section 5.1, instance level).

Each instance starts from the same state (one ``A``, ``B = 0``, one frozen head) and is trained alone. Instances of a
batch never meet in the forward pass, so the gradient of the *summed* loss holds every instance's own gradient, if the
update of each is kept apart: ``dL/dB_n = s * sum_t (dL/dout)[n, t] (x) (A x[n, t])``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from repmatch_lib.instances.matrices import Hook, adding, by_token, initial_matrices, recording, without_lora
from repmatch_lib.training.last_block import Read, lean
from repmatch_lib.training.shortcuts import at_rest, close, last_block, places_of, shortcuts

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from repmatch_lib.data.tasks import Kind
    from repmatch_lib.settings import Precision

TARGETS = ("labels", "start_positions", "end_positions")


@dataclass(frozen=True)
class AdamW:
    """One instance's optimizer; torch's defaults."""

    lr: float = 1e-3
    weight_decay: float = 0.01
    eps: float = 1e-8


class InstanceModel:
    """A PEFT model in its initial state, giving each instance of a batch its own update.

    Parameters
    ----------
    model : PeftModel
        Plain LoRA with ``B = 0``. Used in place, with its adapter out of the way, and left as it was.
    kind : {"classification", "regression", "span"}
        Which loss.
    optimizer : AdamW
    precision : {"float32", "bf16"}
        bf16 is autocast.

    Raises
    ------
    ValueError
        If the model has no LoRA layers, is not in its initial state, or uses a variant of LoRA.
    """

    def __init__(self, model: PeftModel, kind: Kind, optimizer: AdamW, precision: Precision = "float32") -> None:
        self.model, self.kind, self.optimizer, self.precision = model, kind, optimizer, precision
        self.matrices = initial_matrices(model)
        self.device = self.matrices[0].A.device
        self.base = cast("PreTrainedModel", model.get_base_model())
        self.block = last_block(self.base, [matrix.name for matrix in self.matrices])
        self.read: Read = "all"

    @contextmanager
    def ready(self, probe: dict[str, Tensor]) -> Iterator[InstanceModel]:
        """Within this context the model is set up for speed; a few rows check that nothing but speed changes."""
        with ExitStack() as stack:
            stack.enter_context(without_lora(self.base))
            self._refuse_coupled(probe)
            gradients = partial(self._gradients, probe)
            self.read = stack.enter_context(shortcuts(self.base, self.block, probe, gradients))
            yield self

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        """Each instance's loss, shape (n,); padding takes no part."""
        inputs = {name: tensor for name, tensor in batch.items() if name not in TARGETS}
        mask, tokens = inputs["attention_mask"], inputs["input_ids"].shape[1]
        rows = places_of(self.base, inputs, self.read)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with autocast, lean(self.block, rows, tokens):
            out = self.model(**inputs)
        if ("start_logits" in out) != (self.kind == "span"):
            raise ValueError(f"the model's head does not fit a {self.kind} task: give a model with a head for it")
        if self.kind == "span":
            # A head of spans gives each token a logit; those of padding must not win.
            padding = (1 - mask) * torch.finfo(torch.float32).min
            logits = out.start_logits.float() + padding, out.end_logits.float() + padding
            ends = batch["start_positions"], batch["end_positions"]
            both = (F.cross_entropy(x, y, reduction="none") for x, y in zip(logits, ends, strict=True))
            return cast(Tensor, sum(both)) / 2
        if self.kind == "regression":
            return (out.logits.float().squeeze(-1) - batch["labels"]).square()
        return F.cross_entropy(out.logits.float(), batch["labels"], reduction="none")

    @torch.enable_grad()
    def update(self, batch: dict[str, Tensor], steps: int = 1) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Train a batch's instances, each alone.

        Parameters
        ----------
        batch : dict of str to Tensor
            From `Encoded.collate`.
        steps : int

        Returns
        -------
        losses : Tensor, shape (n,)
            Before the first step.
        A : list of Tensor, shape (n, r, in) or, after one step, (r, in): shared, for it has no gradient yet
        B : list of Tensor, shape (n, out, r)
            One of each for every matrix of `matrices`.
        """
        if steps == 1:
            # B = 0, so A has no gradient yet: weight decay is all that happens to it, the same for all instances.
            losses, gradients = self.first_gradients(batch)
            A = [matrix.A * (1 - self.optimizer.lr * self.optimizer.weight_decay) for matrix in self.matrices]
            return losses, A, [self._first_step(gradient) for gradient in gradients]
        # Beyond the first step each instance has factors of its own, and so its own rows in every parameter.
        n = len(batch["input_ids"])
        A = [matrix.A.expand(n, -1, -1).clone().requires_grad_() for matrix in self.matrices]
        B = [m.A.new_zeros(n, m.linear.out_features, len(m.A)).requires_grad_() for m in self.matrices]
        # AdamW works entry by entry, so one optimizer of the stacked factors is one for each instance.
        optimizer = torch.optim.AdamW(
            [*A, *B], lr=self.optimizer.lr, weight_decay=self.optimizer.weight_decay, eps=self.optimizer.eps
        )
        hooks = [adding(*parts) for parts in zip(self.matrices, A, B, strict=True)]
        for step in range(steps):
            with self._hooked(hooks):
                losses = self.losses(batch)
            for parameter, gradient in zip([*A, *B], torch.autograd.grad(losses.sum(), [*A, *B]), strict=True):
                parameter.grad = gradient
            optimizer.step()
            if step == 0:
                before = losses.detach()
        return before, [x.detach() for x in A], [x.detach() for x in B]

    def first_gradients(self, batch: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Each instance's gradient of ``B`` at the start, shape (n, out, r), for every matrix.

        ``A`` has none, since ``B = 0``; so LoRA's own branch adds nothing and is not computed.
        """
        seen: dict[int, tuple[Tensor, Tensor]] = {}
        with self._hooked([recording(seen, k) for k in range(len(self.matrices))]):
            losses = self.losses(batch)
        # The loss is summed, not averaged: the flow into a row's outputs is then that row's own.
        flows = torch.autograd.grad(losses.sum(), [seen[k][1] for k in range(len(self.matrices))])
        mask = batch["attention_mask"].unsqueeze(-1)
        gradients = []
        for k, (matrix, flow) in enumerate(zip(self.matrices, flows, strict=True)):
            x, flow = by_token(matrix.dropout(seen[k][0].float())), by_token(flow).float()
            projected = x @ matrix.A.mT * matrix.scale  # (n, T, r)
            # Padding gets no gradient from the loss; where rounding leaves some, it goes here. The last block may
            # have been computed for one row only, which is no padding.
            if projected.shape[1] == mask.shape[1]:
                projected = projected * mask
            gradients.append(flow.mT @ projected)
        return losses.detach(), gradients

    def _first_step(self, gradient: Tensor) -> Tensor:
        """AdamW's first step from ``B = 0``: both moments' corrections cancel, and there is nothing to decay."""
        return -self.optimizer.lr * gradient / (gradient.abs() + self.optimizer.eps)

    def _gradients(self, probe: dict[str, Tensor], read: Read) -> list[Tensor]:
        """A probe's gradients in float32, the last block computed for those rows only."""
        precision, self.precision, self.read = self.precision, "float32", read
        try:
            return self.first_gradients(probe)[1]
        finally:
            self.precision = precision

    def _refuse_coupled(self, probe: dict[str, Tensor]) -> None:
        """The derivation supposes that a row's neighbours and its padding do not matter to it."""
        length = int(probe["attention_mask"][0].sum())
        alone = {name: x[:1, :length] if x.ndim > 1 else x[:1] for name, x in probe.items()}
        with at_rest(self.base), torch.enable_grad():
            together, of_first = self._gradients(probe, "all"), self._gradients(alone, "all")
        if not close(of_first, [gradient[:1] for gradient in together]):
            raise ValueError(
                "an instance's gradient depends on its neighbours or its padding in this model, so instances cannot "
                "share a pass: give an encoder that handles each text by itself"
            )

    @contextmanager
    def _hooked(self, hooks: list[Hook]) -> Iterator[None]:
        with ExitStack() as stack:
            for matrix, hook in zip(self.matrices, hooks, strict=True):
                stack.callback(matrix.linear.register_forward_hook(hook).remove)
            yield
