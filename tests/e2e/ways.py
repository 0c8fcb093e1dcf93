"""The ways in which people use the pages: a wide screen, a phone, no JavaScript, no mouse.

What a page does wrong on the way is noted: its console, its policy, failed requests, axe, its width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect

from teams.models import User
from tests.e2e.looking import TOO_WIDE, troubles_of

MOST_TABS = 150
# Chromium logs every answer of 4xx; these are the ones that the journeys mean to see.
EXPECTED_ANSWERS = ("status of 409", "status of 412", "status of 422")
LOG_VIOLATIONS = """document.addEventListener('securitypolicyviolation', (event) =>
  console.error('CSP: ' + event.violatedDirective + ' ' + event.blockedURI))"""
FOCUSED = "element => element === document.activeElement"
# Tab leads to one of several radio buttons, and arrows to the others.
AMONG = "one => document.activeElement.name === one.name && document.activeElement.form === one.form"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How somebody looks at the pages, and with what."""

    name: str
    width: int = 1440
    script: bool = True
    keyboard: bool = False

    @property
    def touches(self) -> bool:
        """Whether it is a phone."""
        return self.width < 600


WIDE = Way(name="wide")
PHONE = Way(name="phone", width=390)
NO_SCRIPT = Way(name="no-script", script=False)
KEYBOARD = Way(name="keyboard", keyboard=True)
PHONE_NO_SCRIPT = Way(name="phone-no-script", width=390, script=False)
KEYBOARD_NO_SCRIPT = Way(name="keyboard-no-script", keyboard=True, script=False)
WAYS = (WIDE, PHONE, NO_SCRIPT, KEYBOARD, PHONE_NO_SCRIPT, KEYBOARD_NO_SCRIPT)


class Traveller:
    """Somebody signed in, who goes one way."""

    def __init__(self, browser: Browser, user: User, way: Way, *, base_url: str, password: str) -> None:
        self.way = way
        self.troubles: list[str] = []
        self.context = browser.new_context(
            base_url=base_url,
            viewport={"width": way.width, "height": 900},
            java_script_enabled=way.script,
            has_touch=way.touches,
            locale="en-US",
        )
        self.context.set_default_timeout(10_000)
        self.page: Page = self.context.new_page()
        self.page.add_init_script(LOG_VIOLATIONS)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("requestfailed", self._note_failure)
        self.open("/accounts/login/")
        self.write("mail", user.email)
        self.write("password", password)
        self.press("button", "Sign in", exact=True)
        expect(self.page.get_by_role("navigation", name="Main", include_hidden=True)).to_be_attached()

    def open(self, path: str) -> None:
        """Enter an address."""
        self.page.goto(path)

    def press(self, role: Any, name: str, *, exact: bool = False) -> None:
        """Press a button or follow a link."""
        target = self.page.get_by_role(role, name=name, exact=exact).first
        if self.way.keyboard:
            self._tab_to(target)
            self.page.keyboard.press("Enter")
        elif self.way.touches:
            target.tap()
        else:
            target.click()

    def write(self, label: str, text: str) -> None:
        """Fill a field."""
        target = self.page.get_by_label(label).first
        if not self.way.keyboard:
            target.fill(text)
            return
        self._tab_to(target)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(_as_typed(target, text))

    def choose(self, label: str) -> None:
        """Check a box or one of several."""
        target = self.page.get_by_label(label).first
        if self.way.keyboard:
            self._tab_to(target, reached=AMONG if target.get_attribute("type") == "radio" else FOCUSED)
            for _ in range(MOST_TABS):
                if target.evaluate(FOCUSED):
                    break
                self.page.keyboard.press("ArrowDown")
            self.page.keyboard.press("Space")
        else:
            target.check()
        expect(target).to_be_checked()

    def reads(self, *texts: str) -> None:
        """Find each text on the page, and look at the page as a whole."""
        for text in texts:
            expect(self.page.get_by_text(text).locator("visible=true").first).to_be_visible()
        self.page.wait_for_load_state()
        where = f"{self.page.url} ({self.way.name})"
        if self.way.script:  # axe is a script itself; without any the page is the same
            self.troubles += [f"{where}: {each}" for each in troubles_of(self.page)]
        elif self.page.evaluate(TOO_WIDE):
            self.troubles.append(f"{where}: it scrolls sideways")

    def leave(self) -> None:
        """End; nothing was wrong on the way."""
        self.context.close()
        assert self.troubles == [], self.troubles

    def _tab_to(self, target: Locator, *, reached: str = FOCUSED) -> None:
        """Press Tab until the target has the focus; what cannot be reached so is no control."""
        target.wait_for()
        for _ in range(MOST_TABS):
            if target.evaluate(reached):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"{self.page.url}: {target} cannot be reached by Tab")

    def _note_failure(self, request: Request) -> None:
        """A request that the next page broke off is no trouble."""
        if request.failure != "net::ERR_ABORTED":
            self.troubles.append(f"{request.failure}: {request.url}")

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(answer in message.text for answer in EXPECTED_ANSWERS):
            self.troubles.append(f"{self.page.url}: {message.text}")


def _as_typed(field: Locator, text: str) -> str:
    """Return what is typed into a field: a date in the order of its parts."""
    if field.get_attribute("type") != "date":
        return text
    year, month, day = text.split("-")
    return f"{month}{day}{year}"
