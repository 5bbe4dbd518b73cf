"""Many instances' own LoRA updates from one batched pass (section 5.1, instance level).

Each instance starts from the same state (one ``A``, ``B = 0``, one frozen head) and is trained alone. Instances of a
batch never meet in the forward pass, so the gradient of the *summed* loss holds every instance's own gradient, if the
update of each is kept apart: ``dL/dB_n = s * sum_t (dL/dout)[n, t] (x) (A x[n, t])``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repmatch_lib import readout

if TYPE_CHECKING:
    from peft import PeftModel

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]
TARGETS = ("labels", "start_positions", "end_positions")


@dataclass(frozen=True)
class AdamW:
    """One instance's optimizer; torch's defaults."""

    lr: float = 1e-3
    weight_decay: float = 0.01
    eps: float = 1e-8


@dataclass(frozen=True)
class Matrix:
    """One adapted linear layer: its place in the model, LoRA's start and scale."""

    name: str
    linear: nn.Module
    A: Tensor
    scale: float
    dropout: nn.Module


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

    def __init__(self, model: PeftModel, kind: str, optimizer: AdamW, precision: str = "float32") -> None:
        self.model, self.kind, self.optimizer, self.precision = model, kind, optimizer, precision
        self.matrices = initial_matrices(model)
        self.device = self.matrices[0].A.device
        self.block = readout.last_block(model.get_base_model(), [matrix.name for matrix in self.matrices])
        self.read: readout.Read = "all"

    @contextmanager
    def ready(self, probe: dict[str, Tensor]) -> Iterator[InstanceModel]:
        """Within this context the model is set up for speed; a few rows check that nothing but speed changes."""
        base = self.model.get_base_model()
        own = base.config._attn_implementation
        with ExitStack() as stack:
            stack.enter_context(self.model.disable_adapter())
            expected, self.read = self._plain(probe)
            stack.callback(base.set_attn_implementation, own)
            base.set_attn_implementation("repmatch")
            if not self._agrees(probe, expected):
                self.read = "all"
                if not self._agrees(probe, expected):
                    base.set_attn_implementation(own)
            yield self

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        """Each instance's loss, shape (n,); padding takes no part."""
        inputs = {name: tensor for name, tensor in batch.items() if name not in TARGETS}
        mask = inputs["attention_mask"]
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with autocast, readout.lean(self.block, self.read, mask):
            out = self.model(**inputs)
        if self.kind == "span":
            padding = (1 - mask) * torch.finfo(torch.float32).min
            logits = out.start_logits.float() + padding, out.end_logits.float() + padding
            ends = batch["start_positions"], batch["end_positions"]
            return sum(F.cross_entropy(x, y, reduction="none") for x, y in zip(logits, ends, strict=True)) / 2
        if self.kind == "regression":
            return (out.logits.float().squeeze(-1) - batch["labels"]).square()
        return F.cross_entropy(out.logits.float(), batch["labels"], reduction="none")

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
            losses, gradients = self.first_gradients(batch)
            A = [matrix.A * (1 - self.optimizer.lr * self.optimizer.weight_decay) for matrix in self.matrices]
            return losses, A, [self._first_step(gradient) for gradient in gradients]
        n = len(batch["input_ids"])
        A = [matrix.A.expand(n, -1, -1).clone().requires_grad_() for matrix in self.matrices]
        B = [m.A.new_zeros(n, len(m.linear.weight), len(m.A)).requires_grad_() for m in self.matrices]
        optimizer = torch.optim.AdamW(
            [*A, *B], lr=self.optimizer.lr, weight_decay=self.optimizer.weight_decay, eps=self.optimizer.eps
        )
        hooks = [_adding(*parts) for parts in zip(self.matrices, A, B, strict=True)]
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
        with self._hooked([_recording(seen, k) for k in range(len(self.matrices))]):
            losses = self.losses(batch)
        flows = torch.autograd.grad(losses.sum(), [seen[k][1] for k in range(len(self.matrices))])
        mask = batch["attention_mask"].unsqueeze(-1)
        gradients = []
        for k, (matrix, flow) in enumerate(zip(self.matrices, flows, strict=True)):
            x = matrix.dropout(seen[k][0].float())
            projected = x @ matrix.A.mT * matrix.scale  # (n, T, r)
            if projected.shape[1] == mask.shape[1]:
                projected = projected * mask
            gradients.append(flow.mT.float() @ projected)
        return losses.detach(), gradients

    def _first_step(self, gradient: Tensor) -> Tensor:
        """AdamW's first step from ``B = 0``: both moments' corrections cancel, and there is nothing to decay."""
        return -self.optimizer.lr * gradient / (gradient.abs() + self.optimizer.eps)

    def _plain(self, probe: dict[str, Tensor]) -> tuple[list[Tensor], readout.Read]:
        """Gradients of the model as it is, and which rows of the last block's output its head reads."""
        outputs = []
        keep = self.block.register_forward_hook(lambda module, inputs, out: outputs.append(out))
        precision, self.precision, self.read = self.precision, "float32", "all"
        try:
            _, gradients = self.first_gradients(probe)
            outputs.clear()
            with self._hooked([_recording({}, k) for k in range(len(self.matrices))]):
                losses = self.losses(probe)
            out = outputs[0][0] if isinstance(outputs[0], tuple) else outputs[0]
            (flow,) = torch.autograd.grad(losses.sum(), [out])
        finally:
            keep.remove()
            self.precision = precision
        read = readout.rows_read(flow, probe["attention_mask"]) if readout.has_known_names(self.block) else "all"
        return gradients, read

    def _agrees(self, probe: dict[str, Tensor], expected: list[Tensor]) -> bool:
        precision, self.precision = self.precision, "float32"
        try:
            _, found = self.first_gradients(probe)
        except (RuntimeError, TypeError):  # a block of another shape than the shortcut supposes
            return False
        finally:
            self.precision = precision
        return all((a - b).norm() <= 1e-3 * b.norm() for a, b in zip(found, expected, strict=True))

    @contextmanager
    def _hooked(self, hooks: list[Hook]) -> Iterator[None]:
        with ExitStack() as stack:
            for matrix, hook in zip(self.matrices, hooks, strict=True):
                stack.callback(matrix.linear.register_forward_hook(hook).remove)
            yield


