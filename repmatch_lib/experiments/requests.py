"""What a notebook asks of the store, as values: adapters, rankings, duplicates, fine-tunings, and what each needs."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from repmatch_lib.experiments import recorded
from repmatch_lib.experiments.recorded import Entry, Recorded
from repmatch_lib.store import HASHES, Store, key
from repmatch_lib.versions import code_version

Result = TypeVar("Result")


class Request(ABC, Generic[Result]):
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
    def needs(self) -> tuple[Request[Any], ...]:
        """Requests that come first."""
        return ()

    def to_json(self) -> str:
        """The request as the command line takes it."""
        return json.dumps(self._plain(), sort_keys=True)

    def _plain(self) -> dict[str, Any]:
        return {"kind": self.kind} | dataclasses.asdict(self)

    @property
    def recorded(self) -> Entry | None:
        """The recorded result that answers it, if there is one and results are not asked for afresh."""
        return Recorded().find(key(**_asked(self)), self._plain()) if recorded.wanted() else None

    @property
    def sources(self) -> set[str]:
        """Where its rows come from: ``mini``, ``local``, ``hub`` or ``auto``."""
        return recorded.sources(self._plain())

    def near(self) -> str:
        """What is recorded nearest to it, in words."""
        return Recorded().near(self._plain())

    def make(self, store: Store | None = None, progress: bool = True) -> Result:
        """The result: recorded, read from the store, or made and put there."""
        store = store or Store()
        entry = self.recorded
        return self.read(Recorded().folder(entry, store) if entry else self.folder(store, progress))

    @abstractmethod
    def folder(self, store: Store, progress: bool) -> Path:
        """The result's folder in the store: found there, or filled."""

    @abstractmethod
    def read(self, folder: Path) -> Result:
        """The result in such a folder."""

    def files(self, folder: Path) -> list[str]:
        """Names of the files there that `read` needs."""
        return [file.name for file in folder.iterdir() if file.is_file() and file.name != HASHES]

    def pack(self, store: Store) -> tuple[str, tuple[dict[str, Any], Path, list[str], dict[str, Any]]]:
        """What `Recorded.add` takes: as it is recorded already, or found or made in the store."""
        if entry := self.recorded:
            folder, made = Recorded().folder(entry, store), entry.made
        else:
            folder = self.folder(store, progress=True)
            origin = getattr(self.read(folder), "provenance", {})
            made = {"code": self.code} | {name: origin[name] for name in ("software", "measured") if name in origin}
        return key(**_asked(self)), (json.loads(json.dumps(self._plain())), folder, self.files(folder), made)


def _asked(request: Any) -> dict[str, Any]:
    """The settings that are not as by default, so that a new one leaves the ids of old requests."""
    settings: dict[str, Any] = {"kind": getattr(request, "kind", None)}
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if value != field.default:
            settings[field.name] = _asked(value) if dataclasses.is_dataclass(value) else value
    return settings


def stages(requests: Iterable[Request[Any]]) -> list[list[Request[Any]]]:
    """Requests and all that they need, each once, in stages: a stage needs only what earlier ones made."""
    depth: dict[Request[Any], int] = {}

    def place(request: Request[Any]) -> int:
        if request not in depth:
            depth[request] = 1 + max(map(place, request.needs), default=-1)
        return depth[request]

    for request in requests:
        place(request)
    return [[r for r, d in depth.items() if d == level] for level in range(max(depth.values(), default=-1) + 1)]
