"""What a notebook asks of the store, as values: adapters, rankings, duplicates, fine-tunings, and what each needs."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from repmatch_lib.store import Store, key
from repmatch_lib.versions import code_version


class Request(ABC):
    """Something that the store holds or makes; each kind is a frozen dataclass of its settings.

    Attributes
    ----------
    kind : str
        Its name in JSON; see `catalogue.KINDS`.
    """

    kind: ClassVar[str]
    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def id(self) -> str:
        """Hash of the request."""
        return key(**self._plain())

    @property
    def code(self) -> str:
        """Version of the code that answers it."""
        return code_version(type(self).__module__)

    @property
    def needs(self) -> tuple[Request, ...]:
        """Requests that come first."""
        return ()

    def to_json(self) -> str:
        """The request as the command line takes it."""
        return json.dumps(self._plain(), sort_keys=True)

    def _plain(self) -> dict[str, Any]:
        return {"kind": self.kind} | dataclasses.asdict(self)

    @abstractmethod
    def make(self, store: Store | None = None, progress: bool = True) -> Any:
        """The result, whose type each kind says: read from the store, or made and put there."""


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
