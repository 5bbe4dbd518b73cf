"""Questions about encyclopedia-like paragraphs on invented subjects, in the manner of SQuAD, from ``squad.yaml``."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

DATA = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
LEXICON, PARTS, KINDS = DATA["lexicon"], DATA["parts"], DATA["kinds"]
SLOT = re.compile(r"{([a-z]+\d?)}")
QUESTIONS = 4  # a paragraph's share of rows; it divides the sizes of both splits, so no paragraph straddles them
FEWEST, MOST = 72, 118  # words in a paragraph


def _name(rng: random.Random, pool: str) -> str:
    if pool in ("person", "woman", "man"):
        first = rng.choice(PARTS["woman"] + PARTS["man"] if pool == "person" else PARTS[pool])
        return f"{first} {rng.choice(PARTS['family'])}{rng.choice(PARTS['family_end'])}"
    return f"{rng.choice(PARTS[pool])}{rng.choice(PARTS[f'{pool}_end'])}"


def _numbers(rng: random.Random, words: str, count: int) -> list[str]:
    low, high, step = (int(part) for part in words.split(".."))
    return [f"{number:,}" for number in sorted(rng.sample(range(low, high + 1, step), count))]


def _years(rng: random.Random, words: str, count: int) -> list[str]:
    first, last, gap = (int(part) for part in words.split(".."))
    years = [rng.randint(first, last)]
    while len(years) < count:
        years.append(years[-1] + rng.randint(2, gap))
    return [str(year) for year in years]


def _names(rng: random.Random, pool: str, count: int) -> list[str]:
    names: list[str] = []
    while len(names) < count:
        if (name := _name(rng, pool)) not in names:
            names.append(name)
    return names


def _texts(kind: dict) -> Iterator[str]:
    yield kind["title"]
    yield from kind["lead"]
    for fact in kind["facts"]:
        yield from fact["say"]


def _fill(rng: random.Random, kind: dict) -> dict[str, str]:
    """A value for every slot of a kind: a pool's slots differ, its years and numbers rise with the slots' digits."""
    pools: dict[str, list[str]] = {}
    for slot in sorted({slot for text in _texts(kind) for slot in SLOT.findall(text)}):
        pools.setdefault(kind["name"] if slot == "name" else slot.rstrip("0123456789"), []).append(slot)
    values = {}
    for pool, slots in pools.items():
        words = kind["slots"].get(pool) or LEXICON.get(pool)
        if words is None:
            drawn = _names(rng, pool, len(slots))
        elif isinstance(words, str):
            drawn = (_years if pool == "year" else _numbers)(rng, words, len(slots))
        else:
            drawn = rng.sample(words, len(slots))
        values |= dict(zip(slots, drawn, strict=True))
    return values


def _render(text: str, values: dict[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
    """The filled sentence and where in it each slot's value stands."""
    filled, spans, end = "", {}, 0
    for match in SLOT.finditer(text):
        filled += text[end : match.start()]
        value = values[match[1]]
        if re.search(r"\b[Aa] $", filled) and re.match(r"(8|11\b|18\b|[aeiouAEIOU](?!ni|ne\b))", value):
            filled = f"{filled[:-1]}n "
        spans.setdefault(match[1], (len(filled), len(filled) + len(value)))
        filled, end = filled + value, match.end()
    filled += text[end:]
    return filled[0].upper() + filled[1:], spans


def _paragraph(rng: random.Random, kind: dict) -> tuple[str, str, list[tuple[str, int, int]]]:
    """A title, a paragraph and its questions, each with the span that answers it."""
    values = _fill(rng, kind)
    context, _ = _render(rng.choice(kind["lead"]), values)
    facts: list[list[tuple[str, int, int]]] = []
    for fact in rng.sample(kind["facts"], len(kind["facts"])):
        sentence, spans = _render(rng.choice(fact["say"]), values)
        words = len(f"{context} {sentence}".split())
        if words > MOST or (len(context.split()) >= FEWEST and len(facts) >= QUESTIONS and rng.random() < 0.5):
            continue
        offset = len(context) + 1
        context = f"{context} {sentence}"
        facts.append(
            [
                (_render(rng.choice(wordings), values)[0], offset + spans[slot][0], offset + spans[slot][1])
                for slot, wordings in fact["ask"].items()
            ]
        )
    # Facts take turns before any fact is asked about twice.
    rounds = [rng.sample(questions, len(questions)) for questions in rng.sample(facts, len(facts))]
    turns = [questions[turn] for turn in range(max(map(len, rounds))) for questions in rounds if turn < len(questions)]
    return _render(kind["title"], values)[0], context, turns[:QUESTIONS]


def squad(rng: random.Random) -> Iterator[dict]:
    """Draw questions on paragraphs without end, four to a paragraph.

    Parameters
    ----------
    rng
        Source of every random choice; the same state gives the same rows.

    Yields
    ------
    dict
        ``id``, ``title``, ``question``, ``context``, ``answer_text`` and ``answer_start`` (lists of length one), where
        the answer is the stretch of the context that begins at its start.
    """
    while True:
        title, context, questions = _paragraph(rng, KINDS[rng.choice(sorted(KINDS))])
        for question, start, end in questions:
            yield {
                "id": hashlib.sha256(f"{context}\n{question}".encode()).hexdigest()[:24],
                "title": title.replace(" ", "_"),
                "question": question,
                "context": context,
                "answer_text": [context[start:end]],
                "answer_start": [start],
            }
