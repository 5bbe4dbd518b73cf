"""A training's state on disk, so that one that is killed goes on to the same bits as one that is not."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from repmatch_lib.store import whole

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW remembers of a parameter
log = logging.getLogger(__name__)


@dataclass
class Position:
    """How far a training has come.

    Attributes
    ----------
    epoch, batch, step : int
        Passes done, batches of the present one, and steps in all.
    total : float
        Loss summed over the rows of the present epoch.
    losses : list of float
        Mean loss of each epoch that is done.
    seconds : float
        That all its processes took, up to the last saving of those that were killed.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    total: float = 0.0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def took(self, loss: float, rows: int) -> None:
        """One step more, on so many rows of this mean loss."""
        self.batch, self.step, self.total = self.batch + 1, self.step + 1, self.total + loss * rows

    def passed(self, rows: int) -> None:
        """One pass more, over so many rows."""
        self.losses.append(self.total / rows)
        self.epoch, self.batch, self.total = self.epoch + 1, 0, 0.0


def save_state(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position) -> None:
    """Write what is trained, the optimizer's moments, the random state and the position, whole or not at all."""
    tensors = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    for name, parameter in _trained(model):
        tensors[name] = parameter.detach()
        tensors |= {f"{moment} of {name}": optimizer.state[parameter][moment] for moment in MOMENTS}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with whole(file) as temporary:
        save_file(tensors, temporary, {"position": json.dumps(asdict(position))})


def load_state(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Position:
    """Put back what `save_state` wrote; the beginning where there is nothing, or nothing that can be read."""
    if not file.is_file():
        return Position()
    try:
        with safe_open(file, "pt") as state:
            position = Position(**json.loads(state.metadata()["position"]))
            tensors: dict[str, Tensor] = {name: state.get_tensor(name) for name in state.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s): the training begins anew", file.name, error)
        return Position()
    with torch.no_grad():
        for name, parameter in _trained(model):
            parameter.copy_(tensors[name])
            moments = {moment: tensors[f"{moment} of {name}"] for moment in MOMENTS}
            # The count of steps stays where the optimizer keeps it; the moments are with their parameter.
            optimizer.state[parameter] = {m: t.to(parameter.device) for m, t in moments.items()}
    torch.set_rng_state(tensors["random"])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return position


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def log_steps(total: int) -> list[int]:
    """Steps at which a training of so many leaves a snapshot: 1, 2, 5, 10, 20, 50 and so on, below the last one."""
    powers = [10**power for power in range(len(str(total)))]
    return [step for power in powers for step in (power, 2 * power, 5 * power) if step < total]
