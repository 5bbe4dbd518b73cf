"""The book as one PDF: Chromium prints each page of the built site, and pypdf binds them.

The order and the parts are those of ``_toc.yml``. A title page and the contents go before, running heads and page
numbers are printed with each page, and a link to another page of the book leads to its place in the PDF.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import groupby
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import unquote, urldefrag

import jinja2
import yaml
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Error, sync_playwright
from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, Fit, NameObject, NullObject, NumberObject
from rich.console import Console
from rich.progress import track

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build/html"
TEMPLATE = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
NO_BROWSER = "make pdf needs Chromium: install your system's chromium package, or run 'playwright install chromium'"

# A4 is 842 points high; with the margins below it leaves 174 mm for the text, 657 CSS pixels.
HEIGHT, WIDTH = 842, 657
PAPER = """@page {
    size: A4;
    margin: 20mm 18mm;
    @top-left { content: %s; font: 8.5pt sans-serif; color: #48566b; }
    @top-right { content: %s; font: 8.5pt sans-serif; color: #48566b; }
    @bottom-center { content: counter(page); font: 8.5pt sans-serif; color: #48566b; }
}
html { counter-reset: page %d; }"""

READY = """Promise.all([document.fonts.ready, window.MathJax?.startup?.promise,
    ...[...document.images].map(image => { image.loading = 'eager'; return image.decode(); })])"""
# Chromium keeps the place of an element only if a link on its page leads there; others lead there from elsewhere.
ANCHORS = """() => {
    const links = document.createElement('div');
    links.hidden = true;
    for (const { id } of document.querySelectorAll('article [id]:not(mjx-container *, svg *)'))
        links.append(Object.assign(document.createElement('a'), { href: `#${id}` }));
    document.body.append(links);
}"""
# Paper does not scroll: what is wider than its place is drawn smaller.
FIT = """() => {
    for (const box of document.querySelectorAll('article :is(table, mjx-container[display])')) {
        const room = box.parentElement.getBoundingClientRect().width;
        if (room && box.scrollWidth > room + 1) box.style.zoom = room / box.scrollWidth;
    }
}"""
WIDE = """() => [...document.querySelectorAll('article *:not(mjx-assistive-mml, mjx-assistive-mml *)')]
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(e => `${e.tagName.toLowerCase()}: ${e.textContent.trim().slice(0, 40)}`)"""


Place = tuple[int, int]  # page, and height above its foot


class Chapter(NamedTuple):
    """A page of the book: its address without ``.html``, its part, and its headings, the sections with anchors."""

    name: str
    part: str
    title: str
    sections: tuple[tuple[str, str], ...]


def order(toc: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and part of every page in the order of the book; the cover has no part."""
    parts = [(part["caption"], chapter["file"]) for part in toc["parts"] for chapter in part["chapters"]]
    return [(toc["root"], ""), *((name, part) for part, name in parts)]


def chapter(name: str, part: str, folder: Path = SITE) -> Chapter:
    """A page with the headings that its HTML has."""
    page = BeautifulSoup((folder / f"{name}.html").read_text(encoding="utf-8"), "html.parser").select_one("article")
    for mark in page.select(".headerlink"):
        mark.decompose()
    text = {found.parent.get("id", ""): " ".join(found.text.split()) for found in page.select("section > :is(h1, h2)")}
    title, *sections = text.items()
    return Chapter(name, part, title[1], tuple(sections))


def goal(link: DictionaryObject, here: str, site: str) -> str | None:
    """Where a link of the page ``here`` leads: ``page#anchor`` in the book, ``None`` outside of it."""
    if "/Dest" in link:
        return f"{here}#{unquote(str(link['/Dest']).removeprefix('/'))}"
    address = str(link.get("/A", {}).get("/URI", ""))
    if not address.startswith(f"{site}/"):
        return None
    path, anchor = urldefrag(unquote(address.removeprefix(f"{site}/")))
    return f"{path.removesuffix('.html')}#{anchor}".removesuffix("#")


def bind(front: PdfReader, printed: list[tuple[Chapter, PdfReader]], site: str) -> PdfWriter:
    """The printed pages as one document, with bookmarks, and links that stay inside it."""
    writer, places, owners = PdfWriter(), {}, []
    for name, pdf in [("", front), *((one.name, pdf) for one, pdf in printed)]:
        places[name] = (len(owners), HEIGHT)
        for anchor, found in pdf.named_destinations.items():
            page, top = len(owners) + pdf.get_destination_page_number(found), found.top
            places[f"{name}#{unquote(anchor.removeprefix('/'))}"] = (page, HEIGHT if top is None else round(top))
        for page in pdf.pages:
            writer.add_page(page)
            owners.append(name)
    pages = list(writer.pages)
    for page, name in zip(pages, owners, strict=True):
        links = [(link, link.get_object()) for link in page.get("/Annots", ())]
        kept = [link for link, held in links if _turned(held, goal(held, name, site), places, pages)]
        page[NameObject("/Annots")] = ArrayObject(kept)
    _bookmarks(writer, [one for one, _ in printed], places)
    # Chapters share pictures and parts of fonts.
    writer.compress_identical_objects()
    return writer


def _turned(link: DictionaryObject, wanted: str | None, places: dict[str, Place], pages: list[PageObject]) -> bool:
    """Turn a link to its place in the document; false for a page of the site that the document has not."""
    if wanted is None:
        return True
    found = places.get(wanted) or places.get(urldefrag(wanted).url)
    if found is None:
        return False
    page, top = found
    link.pop("/A", None)
    reference, null = pages[page].indirect_reference, NullObject()
    link[NameObject("/Dest")] = ArrayObject([reference, NameObject("/XYZ"), null, NumberObject(top), null])
    return True


def _bookmarks(writer: PdfWriter, chapters: list[Chapter], places: dict[str, Place]) -> None:
    """Parts, their chapters and the chapters' sections, the sections folded."""

    def add(title: str, key: str, parent: Any = None, is_open: bool = True) -> Any:
        page, top = places[key]
        return writer.add_outline_item(
            title=title, page_number=page, parent=parent, fit=Fit.xyz(top=top), is_open=is_open
        )

    for part, members in groupby(chapters, key=lambda one: one.part):
        parent = None
        for k, one in enumerate(members):
            if part and not k:
                parent = add(part, one.name)
            own = add(one.title, one.name, parent, is_open=False)
            for anchor, title in one.sections:
                if (key := f"{one.name}#{anchor}") in places:
                    add(title, key, own)


class Press:
    """A browser's page that prints the pages of a site.

    Parameters
    ----------
    browser : Browser
        Chromium.
    site : str
        Address of the site, without a slash at its end.
    title : str
        Of the book, for the running head.
    """

    def __init__(self, browser: Browser, site: str, title: str) -> None:
        self.site, self.title = site, title
        self.wide: dict[str, list[str]] = {}
        self._trouble: list[str] = []
        context = browser.new_context(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        context.set_default_timeout(180_000)
        context.add_init_script("for (const k of ['mode', 'theme']) localStorage.setItem(k, 'light')")
        self._page = context.new_page()
        self._page.emulate_media(media="print")
        self._page.on("console", lambda said: said.type == "error" and self._trouble.append(said.text))
        self._page.on("pageerror", lambda error: self._trouble.append(str(error)))
        self._page.on("requestfailed", lambda asked: self._trouble.append(f"{asked.url}: {asked.failure}"))
        self._page.on("response", lambda got: got.status >= 400 and self._trouble.append(f"{got.url}: {got.status}"))

    def page(self, one: Chapter, before: int) -> PdfReader:
        """A page of the site, its numbers going on after those of the pages ``before``."""
        return self._print(one.name, PAPER % (json.dumps(self.title), json.dumps(one.title), before))

    def front(self, html: str) -> PdfReader:
        """Pages that the site does not have."""
        self._page.route("**/contents.html", lambda route: route.fulfill(body=html, content_type="text/html"))
        return self._print("contents", "/* its own */")

    def _print(self, name: str, style: str) -> PdfReader:
        self._trouble.clear()
        try:
            self._page.goto(f"{self.site}/{name}.html", wait_until="load")
            self._page.evaluate(READY)
            self._page.add_style_tag(content=style)
            self._page.evaluate(ANCHORS)
            self._page.evaluate(FIT)
            wide = self._page.evaluate(WIDE)
            pdf = self._page.pdf(prefer_css_page_size=True, print_background=True)
        except Error as error:
            self._trouble.append(error.message.partition("\n")[0])
        if self._trouble:
            raise RuntimeError(f"{name}: {'; '.join(dict.fromkeys(self._trouble))}")
        if wide:
            self.wide[name] = wide
        return PdfReader(BytesIO(pdf))


def make(press: Press, chapters: list[Chapter], config: dict[str, Any], shown: Callable = iter) -> PdfWriter:
    """The whole document; ``shown`` goes over the chapters and may tell how far it is."""
    length = len(press.front(front(press.site, chapters, config, {})).pages)
    pages, printed = {}, []
    for one in shown(chapters):
        pages[one.name] = before = length + sum(len(pdf.pages) for _, pdf in printed)
        printed.append((one, press.page(one, before)))
    pages = {name: before + 1 for name, before in pages.items()}
    document = bind(press.front(front(press.site, chapters, config, pages)), printed, press.site)
    document.add_metadata({"/Title": config["title"], "/Author": config["author"]})
    document.page_mode = "/UseOutlines"
    return document


def front(site: str, chapters: list[Chapter], config: dict[str, Any], pages: dict[str, int]) -> str:
    """Title page and contents, with the numbers of the pages as far as they are known."""
    parts = [(part, list(members)) for part, members in groupby(chapters, key=lambda one: one.part)]
    return TEMPLATE.get_template("pdf.html.j2").render(site=site, cover=chapters[0], parts=parts, pages=pages, **config)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of a server of a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def chromium(own: str) -> str:
    """The system's browser, or else the one that Playwright has fetched, whose path is ``own``."""
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", own)))
    if (path := next(found, None)) is None:
        sys.exit(NO_BROWSER)
    return path


def main(arguments: Iterable[str] | None = None) -> None:
    """Print the built book."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=SITE.parent / "repmatch.pdf")
    out = parser.parse_args(arguments).out
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    chapters = [chapter(*entry) for entry in order(yaml.safe_load((ROOT / "_toc.yml").read_text()))]
    console = Console()
    with sync_playwright() as playwright, served(SITE) as site:
        # Chromium's sandbox does not start for root.
        options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(
            executable_path=chromium(playwright.chromium.executable_path), args=options
        )
        press = Press(browser, site, config["title"])
        try:
            document = make(press, chapters, config, partial(track, description="Printing", console=console))
        except RuntimeError as error:
            sys.exit(f"make pdf stopped at {error}")
    for name, wide in press.wide.items():
        console.print(f"{name} is printed smaller, to hold what is too wide: {'; '.join(wide[:3])}", markup=False)
    document.write(out)
    console.print(f"{len(document.pages)} pages, {out.stat().st_size / 1e6:.1f} MB: {out}", markup=False)


if __name__ == "__main__":
    main()
