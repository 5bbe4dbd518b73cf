"""The decks: every slide shows what the notebooks hold, and fits the time that it is meant for."""

from __future__ import annotations

import importlib.util
import re

import pytest
from helpers import ROOT

spec = importlib.util.spec_from_file_location("slides", ROOT / "book/tools/slides.py")
slides = importlib.util.module_from_spec(spec)
spec.loader.exec_module(slides)
DECKS = slides.decks()
SHOWN = [(name, slide) for name, deck in DECKS.items() for slide in deck["slides"]]


@pytest.mark.parametrize("name, slide", SHOWN, ids=lambda value: value if isinstance(value, str) else value["title"])
def test_a_slide_is_complete(name: str, slide: dict) -> None:
    assert not slide.keys() - {"title", "text", "cell", "code", "minutes", "notes"}
    assert slide["notes"].strip() and 0 < slide["minutes"] <= 5
    for key in {"cell", "code"} & slide.keys():
        assert slides.cell(slide[key], ROOT / "notebooks").source


@pytest.mark.parametrize("name, low, high", [("lecture", 40, 50), ("talk", 9, 11)])
def test_a_deck_takes_its_time(name: str, low: float, high: float) -> None:
    assert low <= sum(slide["minutes"] for slide in DECKS[name]["slides"]) <= high


def test_a_recorded_number_is_the_records() -> None:
    name = "same head"
    page = slides.html(f"Same head {{recorded}}`seed_robustness: {name}`.")
    value = slides.recorded_numbers.known()["seed_robustness"].estimates[name].value
    found = re.search(r'<span class="recorded">(-?[\d.]+) \[', page)
    assert found and float(found[1]) == pytest.approx(value, abs=6e-4)


def test_no_number_with_a_fraction_is_written_out() -> None:
    # The cosines of 30 and 60 degrees are mathematics; everything else has to come from a record.
    for name, slide in SHOWN:
        words = re.sub(r"`[^`]*`", "", f"{slide.get('text', '')} {slide['notes']}").replace("arXiv 2410.09642", "")
        assert set(re.findall(r"\d+\.\d+", words)) - {"0.75", "0.25"} <= set(
            re.findall(r"[Ss]ection (\d\.\d)", words)
        ), name


def test_what_cannot_be_found_is_named() -> None:
    with pytest.raises(KeyError, match="no code cell"):
        slides.cell("seed_robustness/none", ROOT / "notebooks")
    with pytest.raises(ValueError, match="no recorded estimate"):
        slides.html("{recorded}`seed_robustness: none`")


def test_markdown_keeps_formulas_and_attributes() -> None:
    assert r"\(a &lt; b\)" in slides.html("$a < b$")
    assert '<p class="aside">' in slides.html("{.aside}\ntext")
