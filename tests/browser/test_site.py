"""Finding one's way through the book, and how heavy it is."""

import re
from collections.abc import Callable

import pytest
from built import ORDER, SITE, Visit
from playwright.sync_api import BrowserContext, expect


@pytest.fixture
def cover(visits: dict[str, Visit]) -> Visit:
    """The cover in light colours, on a laptop."""
    visits["light"].open(f"{ORDER[0]}.html")
    return visits["light"]


def test_search_finds_grassmann_and_opens_it(cover: Visit) -> None:
    page = cover.page
    page.locator("button.search-button__button:visible").first.click()
    page.locator("input[name=q]:visible").fill("Grassmann")
    page.keyboard.press("Enter")
    found = page.locator("#search-results li a").first
    expect(page.locator("#search-results")).to_contain_text("Grassmann")
    found.click()
    expect(page.locator("article.bd-article")).to_contain_text("Grassmann")
    assert "/search.html" not in page.url
    assert not cover.said and not cover.failed


def test_next_and_previous_go_through_the_book(cover: Visit) -> None:
    page = cover.page
    for turn, names in (("a.right-next", ORDER[1:4]), ("a.left-prev", ORDER[2:0:-1])):
        for name in names:
            page.locator(turn).click()
            expect(page).to_have_url(f"{cover.site}/{name}.html")


def test_sidebar_leads_to_every_page(cover: Visit) -> None:
    links = cover.page.locator(".bd-sidebar-primary a.internal").evaluate_all("links => links.map(a => a.href)")
    assert [f"{cover.site}/{name}.html" for name in ORDER[1:]] == links[-len(ORDER) + 1 :]
    cover.page.locator(f".bd-sidebar-primary a[href*='{ORDER[-1].rpartition('/')[2]}']").click()
    expect(cover.page).to_have_url(f"{cover.site}/{ORDER[-1]}.html")
    expect(cover.page.locator("h1").last).to_be_visible()


def test_sidebar_opens_on_a_phone(visits: dict[str, Visit]) -> None:
    page = visits["light"].open(f"{ORDER[0]}.html", width=390)
    link = page.locator(f".bd-sidebar-primary a[href*='{ORDER[1].rpartition('/')[2]}']").first
    expect(link).not_to_be_in_viewport()
    page.locator("button.primary-toggle").click()
    link.click()
    expect(page).to_have_url(re.compile(ORDER[1]))


def test_theme_switch_changes_the_ground(cover: Visit) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = cover.page.evaluate(ground)
    for mode in ("auto", "dark"):
        cover.page.locator(".theme-switch-button:visible").first.click()
        cover.page.wait_for_function(f"document.documentElement.dataset.mode === '{mode}'")
    cover.page.wait_for_function(f"{ground} !== '{before}'")


def test_markup_that_gets_into_a_page_does_not_run(cover: Visit) -> None:
    page = cover.open("book/index.html")
    put = """kind => { const made = document.createElement('div'); document.body.append(made);
        made.innerHTML = kind === 'handler' ? '<img src="x:" onerror="window.ran = true">' : '';
        if (kind === 'script') { const script = document.createElement('script');
            script.textContent = 'window.ran = true'; made.append(script); } }"""
    for kind in ("handler", "script"):
        page.evaluate(put, kind)
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran ?? false") is False
    assert all("Content Security Policy" in said for said in cover.said) and len(cover.said) >= 2


def test_site_is_light() -> None:
    assert sum(file.stat().st_size for file in SITE.rglob("*") if file.is_file()) < 25e6


def test_cover_is_light(context: Callable[..., BrowserContext], site: str) -> None:
    """Without compression, so that it holds on any server."""
    page, sizes = context().new_page(), []
    wire = page.context.new_cdp_session(page)
    wire.on("Network.loadingFinished", lambda done: sizes.append(done["encodedDataLength"]))
    wire.send("Network.enable")
    page.goto(f"{site}/{ORDER[0]}.html", wait_until="networkidle")
    assert len(sizes) > 5 and sum(sizes) < 1e6
