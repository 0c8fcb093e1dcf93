"""Looks at a page as it stands in a browser: what axe finds, and whether it fits its screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

Scheme = Literal["light", "dark"]
WIDE, NARROW, NARROWEST = 1440, 390, 320
# Each violation of some rules, or of all, with the first element that has it.
VIOLATIONS = """(rules) => axe.run({resultTypes: ['violations'], ...(rules && {runOnly: rules})}).then(
  (found) => found.violations.map((each) => `${each.id} (${each.nodes[0].target})`))"""
# The dark has the same page in other colours: what else is wrong with it is so in the light.
OF_COLOURS = ["color-contrast", "link-in-text-block"]
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def troubles_at(page: Page, widths: Sequence[int], schemes: Sequence[Scheme] = ("light",)) -> list[str]:
    """Return what is wrong with the page, each time with the scheme and the width; it is loaded no more.

    Between the widest and the narrowest it is asked only whether it fits.
    """
    wrong = []
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        for width in widths:
            page.set_viewport_size({"width": width, "height": 900})
            found = violations(page, scheme) if width in {min(widths), max(widths)} else []
            found += ["it scrolls sideways"] if page.evaluate(TOO_WIDE) else []
            wrong += [f"{page.url} {scheme} at {width}: {each}" for each in found]
    return wrong


def troubles_of(page: Page) -> list[str]:
    """Return what is wrong with the page at its present width and in its present scheme."""
    return violations(page) + (["it scrolls sideways"] if page.evaluate(TOO_WIDE) else [])


def violations(page: Page, scheme: Scheme = "light") -> list[str]:
    """Return the rules of accessibility that the page breaks, in the dark those of its colours."""
    if not page.evaluate("'axe' in window"):  # once a page: it is half a megabyte to read
        page.evaluate(AXE_SCRIPT)
    found: list[str] = page.evaluate(VIOLATIONS, OF_COLOURS if scheme == "dark" else None)
    return found
