"""The book as one PDF: its order, its contents, its links and its bookmarks, without a browser."""

from __future__ import annotations

import importlib.util
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import Link
from pypdf.generic import DictionaryObject, NameObject, TextStringObject

spec = importlib.util.spec_from_file_location("pdf", ROOT / "book/tools/pdf.py")
pdf = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pdf)
SITE = "http://127.0.0.1:8000"
ONE = pdf.Chapter("book/one", "A part", "One", (("first", "First"), ("lost", "Lost")))
TWO = pdf.Chapter("book/executed/two", "A part", "Two & more", (("first", "First"),))
COVER = pdf.Chapter("book/index", "", "Cover", ())


def printed(length: int, links: list[str], anchors: dict[str, int]) -> PdfReader:
    """Empty pages, the first with links to addresses or, after ``#``, to anchors of its own."""
    writer = PdfWriter()
    for _ in range(length):
        writer.add_blank_page(595, 842)
    for anchor, page in anchors.items():
        writer.add_named_destination(anchor, page)
    for address in links:
        link = Link(rect=(0, 0, 9, 9), url=address)
        if address.startswith("#"):
            del link["/A"]
            link[NameObject("/Dest")] = NameObject(f"/{address[1:]}")
        writer.add_annotation(0, link)
    writer.write(made := BytesIO())
    return PdfReader(made)


def bound() -> PdfReader:
    """A cover, and two chapters of three pages each whose sections have the same names."""
    to_two = f"{SITE}/book/executed/two.html"
    links = [to_two, f"{to_two}#first", f"{to_two}#gone", "#first", f"{SITE}/slides/talk.html", "https://arxiv.org/"]
    one, two = printed(3, links, {"first": 1}), printed(3, [f"{SITE}/book/one.html#first", "#first"], {"first": 2})
    document = pdf.bind(printed(2, [], {}), [(COVER, printed(1, [], {})), (ONE, one), (TWO, two)], SITE)
    document.write(made := BytesIO())
    return PdfReader(made)


def leads(document: PdfReader, page: int) -> list[Any]:
    """Of each link of a page the place of the page that it leads to, or its address."""
    pages = {one.indirect_reference.idnum: k for k, one in enumerate(document.pages)}
    links = [link.get_object() for link in document.pages[page]["/Annots"]]
    return [pages[x["/Dest"][0].idnum] if "/Dest" in x else x["/A"]["/URI"] for x in links]


def test_order_is_the_table_of_contents() -> None:
    order = pdf.order(yaml.safe_load((ROOT / "_toc.yml").read_text()))
    assert order[:2] == [("book/index", ""), ("book/ten_minutes", "The method")]
    for name, _ in order:
        notebook = ROOT / f"{name.replace('book/executed', 'notebooks')}.ipynb"
        assert notebook.is_file() or (ROOT / f"{name}.md").is_file()


def test_headings_are_the_page_s(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<h1>Above the article</h1><article><section id='top'><h1>A\n title<a class='headerlink'>#</a></h1>"
        "<section id='near'><h2>Near <em>by</em></h2><section id='deep'><h3>Deep</h3></section></section></section>"
        "</article>"
    )
    assert pdf.chapter("page", "Part", tmp_path) == pdf.Chapter("page", "Part", "A title", (("near", "Near by"),))


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (f"{SITE}/book/one.html", "book/one"),
        (f"{SITE}/book/one.html#a%20b", "book/one#a b"),
        (f"{SITE}/slides/talk.html", "slides/talk"),
        ("https://arxiv.org/abs/2410.09642", None),
        (f"{SITE}1/book/one.html", None),
    ],
)
def test_a_link_leads_to_a_place_in_the_book_or_outside(address: str, place: str | None) -> None:
    action = DictionaryObject({NameObject("/URI"): TextStringObject(address)})
    assert pdf.goal(DictionaryObject({NameObject("/A"): action}), "book/two", SITE) == place


def test_links_stay_in_the_document() -> None:
    document = bound()
    # An anchor that is not there leads to its page, a page that is not there nowhere.
    assert leads(document, 3) == [6, 8, 6, 4, "https://arxiv.org/"]
    assert leads(document, 6) == [4, 8]
    assert not [one for one in document.named_destinations]


def test_bookmarks_are_parts_chapters_and_sections() -> None:
    document = bound()
    cover, part, (one, below_one, two, below_two) = document.outline
    titles = [x.title for x in (cover, part, one, *below_one, two, *below_two)]
    assert titles == ["Cover", "A part", "One", "First", "Two & more", "First"]
    found = [document.get_destination_page_number(x) for x in (cover, part, one, *below_one, two, *below_two)]
    assert found == [2, 3, 3, 4, 6, 8]


def test_contents_name_every_chapter_with_its_page() -> None:
    config = {"title": "A book", "author": "its authors", "copyright": "2026"}
    page = pdf.front(SITE, [COVER, ONE, TWO], config, {"book/index": 3, "book/one": 4, "book/executed/two": 7})
    soup = pdf.BeautifulSoup(page, "html.parser")
    assert [part.text for part in soup.select(".part")] == ["A part"]
    entries = [(a["href"], *a.text.split("\n")) for a in soup.select("li a")]
    assert [(href.removeprefix(f"{SITE}/"), title, number.strip()) for href, title, number in entries] == [
        ("book/index.html", "Cover", "3"),
        ("book/one.html", "One", "4"),
        ("book/executed/two.html", "Two & more", "7"),
    ]


def test_without_a_browser_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="make pdf needs Chromium: install"):
        pdf.chromium(str(tmp_path / "fetched"))
    (tmp_path / "fetched").touch(0o755)
    assert pdf.chromium(str(tmp_path / "fetched")) == str(tmp_path / "fetched")
