"""The paper's claims and the project's own guesses, and the rules that decide a verdict.

The book's page on the ledger states the rules in words, and when they were changed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from scipy.stats import t

from repmatch_lib.paths import project_file
from repmatch_lib.statistics import Estimate

REPRODUCED, REFUTED, UNDECIDED, NOT_RUN = "reproduced", "not reproduced", "undecided", "not run"
DIFFERS = "differs; another encoder"
NOT_LEARNED = f"{UNDECIDED}: the target has not learned its task"
UNKNOWN = f"{UNDECIDED}: the record does not say what its targets learned"
NEITHER = f"{UNDECIDED}: neither learns"
CONFIRMED, WRONG = "confirmed", "refuted"

# By kind of line, the words for a claim that holds and for one that does not. Findings of the paper are orders, bounds
# and absences; values are its numbers; guesses are the project's own.
WORDS = {"finding": (REPRODUCED, REFUTED), "value": (REPRODUCED, REFUTED), "guess": (CONFIRMED, WRONG)}

Sides = tuple[bool, bool]  # the interval lies wholly on the claim's side, wholly off it; neither: across the bound


def _within(e: Estimate, low: float, high: float) -> Sides:
    slack = 1e-9 * abs(high)  # 0.2 less 0.05 is more than 0.15
    return low - slack <= e.low and e.high <= high + slack, e.high < low - slack or e.low > high + slack


RULES: dict[str, tuple[str, Callable[[Estimate, float, float], Sides]]] = {
    "above": ("lie above {bound}", lambda e, bound, _: (e.low > bound, e.high <= bound)),
    "below": ("lie below {bound}", lambda e, bound, _: (e.high < bound, e.low >= bound)),
    "value": ("lie in {bound} ± {within}", lambda e, bound, within: _within(e, bound - within, bound + within)),
}


@dataclass(frozen=True)
class Claim:
    """One line of the ledger, and the rule it is judged by; where it cannot be run, what that needs.

    Attributes
    ----------
    rule : dict
        ``above`` or ``below`` a bound, or ``value`` with its tolerance ``within``.
    kind : {"finding", "value", "guess"}
    rests_on : {"adapters", "encoder", "data"}
        An estimate on adapters says nothing where they learned nothing; one on data is the same for every encoder.
    tasks : tuple of str, optional
        Of the adapters: those that the estimate's name says if not given, and all if none.
    arms : list of str
        Estimates of the two selections that are compared, where it compares two.
    """

    id: str
    where: str
    claim: str
    paper: str
    experiment: str
    estimate: str
    rule: dict[str, float]
    kind: str
    needs: str = ""
    rests_on: str = "adapters"
    tasks: tuple[str, ...] | None = None
    arms: tuple[str, ...] = ()

    @property
    def bound(self) -> float:
        """What the interval is held against."""
        return next(iter(self.rule.values()))

    @property
    def criterion(self) -> str:
        """The rule in words: what the interval must do."""
        words = RULES[next(iter(self.rule))][0]
        return words.format(bound=f"{self.bound:g}", within=f"{self.rule.get('within', 0):g}")

    def verdict(self, estimate: Estimate | None, same_encoder: bool = True, gate: str = "") -> str:
        """Judge an estimate; none, one without an interval, or one behind a gate decides nothing.

        Parameters
        ----------
        estimate : Estimate, optional
        same_encoder : bool
            Whether it is of the paper's encoder; a value of another one can differ without refuting anything.
        gate : str
            The verdict where what the estimate rests on learned nothing.
        """
        if estimate is None:
            return NOT_RUN
        if gate and self.rests_on == "adapters":
            return gate
        if math.isnan(estimate.low):
            return UNDECIDED
        compares = self.rests_on == "adapters" and (self.arms or " less " in self.estimate)
        if compares and estimate.low == estimate.high:  # as of models that answer without reading
            return NEITHER
        holds, fails = RULES[next(iter(self.rule))][1](estimate, self.bound, self.rule.get("within", 0))
        if fails and self.kind == "value" and self.rests_on != "data" and not same_encoder:
            return DIFFERS
        yes, no = WORDS[self.kind]
        return yes if holds else no if fails else UNDECIDED

    def p_value(self, estimate: Estimate | None) -> float:
        """Two-sided, of the bound, by Student's t as the interval has it; NaN where there is no interval."""
        if estimate is None or math.isnan(estimate.low) or estimate.n < 2 or estimate.low == estimate.high:
            return math.nan
        error = (estimate.high - estimate.low) / 2 / t.ppf(0.975, estimate.n - 1)
        return float(2 * t.sf(abs(estimate.value - self.bound) / error, estimate.n - 1))


def holm(p_values: Iterable[float]) -> list[float]:
    """Holm's (1979) correction of a family of p-values: each adjusted, NaN left as it is and not counted.

    Parameters
    ----------
    p_values : iterable of float
        From 0 to 1, or NaN.
    """
    given = list(p_values)
    order = sorted((k for k, p in enumerate(given) if not math.isnan(p)), key=given.__getitem__)
    adjusted, largest = list(given), 0.0
    for place, k in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * given[k]))
        adjusted[k] = largest
    return adjusted


def published_numbers() -> dict[str, Any]:
    """The paper's numbers, as ``data/published/numbers.json`` holds them."""
    return json.loads(project_file("data/published/numbers.json").read_text())


def claims() -> list[Claim]:
    """The paper's claims, in its own order, with the project's guesses beside them."""
    numbers = published_numbers()
    items = yaml.safe_load(project_file("data/published/claims.yaml").read_text())
    return [_claim(item, _paper(numbers, item["paper"])) for item in items]


def rule_changes() -> list[dict[str, str]]:
    """When the rules were changed, what and why, as ``data/published/rule_changes.yaml`` has it."""
    return yaml.safe_load(project_file("data/published/rule_changes.yaml").read_text())


def _claim(item: dict[str, Any], paper: str) -> Claim:
    """A claim; a bound given as ``paper`` is the paper's number as it is shown, a tolerance in % is a share of it."""
    number = item["rule"].get("value")
    rule = item["rule"] | ({"value": float(paper.removesuffix(" %"))} if number == "paper" else {})
    if isinstance(within := rule.get("within"), str):
        rule = rule | {"within": float(within.removesuffix(" %")) / 100 * rule["value"]}
    kind = "guess" if item["where"].startswith("beside") else "value" if rule.get("value") else "finding"
    lists = {name: tuple(item[name]) for name in ("arms", "tasks") if name in item}
    return Claim(**{"kind": kind} | item | {"paper": paper, "rule": rule} | lists)


def _paper(numbers: dict[str, Any], text: str) -> str:
    """A path into the numbers, or a share of two, ``path % of path``; any other text as it stands."""
    part, share, whole = text.partition(" % of ")
    if not share:
        return _number(numbers, text)
    return f"{100 * float(_number(numbers, part)) / float(_number(numbers, whole)):.2f} %"


def _number(numbers: dict[str, Any], text: str) -> str:
    """The text with each path into the numbers, in braces or alone, followed; any other text as it stands."""
    if "{" in text:
        return re.sub(r"\{([^}]+)\}", lambda match: _number(numbers, match[1]), text)
    value: Any = numbers
    for part in text.split("/"):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return text
    return str(value)
