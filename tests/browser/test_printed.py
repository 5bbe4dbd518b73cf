"""Three chapters as a PDF: a page of formulas, an executed notebook, and a page whose scripts paper cannot run."""

from __future__ import annotations

import importlib.util
from io import BytesIO
from unicodedata import normalize

import pytest
import yaml
from built import ROOT
from playwright.sync_api import Browser
from pypdf import PdfReader
from pypdf.generic import Destination

spec = importlib.util.spec_from_file_location("pdf", ROOT / "book/tools/pdf.py")
pdf = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pdf)

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
pytestmark = pytest.mark.xdist_group("printed")  # one document for all
NAMES = ("book/method", "book/executed/seed_robustness", "book/playground")


@pytest.fixture(scope="module")
def chapters(site: str) -> list:
    return [pdf.chapter(*one) for one in pdf.order(yaml.safe_load((ROOT / "_toc.yml").read_text())) if one[0] in NAMES]


@pytest.fixture(scope="module")
def press(browser: Browser, site: str) -> object:
    return pdf.Press(browser, site, CONFIG["title"])


@pytest.fixture(scope="module")
def document(press: object, chapters: list) -> PdfReader:
    pdf.make(press, chapters, CONFIG).write(made := BytesIO())
    return PdfReader(made)


def flat(outline: list) -> list[Destination]:
    return [one for entry in outline for one in (flat(entry) if isinstance(entry, list) else [entry])]


def text(document: PdfReader, page: int) -> str:
    return " ".join(normalize("NFKC", document.pages[page].extract_text()).split())


def test_bookmarks_and_contents_lead_to_the_chapters(document: PdfReader, chapters: list) -> None:
    found = [(one.title, document.get_destination_page_number(one)) for one in flat(document.outline)]
    places = dict(reversed(found))
    assert all(page is not None for page in places.values())
    contents = text(document, 1)
    for one in chapters:
        assert {one.part, *(title for _, title in one.sections)} <= places.keys()
        assert one.title in text(document, places[one.title])
        assert f"{one.title} {places[one.title] + 1}" in contents


def test_links_lead_to_pages_of_the_document_or_outside(document: PdfReader, press: object) -> None:
    pages = {page.indirect_reference.idnum: k for k, page in enumerate(document.pages)}
    links = [(k, x.get_object()) for k, page in enumerate(document.pages) for x in page.get("/Annots", [])]
    outside = [link["/A"]["/URI"] for _, link in links if "/A" in link]
    assert not [address for address in outside if address.startswith(press.site)]
    inside = [(k, pages[link["/Dest"][0].idnum]) for k, link in links if "/Dest" in link]
    assert [k for k, _ in inside].count(1) == len(NAMES)
    # The last chapter leads back to the first one, and to an equation of it.
    assert any(k > len(pages) - 4 and 2 <= to < 12 for k, to in inside)


def test_nothing_is_wider_than_the_page(document: PdfReader, press: object) -> None:
    assert press.wide == {}


def test_paper_shows_the_figure_in_place_of_the_playground(document: PdfReader) -> None:
    shown = " ".join(text(document, k) for k in range(len(document.pages) - 4, len(document.pages)))
    assert "The positions to start from" in shown and "One half, at a tilt of 90°" in shown
    assert "principal angles:" not in shown.lower() and "Turn about the vertical" not in shown


def test_a_page_with_an_error_stops_it_by_name(press: object) -> None:
    with pytest.raises(RuntimeError, match=r"^book/none: .*404"):
        press.page(pdf.Chapter("book/none", "", "None", ()), 0)
