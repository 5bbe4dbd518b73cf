"""Graded sentence pairs in the manner of the STS Benchmark, drawn from the propositions of ``pairs.yaml``."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

DATA = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
COST, WORDS = DATA["cost"], DATA["words"]
PROPOSITIONS = [
    {"genre": genre, "topic": topic, **proposition}
    for genre, topics in DATA["propositions"].items()
    for topic, propositions in topics.items()
    for proposition in propositions
]
SLOT = re.compile(r"{(\w+)}")
DETAIL = "+"  # the optional phrase that closes a sentence
RATERS = 5  # an average of five whole marks falls on steps of 0.2, as the benchmark's scores do


def _slots(proposition: dict) -> list[str]:
    names = sorted(set(SLOT.findall(proposition["say"][0])))
    return [*names, DETAIL] if "more" in proposition else names


def _options(proposition: dict, slot: str) -> list[str]:
    if slot == DETAIL:
        # Half of the sentences carry no detail, however many details are on offer.
        return [*proposition["more"], *[""] * len(proposition["more"])]
    words = proposition.get("slots", {}).get(slot) or WORDS[slot]
    if isinstance(words, str):
        low, high, step = (int(part) for part in words.split(".."))
        return [f"{number:,}" for number in range(low, high + 1, step)]
    return [str(word) for word in words]


def _draw(rng: random.Random, proposition: dict, bound: dict[str, str] | None = None) -> dict[str, str]:
    """Fill every slot; a value in ``bound`` is kept where this proposition could have drawn it too."""
    values = {}
    for slot in _slots(proposition):
        options = _options(proposition, slot)
        value = rng.choice(options)
        if bound and slot != DETAIL and bound.get(slot) in options:
            value = bound[slot]
        values[slot] = value
    return values


def _render(rng: random.Random, sentence: str, values: dict[str, str]) -> str:
    # "man/guy" are two words for one thing: either may stand in either sentence of a pair.
    text = SLOT.sub(lambda match: rng.choice(values[match[1]].split("/")), sentence)
    if detail := values.get(DETAIL):
        text = f"{text[:-1]}{'' if detail.startswith(',') else ' '}{detail}{text[-1]}"
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])(?!uni|one|eu)", r"\1n ", text)
    return text[0].upper() + text[1:]


def _near(rng: random.Random) -> tuple[str, str, float, dict]:
    """One proposition twice, with some of its slots changed: every change costs what its slot is worth."""
    proposition = rng.choice(PROPOSITIONS)
    values, slots = _draw(rng, proposition), _slots(proposition)
    other = dict(values)
    changed = rng.sample(slots, min(rng.choice([0, 1, 1, 2, 2, 3]), len(slots)))
    for slot in changed:
        other[slot] = rng.choice([option for option in _options(proposition, slot) if option != values[slot]])
    reworded = rng.random() < (0.45 if changed else 0.9)
    first = rng.choice(proposition["say"])
    second = rng.choice([say for say in proposition["say"] if say != first]) if reworded else first
    score = max(5 - sum(COST.get(slot, COST["default"]) for slot in changed), 1.4)
    return _render(rng, first, values), _render(rng, second, other), score, proposition


def _twisted(rng: random.Random) -> tuple[str, str, float, dict]:
    """A sentence and its twist: nearly the same words, another meaning."""
    proposition = rng.choice([proposition for proposition in PROPOSITIONS if "twist" in proposition])
    values = _draw(rng, proposition)
    score, twist = rng.choice(proposition["twist"])
    return _render(rng, proposition["say"][0], values), _render(rng, twist, values), score, proposition


def _other(rng: random.Random, same_topic: bool) -> tuple[str, str, float, dict]:
    """Two propositions of one genre; whom or what they share lifts the score a little."""
    proposition = rng.choice(PROPOSITIONS)
    mate = rng.choice(
        [
            candidate
            for candidate in PROPOSITIONS
            if candidate is not proposition
            and candidate["genre"] == proposition["genre"]
            and (candidate["topic"] == proposition["topic"]) == same_topic
        ]
    )
    values = _draw(rng, proposition)
    others = _draw(rng, mate, values if rng.random() < 0.5 else None)
    shared = sum(values.get(slot) == value for slot, value in others.items() if slot != DETAIL)
    score = min(1 + 0.6 * shared, 2) if same_topic else min(0.4 * shared, 0.8)
    first, second = rng.choice(proposition["say"]), rng.choice(mate["say"])
    return _render(rng, first, values), _render(rng, second, others), score, proposition


def _rate(rng: random.Random, grade: float) -> float:
    marks = [min(max(round(rng.gauss(grade, 0.4)), 0), 5) for _ in range(RATERS)]
    return sum(marks) / RATERS


def stsb(rng: random.Random) -> Iterator[dict]:
    """Draw graded sentence pairs without end.

    Parameters
    ----------
    rng
        Source of every random choice; the same state gives the same pairs.

    Yields
    ------
    dict
        ``sentence1``, ``sentence2``, ``score`` from 0 (unrelated) to 5 (same meaning) in steps of 0.2, and ``genre``
        (``main-captions``, ``main-news`` or ``main-forums``).
    """
    makers = [_near, _near, _twisted, lambda rng: _other(rng, True), lambda rng: _other(rng, False)]
    while True:
        # Proposals are accepted towards a grade drawn evenly: the makers alone would crowd a few grades.
        target = rng.uniform(0, 5)
        first, second, grade, proposition = rng.choice(makers)(rng)
        while abs(grade - target) > 0.4 or first == second:
            first, second, grade, proposition = rng.choice(makers)(rng)
        if rng.random() < 0.5:
            first, second = second, first
        yield {
            "sentence1": first,
            "sentence2": second,
            "score": _rate(rng, grade),
            "genre": proposition["genre"],
        }
