"""The built book in Chromium: a local server, one browser, one page a theme."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from threading import Thread

import pytest
from built import PAGES, SITE, THEMES, Quiet, Visit
from playwright.sync_api import Browser, BrowserContext, sync_playwright


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Address of a server of the built book."""
    assert PAGES, "no built book: run 'make book' first"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; without one these tests are skipped, or fail where REPMATCH_BROWSER=required."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        stop = pytest.fail if os.environ.get("REPMATCH_BROWSER") == "required" else pytest.skip
        stop("no Chromium on this machine: the built book was not tried in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """``context("dark")``: a new context with that theme chosen."""
    made = []

    def new(theme: str = "light") -> BrowserContext:
        made.append(browser.new_context())
        made[-1].set_default_timeout(60_000)
        made[-1].add_init_script(f"for (const k of ['mode', 'theme']) localStorage.setItem(k, '{theme}')")
        return made[-1]

    yield new
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def visits(context: Callable[..., BrowserContext], site: str) -> dict[str, Visit]:
    """A page for each theme, opened once and used for all."""
    return {theme: Visit(context(theme).new_page(), site) for theme in THEMES}
