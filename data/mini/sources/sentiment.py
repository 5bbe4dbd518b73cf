"""Film reviews for the SST-2, SST-5 and IMDb tasks, drawn from the stock in ``sentiment.yaml``."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

STOCK = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
for _name, _remarks in STOCK["said"].items():
    STOCK["aspects"][_name]["said"] = _remarks
SCALE = ["awful", "poor", "fair", "good", "great"]
SST5_WEIGHTS = [13, 26, 19, 27, 15]
SLOT = re.compile(r"\{([\w.]+)\}")
AGREEMENT = re.compile(r"<([^|>]*)\|?([^>]*)>")
# "a one-off", "a useful", "a euphoric": a vowel on paper, a consonant in the mouth.
ARTICLE = re.compile(r"\b([Aa]) (?=(?!one\b|once|uni[^mn]|us[eu]|eu)[aeiou]|hour|honest|heir)", re.IGNORECASE)


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


class Writer:
    """Fills the frames of one review, so that no aspect is judged twice and no entry is used twice.

    Parameters
    ----------
    rng
        The source of every choice.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.tone = rng.choice(["comic", "grave", "tense"])
        self.used: set[str] = set()
        self.aspects: set[str] = set()
        pronoun = rng.choice(["he", "she"])
        lead = rng.choice(STOCK["words"]["leads"][pronoun])
        # Whatever a review may name twice must be the same both times.
        names = ["title", "director", "place", "town", "subject"]
        self.fixed = {name: rng.choice(STOCK["words"][name]) for name in names}
        self.fixed |= {"genre": rng.choice(STOCK["kinds"][self.tone]), "lead": lead, "last": lead.split()[-1]}
        self.fixed |= STOCK["pronouns"][pronoun]

    def pick(self, options: list[str]) -> str:
        choice = self.rng.choice([option for option in options if option not in self.used] or options)
        self.used.add(choice)
        return choice

    def aspect(self, part: str, level: str) -> dict:
        """Choose an aspect that suits the film, is not yet judged, and has entries of the level."""
        fresh = {name: aspect for name, aspect in STOCK["aspects"].items() if name not in self.aspects}
        suitable = [name for name, aspect in fresh.items() if aspect.get("tone", self.tone) == self.tone]
        name = self.rng.choice([name for name in suitable if level in fresh[name].get(part, {})])
        self.aspects.add(name)
        return fresh[name]

    def clause(self, level: str) -> str:
        aspect = self.aspect("clauses", level)
        singular = aspect["sg"]
        subject = self.rng.choice(singular + aspect.get("pl", []))
        form = 1 if subject in singular else 2
        return f"{subject} {AGREEMENT.sub(lambda match: match[form], self.pick(aspect['clauses'][level]))}"

    def adjective(self, level: str, graded: bool) -> str:
        """Pick an adjective, now and then with a degree that moves it a step along the scale."""
        degree = ""
        if graded and self.rng.random() < 0.3:
            degree = self.pick(STOCK["words"]["degree"][level]) + " "
            level = STOCK["levels"]["milder"].get(level, level)
        return degree + self.pick(STOCK["adjectives"]["any"][level] + STOCK["adjectives"][self.tone][level])

    def slot(self, match: re.Match) -> str:
        name, _, level = match[1].partition(".")
        graded = level == "own"
        choices = STOCK["levels"].get("own" if level == "bare" else level, [level])
        level = self.rng.choice(choices[self.label] if isinstance(choices, dict) else choices)
        if name in "nqs":
            level = STOCK["levels"]["milder"].get(level, level)
        if name == "c":
            text = self.clause(level)
        elif name == "n":
            text = self.pick(self.aspect("nouns", level)["nouns"][level])
        elif name == "s":
            text = self.pick(self.aspect("said", level)["said"][level])
        elif name in self.fixed:
            text = self.fixed[name]
        elif name == "a":
            text = self.adjective(level, graded)
        elif name == "kind":
            text = self.pick(STOCK["kinds"]["any"] + STOCK["kinds"][self.tone])
        else:
            entries = STOCK["words"][name]
            text = self.pick(entries[level] if level else entries)
        return SLOT.sub(self.slot, text)

    def write(self, frame: str, label: str) -> str:
        """Fill every slot of the frame, as one who stands at ``label`` on the scale would."""
        self.label = label
        return capitalised(ARTICLE.sub(r"\1n ", SLOT.sub(self.slot, frame)))


