"""The built book on a local server, and what a browser's page says and asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import yaml
from playwright.sync_api import Page, Request

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build/html"
# Under _static lie the theme's templates.
PAGES = [str(p.relative_to(SITE)) for p in sorted(SITE.rglob("*.html")) if "_static" not in p.relative_to(SITE).parts]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
ORDER = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
WIDTHS = (390, 1280, 1920)
THEMES = ("light", "dark")


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and keeps no log."""

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Visit:
    """A browser's page, and what it said and asked for since it was opened."""

    page: Page
    site: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("response", lambda answer: self._note(answer.url, answer.status))
        self.page.on("requestfailed", self._note_failure)

    def _note_failure(self, request: Request) -> None:
        """What a click cut short is no failure: the search reads pages for its excerpts until one is opened."""
        if request.failure != "net::ERR_ABORTED":
            self.failed.append(f"{request.url}: {request.failure}")

    def _note(self, url: str, status: int) -> None:
        if status >= 400:
            self.failed.append(f"{url}: {status}")

    def open(self, path: str, width: int = 1280, height: int = 900) -> Page:
        """Open a page of the site and wait until its formulas and fonts stand."""
        for seen in (self.said, self.asked, self.failed):
            seen.clear()
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.goto(f"{self.site}/{path}", wait_until="load")
        self.page.evaluate("Promise.all([document.fonts.ready, window.MathJax?.startup?.promise])")
        return self.page

    def turn(self, theme: str) -> None:
        """Change the colours at once, by the page's own switch, where it has one."""
        self.page.add_style_tag(content="* { transition: none !important; }")  # half a change has colours of its own
        switch = self.page.locator(".theme-switch-button:visible").first
        while self.page.evaluate("document.documentElement.dataset.theme ?? null") not in (theme, None):
            switch.evaluate("button => button.click()")  # no pointer over it, whose tooltip would fade in and out
