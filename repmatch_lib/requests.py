"""What a notebook asks of the store, as values: adapters, rankings, duplicates, fine-tunings, and what each needs."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from repmatch_lib.store import key


class Request(ABC):
    """Something that the store holds or makes; each kind is a dataclass of its settings."""

    @property
    def id(self) -> str:
        """Hash of the request."""
        return key(**dataclasses.asdict(self))

    @property
    def needs(self) -> tuple[Request, ...]:
        """Requests that come first."""
        return ()

    def to_json(self) -> str:
        """The request as the command line takes it."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @abstractmethod
    def make(self, store: Any = None, progress: bool = True) -> Any:
        """The result: read from the store, or made and put there."""


# A field that only requests of the kind have, and where the kind is defined.
KINDS = {
    "target": ("selection", "Ranking"),
    "share": ("selection", "Deduplicated"),
    "selection": ("finetuning", "FineTuning"),
    "full_lr": ("runs", "FullRun"),
    "to": ("transfer", "Transfer"),
    "covered": ("measures", "Coverage"),
    "early": ("measures", "EarlyErrors"),
}
ADAPTER = ("runs", "Run")


def parse(text: str) -> Request:
    """A request from the JSON that its ``to_json`` wrote.

    Raises
    ------
    ValueError
        If it is not JSON, or a setting is unknown or out of range.
    """
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{text!r} is not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise ValueError(f'{text!r} is not a JSON object: write {{"task": "sst2"}}, for example')
    module, name = next((where for field, where in KINDS.items() if field in settings), ADAPTER)
    return getattr(import_module(f"repmatch_lib.{module}"), name)(**settings)


def stages(requests: Iterable[Request]) -> list[list[Request]]:
    """Requests and all that they need, each once, in stages: a stage needs only what earlier ones made."""
    depth: dict[Request, int] = {}

    def place(request: Request) -> int:
        if request not in depth:
            depth[request] = 1 + max(map(place, request.needs), default=-1)
        return depth[request]

    for request in requests:
        place(request)
    return [[r for r, d in depth.items() if d == level] for level in range(max(depth.values(), default=-1) + 1)]