def initial_matrices(model: PeftModel) -> list[Matrix]:
    """The adapted linear layers of a PEFT model whose active adapter is plain LoRA in its initial state.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    from peft.tuners.lora import LoraLayer

    adapter = model.active_adapter
    found = []
    for name, layer in model.get_base_model().named_modules():
        if not isinstance(layer, LoraLayer) or adapter not in layer.lora_A:
            continue
        if layer.lora_variant.get(adapter) or not isinstance(layer.get_base_layer(), nn.Linear):
            raise ValueError(f"{name} is not plain LoRA on a linear layer; only that can be scored")
        if layer.lora_B[adapter].weight.any():
            raise ValueError(
                f"B of {name} is not zero: the model was trained already. Give it in its initial state "
                "(get_peft_model with init_lora_weights=True), or give the encoder instead"
            )
        A = layer.lora_A[adapter].weight.detach().float()
        found.append(Matrix(name, layer.get_base_layer(), A, layer.scaling[adapter], layer.lora_dropout[adapter]))
    if not found:
        raise ValueError(
            "the model has no trainable LoRA layers: wrap it with peft.get_peft_model and a LoraConfig, or give the "
            "encoder instead"
        )
    return found


def _recording(seen: dict[int, tuple[Tensor, Tensor]], k: int) -> Hook:
    """Remember a layer's input and output; the graph begins at the lowest output: nothing below is differentiated."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        if not out.requires_grad:
            out.requires_grad_()
        seen[k] = inputs[0].detach(), out

    return hook


def _adding(matrix: Matrix, A: Tensor, B: Tensor) -> Hook:
    """LoRA with factors of each instance's own."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        x = matrix.dropout(inputs[0].to(A.dtype))
        return (out + matrix.scale * (x @ A.mT) @ B.mT).to(out.dtype)

    return hook
