"""What every look at a page relies on: the browser's tools notice what they are there for."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.e2e.looking import NARROW, NARROWEST, WIDE, troubles_at

pytestmark = pytest.mark.browser

# A picture without words, a line wider than 400 pixels, and a grey that can be read by day alone.
PAGE = """
<!doctype html><html lang="en"><title>A page</title><main><h1>A page</h1><img src="data:,">
<p style="width: 400px; margin: 0">A line</p>
<style>
  body { background: light-dark(#fff, #555); color: #444; color-scheme: light dark; margin: 0 }
</style></main>
"""


def test_control_what_is_wrong_with_a_page_is_found(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(PAGE)

    light, dark = (troubles_at(page, (NARROWEST, NARROW, WIDE), (scheme,)) for scheme in ("light", "dark"))

    page.close()
    everywhere = {f"{width}: image-alt" for width in (320, 390, 1440)}
    sideways = {f"{width}: it scrolls sideways" for width in (320, 390)}
    found_in_light, found_in_dark = (
        {line.split(" at ")[1].split(" (")[0] for line in lines} for lines in (light, dark)
    )
    assert found_in_light == everywhere | sideways
    assert found_in_dark - found_in_light == {f"{width}: color-contrast" for width in (320, 390, 1440)}
