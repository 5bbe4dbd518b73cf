"""Every page, light and dark, on a phone, a laptop and a projector."""

import os
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from built import ORDER, PAGES, ROOT, SITE, THEMES, WIDTHS, Visit
from playwright.sync_api import Page, expect

AXE = ROOT / "node_modules/axe-core/axe.min.js"
# The bare page at the root only leads on to the cover.
BOOK = [page for page in PAGES if page != "index.html"]

SIDEWAYS = "window.scrollTo(9999, 0), window.scrollX"
IMAGES = "[...document.images].map(i => [i.src, i.complete && i.naturalWidth > 0, (i.alt || '').trim()])"
LINKS = "[...document.querySelectorAll('a[href]')].map(a => a.href)"
ANCHORS = "[...document.querySelectorAll('[id], a[name]')].flatMap(e => [e.id, e.getAttribute('name')])"
# Formulas that lie under their own number.
COVERED = """[...document.querySelectorAll('div.math')].filter(box => {
    const number = box.querySelector('.eqno'), formula = box.querySelector('mjx-container');
    if (!number || !formula) return false;
    const a = number.getBoundingClientRect(), b = formula.getBoundingClientRect();
    return a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
}).map(box => box.id || box.textContent.slice(0, 40))"""
# Formulas bring their own reading text.
FINDINGS = """options => axe.configure({rules: [{id: 'color-contrast', selector: '[data-look]'}]}) ??
    axe.run({exclude: ['mjx-container']}, {...options, resultTypes: ['violations'], preload: false})
    .then(found => found.violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .flatMap(v => v.nodes.slice(0, 5).map(n => `${v.id}: ${n.target} ${n.any[0]?.message ?? ''}`)))"""
# Text of one colour, size and ground has one contrast: the first three of each are marked, and only they are looked at,
# since thousands take seconds.
MARK_TEXTS = """() => {
    const seen = {};
    for (const text of document.querySelectorAll('body *')) {
        const own = [...text.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
        if (!own || !text.checkVisibility()) continue;
        const style = getComputedStyle(text), grounds = [];
        for (let ground = text; ground; ground = ground.parentElement) {
            const {backgroundColor, backgroundImage, opacity} = getComputedStyle(ground);
            grounds.push(backgroundColor, backgroundImage, opacity);
            if (!backgroundColor.endsWith(', 0)')) break;
        }
        const look = [style.color, style.fontSize, style.fontWeight, ...new Set(grounds)].join();
        seen[look] = (seen[look] ?? 0) + 1;
        text.toggleAttribute('data-look', seen[look] <= 3);
    }
    return Object.keys(seen).length;
}"""


def findings(page: Page, **options: object) -> list[str]:
    """What axe holds to be serious or critical."""
    assert page.evaluate(MARK_TEXTS)
    return page.evaluate(FINDINGS, options)


CASES = [pytest.param((p, t), marks=pytest.mark.xdist_group(p), id=f"{p}-{t}") for p in BOOK for t in THEMES]


@pytest.fixture(scope="module", params=CASES)
def visit(request: pytest.FixtureRequest, visits: dict[str, Visit]) -> Visit:
    """Each page opened in light colours, then made dark; all tests of it use the page as it then stands."""
    path, theme = request.param
    if theme == "light":
        visits["light"].open(path)
    visits["light"].turn(theme)
    return visits["light"]


def test_says_nothing_and_asks_only_its_own_host(visit: Visit) -> None:
    assert not visit.said
    assert not visit.failed
    assert [url for url in visit.asked if not url.startswith((visit.site, "data:", "blob:"))] == []


def test_fits_every_width(visit: Visit) -> None:
    for width in WIDTHS:
        visit.page.set_viewport_size({"width": width, "height": 900})
        assert visit.page.evaluate(SIDEWAYS) == 0, width
        assert visit.page.evaluate(COVERED) == [], width
    visit.page.set_viewport_size({"width": 1280, "height": 900})


def test_images_are_there_and_described(visit: Visit) -> None:
    assert [image for image in visit.page.evaluate(IMAGES) if not (image[1] and image[2])] == []


def test_links_resolve(visit: Visit) -> None:
    anchors = set(visit.page.evaluate(ANCHORS))
    here = urldefrag(visit.page.url).url
    for link in visit.page.evaluate(LINKS):
        address, anchor = urldefrag(link)
        if address == here:
            assert not anchor or anchor.startswith("/") or unquote(anchor) in anchors, link  # "#/2" is a slide
        elif address.startswith(visit.site):
            assert served(address.removeprefix(visit.site)).is_file(), link


def test_leads_to_its_neighbours(visit: Visit) -> None:
    name = urldefrag(visit.page.url).url.removeprefix(f"{visit.site}/").removesuffix(".html")
    here = ORDER.index(name) if name in ORDER else len(ORDER) + 1  # pages out of order have no neighbours
    for turn, there in (("left-prev", ORDER[here - 1 : here]), ("right-next", ORDER[here + 1 : here + 2])):
        links = visit.page.locator(f"a.{turn}").evaluate_all("links => links.map(a => a.href)")
        assert links == [f"{visit.site}/{one}.html" for one in there]


def served(path: str) -> Path:
    """The file that the server answers with."""
    file = SITE / unquote(path).partition("?")[0].lstrip("/")
    return file / "index.html" if file.is_dir() else file


def test_is_accessible(visit: Visit) -> None:
    if not AXE.is_file():
        stop = pytest.fail if os.environ.get("REPMATCH_BROWSER") == "required" else pytest.skip
        stop("axe-core is not installed: run 'npm ci'")
    visit.page.evaluate(AXE.read_text())
    if visit.page.evaluate("document.documentElement.dataset.theme") == "dark":
        assert findings(visit.page, runOnly=["color-contrast"]) == []
        return  # what is left does not depend on colours
    assert findings(visit.page) == []
    # What fits a wide window may have to scroll in a narrow one; the theme looks again a while after a change of width.
    visit.page.set_viewport_size({"width": 390, "height": 900})
    visit.page.wait_for_timeout(500)
    assert findings(visit.page, runOnly=["scrollable-region-focusable"]) == []
    visit.page.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize("theme", THEMES)
def test_a_chapter_s_notebook_is_reached_by_keyboard(theme: str, visits: dict[str, Visit]) -> None:
    """The menus at a chapter's head; the one that leads elsewhere is there if the repository's address is known."""
    page = visits[theme].open("book/executed/seed_robustness.html", width=390)
    menus = page.locator(".article-header-buttons .dropdown:is(.dropdown-launch-buttons, .dropdown-download-buttons)")
    assert menus.count() == 1 + bool(os.environ.get("REPMATCH_REPOSITORY"))
    page.evaluate(AXE.read_text())
    for menu in menus.all():
        entries = menu.locator(".dropdown-menu a")
        menu.locator(".dropdown-toggle").focus()
        page.keyboard.press("Enter")
        for entry in entries.all():
            page.keyboard.press("ArrowDown")
            expect(entry).to_be_focused()
            expect(entry).to_be_in_viewport(ratio=1)
        assert page.evaluate(SIDEWAYS) == 0
        page.set_viewport_size({"width": 1280, "height": 900})
        assert findings(page, runOnly=["color-contrast"]) == []
        page.set_viewport_size({"width": 390, "height": 900})
        page.keyboard.press("Escape")
        expect(entries.first).to_be_hidden()