def tokenised(text: str) -> str:
    """Set punctuation and clitics apart, as in the Penn Treebank."""
    text = re.sub(r"(\w)(n't|'(?:s|re|ve|ll|d|m))\b", r"\1 \2", text)
    return re.sub(r"\s*([,.;:?!])(?=\s|$)", r" \1", text)


def sst2(rng: random.Random) -> Iterator[dict]:
    """Review phrases and sentences, lower-case and tokenised.

    Parameters
    ----------
    rng
        The source of every choice.

    Yields
    ------
    dict
        ``text`` and ``label``: 0 negative, 1 positive.
    """
    while True:
        label = int(rng.random() < 0.55)
        strength = rng.choice(SCALE[3:] if label else SCALE[:2])
        if rng.random() < 0.6:
            group = rng.choices(["both", "turned", "pos" if label else "neg"], [80, 8, 12])[0]
            frame = rng.choice(STOCK["fragments"][group])
            frame += rng.choice(["", "", "."])
        else:
            group = rng.choices(["both", "turned", strength], [78, 8, 14])[0]
            frame = rng.choice(STOCK["sentences"][group])
        text = tokenised(Writer(rng).write(frame, strength)).lower()
        if 3 <= len(text.split()) <= 35:
            yield {"text": text, "label": label}


def sst5(rng: random.Random) -> Iterator[dict]:
    """Whole review sentences, tokenised, in their original case.

    Parameters
    ----------
    rng
        The source of every choice.

    Yields
    ------
    dict
        ``text`` and ``label``: 0 very negative, 1 negative, 2 neutral, 3 positive, 4 very positive.
    """
    while True:
        label = rng.choices(range(5), SST5_WEIGHTS)[0]
        strength = SCALE[label]
        groups = [strength] if strength == "fair" else ["both", "both", "turned", strength, strength]
        frames = STOCK["sentences"][rng.choice(groups)]
        yield {"text": tokenised(Writer(rng).write(rng.choice(frames), strength)), "label": label}


def imdb(rng: random.Random) -> Iterator[dict]:
    """Long first-person reviews of invented films.

    Parameters
    ----------
    rng
        The source of every choice.

    Yields
    ------
    dict
        ``text``, ``label`` (0 negative, 1 positive) and ``stars`` (1 to 4, or 7 to 10).
    """
    frames = STOCK["reviews"]
    while True:
        label = rng.randrange(2)
        # How far from the fence: the nearer to it, the more is said against the verdict.
        far = rng.randrange(4)
        strength = ["poor", "awful", "good", "great"][2 * label + (far > 1)]
        against = ["good", "poor"][label]
        write = Writer(rng).write
        head = [write(rng.choice(frames[part]), strength) for part in ["opening", "plot"]]
        head += [write(frame, strength) for frame in rng.sample(frames["more"], rng.randrange(2))]
        counts = [rng.choice([2, 3, 3]), [2, 1, 1, rng.randrange(2)][far]]
        remarks = rng.sample(frames["remark"], k=sum(counts))
        body = [write(frame, strength) for frame in remarks[: counts[0]]]
        for part, count in {"overt": rng.choice([3, 4]), "denial": rng.randrange(2), "aside": rng.randrange(2)}.items():
            body += [write(frame, strength) for frame in rng.sample(frames[part], count)]
        for frame in remarks[counts[0] :]:
            turn = rng.choice(frames["turn"][against]) + " " if rng.random() < 0.3 else ""
            body.append(turn + write(frame, against))
        rng.shuffle(body)
        blocks = [head, body, [write(rng.choice(frames["verdict"][strength]), strength)][: rng.random() < 0.8]]
        text = rng.choice([" ", "<br /><br />"]).join(" ".join(block) for block in blocks if block)
        if 60 <= len(text.split()) <= 160:
            yield {"text": text, "label": label, "stars": 7 + far if label else 4 - far}
