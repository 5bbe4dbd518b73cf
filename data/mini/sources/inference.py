"""Miniature SNLI, MultiNLI and HANS: endless seeded streams of labelled premise-hypothesis pairs."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from string import Template

import yaml

from .hans import hans

__all__ = ["hans", "mnli", "snli"]

DATA = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
SNLI, MNLI = DATA["snli"], DATA["mnli"]
LABELS = {"e": "entailment", "n": "neutral", "c": "contradiction"}
PEOPLE, BEASTS, ACTS = SNLI["people"], SNLI["animals"], SNLI["activities"]


def _draw(make: Callable[[str], tuple[str, str]], words: list[int], rng: random.Random) -> Iterator[dict]:
    """Rows in balanced label order; annotators copy more of a premise that entails, so overlap is drawn as well."""
    bands = DATA["overlap"]
    for label in cycle(LABELS):
        band = rng.choices(bands, [band["entailed" if label == "e" else "other"] for band in bands])[0]
        texts = ("", "")
        for _ in range(300):
            premise, hypothesis = new = make(label)
            if words[0] <= len(premise.split()) <= words[1] and words[2] <= len(hypothesis.split()) <= words[3]:
                texts = new
                known, told = (set(re.findall(r"[\w'-]+", text.casefold())) for text in new)
                if band["low"] <= len(told & known) / len(told) <= band["high"]:
                    break
        texts = [re.sub(r"\ba(?= (?!uni|use|one)[aeiou])", "an", f"{text}.") for text in texts]
        premise, hypothesis = (text[0].upper() + text[1:] for text in texts)
        yield {"premise": premise, "hypothesis": hypothesis, "label": LABELS[label]}


def _slots(table: dict[str, list], rng: random.Random) -> dict[str, str]:
    """Three different fillings of each kind of slot; those of numbers rise, so that sentences may compare them."""
    slots = {}
    for key, values in table.items():
        chosen = rng.sample(values, 3)
        chosen = sorted(chosen, key=values.index) if key in MNLI["rising"] else chosen
        slots |= {f"{key}{place}": str(value) for place, value in enumerate(chosen, 1)}
    return slots


def _told(family: dict, label: str, slots: dict[str, str], rng: random.Random) -> tuple[str, str]:
    """A premise of a family of look-alikes, with a hypothesis that has the label under this premise."""
    number = rng.randrange(len(family["premises"]))
    marked = [item for hypothesis in family["hypotheses"] for item in hypothesis.items()]
    told = [text for labels, text in marked if labels[number % len(labels)] == label]
    texts = (family["premises"][number], rng.choice(told or [""]))
    return tuple(Template(text).substitute(slots) for text in texts)


def _inflect(phrase: str, form: str) -> str:
    """The phrase with its first word ("ing", "s") or its last one ("many") inflected."""
    before, word, after = re.match(r"(.*?)(\S+)($)" if form == "many" else r"()(\S+)(.*)", phrase).groups()
    search, change = next(rule for rule in DATA["inflect"][form] if re.search(rule[0], word))
    return before + re.sub(search, change, word, count=1) + after


@dataclass(frozen=True)
class Figure:
    """One or several people or animals, as a caption may describe them."""

    entry: dict
    noun: str
    count: str = "one"
    trait: str = ""
    how: str = "in"
    worn: tuple[str, ...] = ()  # what is said of a garment, then the garment
    lead: str = "a"

    @property
    def many(self) -> bool:
        return self.count not in ("one", "lone", "group")

    @property
    def kind(self) -> str:
        return next(kind for kind in ("animal", "child", "person") if kind in [*self.entry["who"], "person"])

    def __str__(self) -> str:
        if self.noun == "nobody":
            return self.noun
        one, worn = self.count in ("one", "lone"), ""
        if self.worn:
            garment = " ".join(self.worn) if one else _inflect(" ".join(self.worn), "many")
            worn = f" {self.how} {'a ' if one and self.how != 'with no' else ''}{garment}"
        words = f"{self.trait} {self.noun if one else _inflect(self.noun, 'many')}".strip() + worn
        some = "some" if self.lead == "a" else "the"
        counts = {"one": self.lead, "lone": f"{self.lead} lone", "group": "a group of", "some": some}
        return f"{counts.get(self.count, self.count)} {words}"


class Scene:
    """A picture of someone doing something somewhere. Sentences about it come with a sure label."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        entry = rng.choice(BEASTS if rng.random() < 0.2 else PEOPLE)
        self.act = rng.choice([act for act in ACTS if set(act["who"]) & set(entry["who"])])
        self.place = SNLI["places"][rng.choice(self.act["where"])]
        self.at = rng.choice(self.place["at"])
        self.figure = self.cast(entry, "one" if "solo" in self.act else rng.choice(SNLI["counts"]))

    def cast(self, entry: dict, count: str = "one") -> Figure:
        rng = self.rng
        traits = [word for word, trait in SNLI["traits"].items() if entry["noun"] in trait["who"]]
        trait = rng.choice(traits) if traits and rng.random() < 0.45 else ""
        animal, dressed = "animal" in entry["who"], rng.random()
        worn = (rng.choice(SNLI["colours"]), "collar" if animal else rng.choice(SNLI["garments"]))
        if dressed < 0.2:
            return Figure(entry, entry["noun"], count, trait, "with no", worn[1:])
        how = "with" if animal else rng.choice(["in", "wearing"])
        return Figure(entry, entry["noun"], count, trait, how, worn if dressed < 0.7 else ())

    def premise(self) -> str:
        """The caption, sometimes with a bystander in the picture."""
        rng, entry = self.rng, self.rng.choice(PEOPLE)
        text = self.say(self.figure, self.act["act"], "", self.at)
        if rng.random() < 0.4:
            text = re.sub(r"^there (is|are) | (is|are)(?= \w+ing\b)", "", text, count=1)
        if rng.random() < 0.35 and entry["noun"] != self.figure.noun:
            text += f" {rng.choice(['as', 'while'])} {self.cast(entry)} {rng.choice(SNLI['watching'])}"
        return text

    def describe(self, label: str) -> Figure:
        """The figure, told in fewer words, with a change that gives a sentence about it the label."""
        rng, figure, entry, bare = self.rng, self.figure, self.figure.entry, self.figure.how == "with no"
        trait = SNLI["traits"].get(figure.trait, {"so": [], "not": []})
        edits: list[dict] = [{}]
        if label == "n":
            edits = [{"trait": rng.choice(SNLI["unseen"][figure.kind])}]
            if figure.worn and not bare:
                edits += [{"worn": (rng.choice(SNLI["unworn"]), *figure.worn[rng.randrange(2) :])}]
        elif label == "c":
            edits = [{"noun": rng.choice(entry["not"])}, {"noun": "nobody", "count": "one"}]
            edits += [{"count": count} for count in SNLI["miscounts"][figure.count]]
            edits += [{"trait": word} for word in trait["not"]]
            if bare:
                edits += [{"how": "with", "worn": figure.worn}] * 3
            elif figure.worn:
                colour = rng.choice([colour for colour in SNLI["colours"] if colour != figure.worn[0]])
                edits += [{"worn": (colour, figure.worn[1])}] * 2
        told: dict = {"lead": rng.choice(["a", "the"])}
        if rng.random() < 0.6:
            told["trait"] = rng.choice(["", "", *trait["so"]])
        if rng.random() < 0.75:
            told["worn"] = () if bare or rng.random() < 0.7 else figure.worn[1:]
        told["noun"] = rng.choice(entry["so"]) if rng.random() < 0.35 else figure.noun
        if figure.many and rng.random() < 0.3:
            told["count"] = "some"
        edit = rng.choice(edits)
        figure = replace(figure, **(told | edit))
        # "a bearded woman" or "a little young child" would give the edit away
        return replace(figure, trait="") if "noun" in edit or (" " in figure.noun and not edit) else figure

    def doing(self, figure: Figure, label: str) -> tuple[str, str]:
        """What to say that the figure does, and the form that it must take, if any."""
        rng, act, who = self.rng, self.act, set(figure.entry["who"])
        true = act["act"] if rng.random() < 0.55 else rng.choice(act["so"])
        if label == "n":
            tail = rng.choice(SNLI["tails"]["animal" if figure.kind == "animal" else "person"])
            may, state = rng.choice(act["may"]), rng.choice(SNLI["states"][figure.kind])
            return rng.choice([(may, ""), (may, ""), (f"{true} {tail}", ""), (state, "finite")])
        if label == "c":
            apart = [other for other in ACTS if other["group"] in SNLI["against"][act["group"]]]
            others = [other["act"] for other in apart if who & set(other["who"])] or act["not"]
            return rng.choice([(rng.choice(act["not"]), ""), (rng.choice(others), ""), (true, "not")])
        return true, ""

    def say(self, figure: Figure, verb: str, form: str, at: str) -> str:
        """A sentence in one of the ways captions are worded."""
        be, chance = "are" if figure.many else "is", self.rng.random()
        doing = f"{be} {'not ' if form == 'not' else ''}{_inflect(verb, 'ing')}"
        if form == "finite" or (not form and chance < 0.35):
            doing = verb if figure.many else _inflect(verb, "s")
        text = f"{figure} {doing} {at}".strip()
        if not form and chance > 0.92 and figure.lead == "a" and figure.noun != "nobody":
            text = f"there {be} {figure} {_inflect(verb, 'ing')} {at}".strip()
        return Template(text).substitute(his=figure.entry["his"] if figure.count in ("one", "lone") else "their")

    def hypothesis(self, label: str) -> str:
        """A sentence with one change of the label's kind: to who, to what or to where."""
        rng, changed = self.rng, self.rng.choice(["who", "what", "what", "where"])
        who, what, where = (label if part == changed else "e" for part in ("who", "what", "where"))
        figure = self.describe(who)
        verb, form = self.doing(figure, what)
        places = {"e": ["", "", self.at, rng.choice(self.place["so"])], "n": self.place["may"], "c": self.place["not"]}
        return self.say(figure, verb, form, "" if what == "n" else rng.choice(places[where]))


