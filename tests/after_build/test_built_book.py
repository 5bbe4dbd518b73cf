"""What ``make book`` made: every cell ran, and no page reaches outside the site."""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml

from repmatch_lib.book.records import Record

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build/html"
EXECUTED = sorted((ROOT / "book/executed").glob("*.ipynb"))
UNRECORDED = ("ledger", "performance", "execution")  # they show others' records
# Under _static lie the theme's templates.
PAGES = [page for page in sorted(SITE.rglob("*.html")) if "_static" not in page.parts]


class Links(HTMLParser):
    """Addresses a page loads and addresses it links to, and the anchors it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads, self.links, self.anchors = [], [], set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon", "shortcut icon"):
            self.loads.append(given["href"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])


links_of = cache(Links)  # many links lead to one page


def test_the_book_has_its_pages() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = re.findall(r"'(?:file|root)': '([^']+)'", str(toc))
    assert len(files) >= 6
    for file in files:
        assert (SITE / f"{file}.html").is_file()


@pytest.mark.parametrize("notebook", EXECUTED, ids=lambda p: p.stem)
def test_every_cell_was_executed_without_error(notebook: Path) -> None:
    cells = [c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code" and c.source.strip()]
    assert cells
    for cell in cells:
        assert cell.execution_count is not None, f"not executed: {cell.source[:60]}"
        kinds = [(output.output_type, output.get("name")) for output in cell.outputs]
        assert ("error", None) not in kinds and ("stream", "stderr") not in kinds


def test_no_table_is_empty() -> None:
    assert [notebook.stem for notebook in EXECUTED if "Neither run has any." in notebook.read_text()] == []


def test_chapters_left_their_records() -> None:
    for name in sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem not in UNRECORDED):
        record = Record.load(ROOT / f"book/executed/{name}.json")
        assert record.experiment == name and record.provenance["encoder"]["weights_sha256"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(SITE)))
def test_page_is_self_contained_and_its_links_resolve(page: Path) -> None:
    found = links_of(page)
    outside = [src for src in found.loads if urlsplit(src).netloc]
    assert not outside
    for address in [*found.loads, *found.links]:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        target = target / "index.html" if target.is_dir() else target
        assert target.is_file(), address
        if parts.fragment and target.suffix == ".html":
            assert unquote(parts.fragment) in links_of(target).anchors, address


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(SITE)))
def test_page_has_a_policy(page: Path) -> None:
    found = re.findall(r'<head[^>]*><meta http-equiv="Content-Security-Policy" content="([^"]+)">', page.read_text())
    assert len(found) == 1 and "object-src" in found[0]
    assert "unsafe-eval" not in found[0] and ("unsafe-inline" in found[0].partition("style-src")[0]) == (
        "slides" in page.parts  # the speaker's view is written by a script
    )


def test_plotting_scripts_load_on_the_pages_that_use_them_only() -> None:
    using = {page.stem for page in PAGES if any("plot.umd" in src for src in Links(page).loads)}
    assert using == {"explorer", "playground", "compare"}


def test_no_page_shows_a_path_of_this_machine() -> None:
    for page in PAGES:
        assert str(ROOT) not in page.read_text()
