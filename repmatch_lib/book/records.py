"""Results as small JSON records: what was asked, what came out, and everything needed to trust it."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from repmatch_lib.experiments.requests import stages
from repmatch_lib.experiments.runs import Run
from repmatch_lib.statistics import Estimate
from repmatch_lib.store import write_atomically
from repmatch_lib.versions import provenance

if TYPE_CHECKING:
    from repmatch_lib.experiments.requests import Request
    from repmatch_lib.experiments.transfer import Transferred
    from repmatch_lib.instances.scoring import Updates
    from repmatch_lib.similarity.adapters import Adapter
    from repmatch_lib.training.fine_tuning import Outcome

Asked = TypeVar("Asked", bound="Request[Any]")


@dataclass(frozen=True)
class Record:
    """One experiment's result.

    Attributes
    ----------
    experiment : str
        The notebook's name.
    parameters : dict
        Settings of its runs.
    estimates : dict of str to Estimate
        The numbers that claims are judged by.
    rows : list of dict
        Everything behind them, tidy.
    provenance : dict
        Encoder and its weights' hash, corpora and their fingerprints, software, device.
    measured : dict
        What differs from run to run and is not part of the result: seconds.
    """

    experiment: str
    parameters: dict[str, Any]
    estimates: dict[str, Estimate]
    rows: list[dict[str, Any]]
    provenance: dict[str, Any]
    measured: dict[str, Any]

    @classmethod
    def of(
        cls,
        experiment: str,
        made: Mapping[Asked, Adapter | Outcome | Transferred] | Sequence[Adapter | Updates],
        estimates: Mapping[str, Estimate],
        rows: pd.DataFrame,
        aside: Collection[Request[Any]] = (),
    ) -> Record:
        """A record of an experiment on adapters, fine-tunings or instances' updates, with their provenance.

        Of adapters ``aside``, such as those stopped early on purpose, what they learned decides nothing.
        """
        if isinstance(made, Mapping):  # with the adapters that rankings were made against
            needed = [request for stage in stages(made) for request in stage if isinstance(request, Run)]
            results: dict[Request[Any], Adapter | Outcome | Transferred] = {
                run: run.make() for run in needed if run not in made
            }
            results.update(made.items())
            origins = [result.provenance for result in results.values()]
            judged = [result.provenance for request, result in results.items() if request not in aside]
            asked = [_flat(dataclasses.asdict(request)) for request in results]
        else:
            origins = judged = [result.provenance for result in made]
            asked = [origin["training"] | origin["corpus"] for origin in origins]
        return cls(
            experiment,
            _common(asked),
            dict(estimates),
            [_told(row) for row in json.loads(rows.to_json(orient="records", double_precision=12))],
            {
                "encoder": _common([m["encoder"] for m in origins]),
                "corpora": _distinct(m["corpus"] for m in origins),
                "training": _common([m["training"] for m in origins]),
                "learned": _learned(judged),
                "trained_with": _distinct(m["software"] for m in origins),
                "software": provenance(),
            },
            {"training_seconds": round(sum(m["measured"]["seconds"] for m in origins), 1)},
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the result without what was measured of the run: equal for two runs that found the same."""
        content = {name: value for name, value in self._plain().items() if name != "measured"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def save(self, path: str | Path) -> Record:
        """Write the record, whole or not at all; returns it."""
        text = json.dumps(self._plain() | {"digest": self.digest}, indent=1, sort_keys=True)
        write_atomically(path, text + "\n")
        return self

    @classmethod
    def load(cls, path: str | Path) -> Record:
        """Read a record.

        Raises
        ------
        ValueError
            If its content is not what was saved.
        """
        content = json.loads(Path(path).read_text())
        digest = content.pop("digest", None)
        estimates = {name: Estimate(**_numbers(e)) for name, e in content.pop("estimates").items()}
        record = cls(estimates=estimates, **content)
        if record.digest != digest:
            raise ValueError(f"{path} was changed by hand: its digest does not fit its content; run its notebook again")
        return record

    def repeats(self, other: Record) -> bool:
        """Whether its estimates are those of another record, but for the rounding of another processor."""
        return self.estimates.keys() == other.estimates.keys() and same_estimates(self.estimates, other.estimates)

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a data frame."""
        return pd.DataFrame(self.rows)

    def _plain(self) -> dict[str, Any]:
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        content["estimates"] = {
            name: {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in dataclasses.asdict(e).items()}
            for name, e in self.estimates.items()
        }
        return content


def same_estimates(some: Mapping[str, Estimate], others: Mapping[str, Estimate]) -> bool:
    """Whether some estimates are those of the same names among others, but for rounding."""
    return all(
        name in others and np.allclose(_ends(one), _ends(others[name]), 1e-5, 1e-7, True) for name, one in some.items()
    )


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _learned(origins: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each adapter knows of its task, where it says; fine-tunings are arms, not targets."""
    return [
        {"task": origin["corpus"]["task"], "seed": origin["training"].get("seed"), "loss": origin["loss"]}
        | origin["learned"]
        for origin in origins
        if "learned" in origin and "head_seed" in origin["training"]
    ]


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what it leaves out: tables of several kinds of row have columns that one kind lacks."""
    return {name: value for name, value in row.items() if value is not None}


def _numbers(estimate: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in estimate.items()}


def _common(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each setting's value; the list of its values where they differ."""
    result = {}
    for name in dict.fromkeys(itertools.chain(*items)):
        values = _distinct(item[name] for item in items if name in item)
        values = [list(v) if isinstance(v, tuple) else v for v in values]
        result[name] = values[0] if len(values) == 1 else values
    return result


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A request within a request by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _distinct(values: Iterable[Any]) -> list[Any]:
    return [json.loads(text) for text in dict.fromkeys(json.dumps(v, sort_keys=True) for v in values)]
