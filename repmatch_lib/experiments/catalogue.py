"""Every kind of request by its name, and requests read from JSON."""

from __future__ import annotations

import json
from typing import Any

from repmatch_lib.experiments.fine_tunings import FineTuning
from repmatch_lib.experiments.instance_likeness import InstanceLikeness
from repmatch_lib.experiments.pools import Coverage, Deduplicated, EarlyErrors, Quoted
from repmatch_lib.experiments.rankings import Ranking
from repmatch_lib.experiments.requests import Request
from repmatch_lib.experiments.runs import FullRun, Run
from repmatch_lib.experiments.transfer import Transfer

KINDS: dict[str, type[Request[Any]]] = {
    kind.kind: kind
    for kind in (
        Run,
        FullRun,
        InstanceLikeness,
        Ranking,
        Deduplicated,
        Coverage,
        Quoted,
        EarlyErrors,
        FineTuning,
        Transfer,
    )
}


def parse(text: str) -> Request[Any]:
    """A request from the JSON that its ``to_json`` wrote; a run if its kind is not said.

    Raises
    ------
    ValueError
        If it is not JSON, its kind is unknown, or a setting is unknown or out of range.
    """
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{text!r} is not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise ValueError(f'{text!r} is not a JSON object: write {{"task": "sst2"}}, for example')
    kind = settings.pop("kind", Run.kind)
    if kind not in KINDS:
        raise ValueError(f"unknown kind of request {kind!r}: give one of {', '.join(KINDS)}")
    return KINDS[kind](**settings)
