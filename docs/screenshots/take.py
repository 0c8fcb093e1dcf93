"""Takes the pictures of this directory from demo data: `make screenshots`. Each is at most 150 KB."""

import io
import shutil
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from django.core.management import call_command
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Page, ViewportSize, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.environment import portal, services

HERE = Path(__file__).parent
PASSWORD = "only for these pictures"  # noqa: S105
MOST_BYTES = 150_000
MOST_PIXELS = 1_700
DESKTOP: ViewportSize = {"width": 1440, "height": 900}
MOBILE: ViewportSize = {"width": 390, "height": 844}


class Picture(NamedTuple):
    """What is pictured: who looks at which address, follows which link, on what screen, in which colours."""

    name: str
    who: str | None
    path: str
    link: str | None
    screen: ViewportSize
    scheme: Literal["light", "dark"]


PICTURES = [
    Picture("overview", "ben", "/", None, DESKTOP, "light"),
    Picture("overview-dark", "ben", "/", None, DESKTOP, "dark"),
    Picture("overview-mobile", "ben", "/", None, MOBILE, "light"),
    Picture("approvals", "ben", "/approvals/", "[data-row]", DESKTOP, "light"),
    Picture("approvals-mobile-dark", "ben", "/approvals/", "[data-row]", MOBILE, "dark"),
    Picture("ask", "ada", "/approvals/ask/", None, DESKTOP, "light"),
    Picture("models", "ada", "/models/", None, DESKTOP, "light"),
    Picture("keys", "ada", "/keys/", None, DESKTOP, "light"),
    Picture("key", "ada", "/keys/", "main a[href*='/keys/key_']", DESKTOP, "light"),
    Picture("budgets", "ben", "/budgets/", None, DESKTOP, "light"),
    Picture("reconciliation", "fay", "/reconciliation/", None, DESKTOP, "light"),
    Picture("status", "ben", "/status/", None, MOBILE, "light"),
    Picture("sign-in", None, "/accounts/login/", None, MOBILE, "light"),
]


def main() -> None:
    """Start a portal of its own on demo data and take every picture."""
    with services():
        call_command("seed_demo", verbosity=0, password=PASSWORD)
        with portal(workers=1) as port, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            for picture in PICTURES:
                _take(browser, f"http://127.0.0.1:{port}", picture)
            browser.close()


def _take(browser: Browser, base_url: str, wanted: Picture) -> None:
    context = browser.new_context(base_url=base_url, viewport=wanted.screen, color_scheme=wanted.scheme)
    page = context.new_page()
    if wanted.who:
        _sign_in(page, wanted.who)
    page.goto(wanted.path)
    if wanted.link:
        page.locator(wanted.link).first.click()
        page.wait_for_load_state("networkidle")
    picture = (
        page.screenshot(full_page=True, clip=_shown(page)) if wanted.screen is DESKTOP else page.screenshot()
    )
    context.close()
    _save(wanted.name, picture)


def _shown(page: Page) -> FloatRect:
    """Return the page down to where a picture of it would be too long to look at."""
    height = page.evaluate("document.documentElement.scrollHeight")
    return {"x": 0, "y": 0, "width": DESKTOP["width"], "height": min(height, MOST_PIXELS)}


def _sign_in(page: Page, who: str) -> None:
    page.goto("/accounts/login/")
    page.get_by_label("mail").fill(f"{who}@northwind.example")
    page.get_by_label("password").first.fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_load_state("networkidle")


def _save(name: str, picture: bytes) -> None:
    """Reduce the colours until the file fits; flat pages lose nothing that one could see."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64, 32):
        buffer = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    else:
        raise ValueError(f"{name} does not fit into {MOST_BYTES} bytes")
    (HERE / f"{name}.png").write_bytes(buffer.getvalue())
    print(f"{name}.png  {buffer.tell() // 1000} KB, {colours} colours")


main()
