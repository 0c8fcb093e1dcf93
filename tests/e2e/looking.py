"""Looks at a page as it stands in a browser: what axe finds, and whether it fits its screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

Scheme = Literal["light", "dark"]
WIDE, NARROW, NARROWEST = 1440, 390, 320
# Each violation with the first element that has it.
VIOLATIONS = """axe.run({resultTypes: ['violations']}).then(
  (found) => found.violations.map((each) => `${each.id} (${each.nodes[0].target})`))"""
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def troubles_at(page: Page, widths: Sequence[int], schemes: Sequence[Scheme] = ("light",)) -> list[str]:
    """Return what is wrong with the page, each time with the scheme and the width; it is loaded no more."""
    wrong = []
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        for width in widths:
            page.set_viewport_size({"width": width, "height": 900})
            wrong += [f"{page.url} {scheme} at {width}: {each}" for each in troubles_of(page)]
    return wrong


def troubles_of(page: Page) -> list[str]:
    """Return what is wrong with the page at its present width and in its present scheme."""
    if not page.evaluate("'axe' in window"):  # once a page: it is half a megabyte to read
        page.evaluate(AXE_SCRIPT)
    found: list[str] = page.evaluate(VIOLATIONS)
    return [*found, "it scrolls sideways"] if page.evaluate(TOO_WIDE) else found
