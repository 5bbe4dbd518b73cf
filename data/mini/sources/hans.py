"""Miniature HANS: pairs whose hypothesis is made of the premise's words, for three heuristics and thirty subcases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import yaml

DATA = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())


def _clause(nouns: list[str], rng: random.Random) -> str:
    """A main clause with one or two people in it."""
    if rng.random() < 0.5:
        return f"the {nouns.pop()} {rng.choice(DATA['acts'])} the {nouns.pop()}"
    place = f" {rng.choice(DATA['places'])}" if rng.random() < 0.3 else ""
    return f"the {nouns.pop()} {rng.choice(DATA['moves'])}{place}"


def _slots(rng: random.Random) -> dict[str, str]:
    """A filling for every slot; no person, verb or place twice, or a role swap could leave the meaning as it was."""
    people = rng.sample(DATA["people"], 10)
    slots = {}
    for name, person in zip("abcd", people, strict=False):
        trait = f"{rng.choice(DATA['traits'])} " if rng.random() < 0.12 else ""
        plural = rng.random() < 0.4
        slots |= {name: f"{trait}{person}{'s' * plural}", f"was_{name}": "were" if plural else "was"}
        slots[f"{name}s"] = f"{person}s"
    nouns = [person + "s" * (rng.random() < 0.4) for person in people[4:]]
    slots |= {f"s{number}": _clause(nouns, rng) for number in (1, 2, 3)}
    for names, key in (("vw", "acts"), ("ij", "moves"), ("p", "near"), ("lm", "places"), ("tu", "traits")):
        slots |= zip(names, rng.sample(DATA[key], len(names)), strict=True)
    for key in ("believed", "claimed", "knew", "served", "painted", "perhaps", "surely", "since", "if"):
        slots[key] = rng.choice(DATA[key])
    # not "in case", which leaves the main clause standing
    slots["unless"] = rng.choice(["if", "unless", "provided that", "only if"])
    slots["did"], slots["thing"], slots["went"] = rng.choice(DATA["things"])
    return slots


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]} ."


def hans(rng: random.Random) -> Iterator[dict]:
    """Draw pairs that fool a reader of word overlap, without end.

    Parameters
    ----------
    rng : random.Random
        The source of every choice.

    Yields
    ------
    dict
        ``premise``, ``hypothesis``, ``label`` ("entailment" or "non-entailment"), ``heuristic`` and ``subcase``. Every
        thirty rows hold each subcase once, so labels and heuristics are balanced.
    """
    while True:
        for subcase in rng.sample(sorted(DATA["templates"]), len(DATA["templates"])):
            template = DATA["templates"][subcase]
            slots = _slots(rng)
            premise, hypothesis = (_sentence(text.format_map(slots)) for text in rng.choice(template["pairs"]))
            yield {
                "premise": premise,
                "hypothesis": hypothesis,
                "label": template["label"],
                "heuristic": template["heuristic"],
                "subcase": subcase,
            }
