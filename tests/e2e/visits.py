"""One person's look at the pages of the demo organisation: what is wrong with each, and what it weighs."""

from __future__ import annotations

from collections.abc import Sequence

from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.e2e.looking import NARROW, NARROWEST, WIDE, Scheme, troubles_at
from tests.gateways.servers import Server

MOST_BYTES, MOST_REQUESTS = 60_000, 8
MOST_BYTES_OF = {"Script": 25_000, "Stylesheet": 12_000}
# The dark is the same table of colours on any phone.
NARROWEST_IN_THE_DARK = NARROW


class Visit:
    """Somebody signed in; notes what the browser complains about and what it loads."""

    def __init__(
        self, browser: Browser, portal: Server, who: str, schemes: Sequence[Scheme], *, password: str
    ) -> None:
        self.context = browser.new_context(base_url=portal.url, color_scheme=schemes[0])
        self.schemes = schemes
        self.page: Page = self.context.new_page()
        self._troubles: list[str] = []
        self.page.on(
            "console", lambda said: self._troubles.append(said.text) if said.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self._troubles.append(str(error)))
        self._sign_in(who, password)

    def look(self, path: str, *widths: int) -> list[str]:
        """Open a page and return everything that is wrong with it at these widths."""
        self.page.goto(path)
        return self.see(*widths)

    def see(self, *widths: int) -> list[str]:
        """Return everything that is wrong with the page as it stands, and what it said to the console."""
        wrong = []
        for scheme in self.schemes:
            least = NARROWEST if scheme == "light" else NARROWEST_IN_THE_DARK
            wrong += troubles_at(self.page, sorted({max(width, least) for width in widths}), (scheme,))
        self.page.set_viewport_size({"width": WIDE, "height": 900})
        wrong += [f"{self.page.url}: {trouble}" for trouble in self._troubles]
        self._troubles.clear()
        return wrong

    def weigh(self, path: str) -> list[str]:
        """Open a page with an empty cache and return what is too much."""
        self.page.goto("about:blank")  # or the end of the page before would be counted too
        session = self.context.new_cdp_session(self.page)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        kinds: dict[str, str] = {}
        sizes: dict[str, float] = {}
        session.on(
            "Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]})
        )
        session.on(
            "Network.loadingFinished",
            lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}),
        )
        self.page.goto(path)
        session.detach()
        wrong = []
        if sum(sizes.values()) > MOST_BYTES:
            wrong.append(f"{path}: {sum(sizes.values()):.0f} bytes")
        for kind, most in MOST_BYTES_OF.items():
            size = sum(size for number, size in sizes.items() if kinds.get(number) == kind)
            if not 0 < size <= most:
                wrong.append(f"{path}: {size:.0f} bytes of {kind}")
        if len(sizes) > MOST_REQUESTS:
            wrong.append(f"{path}: {len(sizes)} requests")
        return wrong

    def _note(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self._troubles.append(said.text)

    def _sign_in(self, who: str, password: str) -> None:
        self.page.goto("/accounts/login/")
        self.page.get_by_label("mail").fill(f"{who}@northwind.example")
        self.page.get_by_label("password").first.fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("navigation", name="Main").wait_for(state="attached")