def snli(rng: random.Random) -> Iterator[dict]:
    """Draw captions with what follows from them, what may be true besides, and what cannot be, without end.

    Parameters
    ----------
    rng : random.Random
        The source of every choice.

    Returns
    -------
    Iterator[dict]
        ``premise``, ``hypothesis`` and ``label`` ("entailment", "neutral" or "contradiction"), the labels in turn.
    """

    def make(label: str) -> tuple[str, str]:
        if rng.random() < 0.3:
            return _told(rng.choice(SNLI["families"]), label, _slots(SNLI["slots"], rng), rng)
        scene = Scene(rng)
        return scene.premise(), scene.hypothesis(label)

    return _draw(make, [6, 25, 3, 14], rng)


def mnli(rng: random.Random) -> Iterator[dict]:
    """Draw sentences of five written and spoken genres, labelled as `snli` labels them, without end.

    Parameters
    ----------
    rng : random.Random
        The source of every choice.

    Yields
    ------
    dict
        The columns of `snli`, and ``genre``.
    """

    def make(part: dict, label: str) -> tuple[str, str]:
        slots = _slots(MNLI["slots"], rng)
        clause, denial = rng.choice(part["clauses"])
        family = rng.choice(part["families"]) if rng.random() < 0.7 else MNLI["embedded"]
        premise, hypothesis = _told(family, label, slots | {"s": clause, "un": denial}, rng)
        opening, closing = (Template(rng.choice(part[end])).substitute(slots) for end in ("openings", "closings"))
        return f"{opening}{premise}{closing}", hypothesis and rng.choice(MNLI["leads"]) + hypothesis

    streams = [(genre, _draw(partial(make, part), [8, 40, 4, 20], rng)) for genre, part in MNLI["genres"].items()]
    while True:
        genre, stream = rng.choice(streams)
        yield next(stream) | {"genre": genre}
