"""Every page in a real browser: accessible, light, within its policy, readable on a narrow screen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.management import call_command
from django.test import override_settings
from playwright.sync_api import Browser, Page

from tests import factories
from tests.e2e.conftest import PASSWORD
from tests.gateways.servers import ROOT, Server, portal_server
from tests.usage.books import set_aside

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.browser,
    pytest.mark.xdist_group("pages"),
    pytest.mark.timeout(300),
]

MOST_BYTES, MOST_REQUESTS = 60_000, 8
MOST_BYTES_OF = {"Script": 25_000, "Stylesheet": 12_000}
BEN = (
    "/",
    "/?view=daily",
    "/models/",
    "/approvals/",
    "/keys/",
    "/approvals/delegations/",
    "/approvals/together/",
    "/keys/tokens/services/",
    "/approvals/review/",
    "/keys/new/",
    "/budgets/",
    "/budgets/?scope=project&window=month",
    "/budgets/open/",
    "/blocked/?p=30d",
    "/reports/",
    "/audit/",
    "/notifications/",
    "/status/",
    "/developers/",
    "/search/?q=search",
)
ADA = ("/approvals/ask/", "/approvals/break-glass/", "/approvals/?tab=team", "/keys/", "/blocked/?code=none")
BUDGET_FORMS = ("plan/", "top-up/", "rules/", "close/", "rate/")
BOOKS = ("/sources/", "/providers/", "/invoices/", "/invoices/upload/")
FAY = (
    "/",
    "/reconciliation/",
    "/reconciliation/periods/",
    "/sources/",
    "/providers/",
    "/invoices/",
    "/invoices/upload/",
    "/quarantine/",
    "/reports/",
    "/budgets/",
    "/blocked/?p=24h",
)
ANN = (
    "/models/",
    "/models/unpriced/",
    "/models/?compare=gpt-4o&compare=gpt-4o-mini&compare=claude-opus-5&compare=gemini-2.5-pro",
    "/prices/",
    "/prices/?change=coming",
    "/prices/import/",
    "/prices/repricings/",
    "/prices/repricings/new/",
    "/approvals/policies/",
    "/audit/",
    "/audit/?action=budget.",
    "/deliveries/",
    "/webhooks/",
    "/providers/add/",
    "/quarantine/",
    "/quarantine/?state=booked",
)
# The web process knows these only; the tests' own process has fast ones.
REAL_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
WIDE, NARROW, NARROWEST = 1440, 390, 320


@pytest.fixture
def portal(transactional_db: None, tmp_path: Path) -> Iterator[Server]:
    """Return the portal's web process on the demo organisation."""
    for number in (2, 3):  # another test may have emptied the tables that the migrations filled
        factories.policy_of(factories.tier(number))
    factories.tier(1)
    with override_settings(PASSWORD_HASHERS=REAL_HASHERS):
        call_command("seed_demo", verbosity=0, password=PASSWORD, sign_ins=tmp_path / "sign-ins.txt")
    factories.UnpricedCallFactory.create(model__name="unpriced-model", calls=12)
    for call in ("call-1", "call-2", "call-3"):
        set_aside("gw_gone", call)
    server = portal_server(log=tmp_path / "web.log")
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "-v", "0"],
        cwd=ROOT,
        env={**os.environ, **server.environment},
        check=True,
    )
    server.start()
    yield server
    server.stop()


class Visit:
    """One person's look at pages; notes what the browser complains about and what it loads."""

    def __init__(self, browser: Browser, portal: Server, who: str, scheme: str) -> None:
        self.context = browser.new_context(base_url=portal.url, color_scheme=scheme)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.troubles: list[str] = []
        self.page.on(
            "console", lambda message: self.troubles.append(message.text) if message.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self._sign_in(who)

    def look(self, path: str, width: int) -> list[str]:
        """Open a page and return everything that is wrong with it."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.goto(path)
        self.page.wait_for_load_state("networkidle")
        where = f"{path} at {width}"
        found = Axe().run(self.page)
        wrong = [f"{where}: {violation['id']}" for violation in found.response["violations"]]
        if self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wrong.append(f"{where}: scrolls sideways")
        wrong += [f"{where}: {trouble}" for trouble in self.troubles]
        self.troubles.clear()
        return wrong

    def weigh(self, path: str) -> list[str]:
        """Open a page with an empty cache and return what is too much."""
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
        self.page.wait_for_load_state("networkidle")
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

    def _sign_in(self, who: str) -> None:
        self.page.goto("/accounts/login/")
        self.page.get_by_label("mail").fill(f"{who}@northwind.example")
        self.page.get_by_label("password").first.fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("navigation", name="Main").wait_for(state="attached")


@pytest.mark.parametrize(
    ("who", "paths", "scheme"),
    [
        ("ben", BEN, "light"),
        ("ben", BEN, "dark"),
        ("ada", ADA, "light"),
        ("fay", FAY, "light"),
        ("ann", ANN, "light"),
        *(
            pytest.param(who, paths, "dark", marks=pytest.mark.full)
            for who, paths in (("ada", ADA), ("fay", FAY), ("ann", ANN))
        ),
    ],
)
def test_every_page_is_accessible_light_and_fits_its_screen(
    portal: Server, browser: Browser, who: str, paths: tuple[str, ...], scheme: str
) -> None:
    visit = Visit(browser, portal, who, scheme)
    wrong: list[str] = []
    for path in paths:
        widths = (WIDE, NARROW) if scheme == "dark" else (WIDE, NARROW, NARROWEST)
        wrong += [problem for width in widths for problem in visit.look(path, width)]
        wrong += visit.weigh(path) if scheme == "light" else []
    wrong += _details(visit) if who == "ben" else []
    wrong += _places(visit) if who in {"ada", "ben"} else []
    wrong += _price_forms(visit) if who == "ann" else []
    wrong += _move(visit) if who == "ann" else []
    wrong += _set_aside(visit) if who == "ann" else []
    wrong += _rules(visit) if who == "ann" and scheme == "light" else []
    wrong += _more_budget(visit) if who == "ada" and scheme == "light" else []
    visit.context.close()
    assert wrong == []


def _details(visit: Visit) -> list[str]:
    """Look at the pages behind the lists: a request with its decision form, a budget and all its forms."""
    wrong = []
    for start, link in (("/approvals/", "[data-row]"), ("/budgets/", "main a[href*='/budgets/bdg_']")):
        visit.page.goto(start)
        address = visit.page.locator(link).first.get_attribute("href") or ""
        wrong += visit.look(address, WIDE) + visit.look(address, NARROW)
    budget = visit.page.url
    visit.page.get_by_role("link", name="Change the limit").click()
    wrong += visit.look(visit.page.url, NARROW)
    for form in BUDGET_FORMS:
        wrong += visit.look(budget + form, WIDE) + visit.look(budget + form, NARROW)
    return wrong


def _places(visit: Visit) -> list[str]:
    """Go from the Overview to a project, to its team, and as its lead to the statement of the month."""
    wrong = []
    links = ["main a[href*='/projects/prj_']", "main a[href*='/teams/tem_']", "main a[href*='/reports/tem_']"]
    visit.page.goto("/")
    for link in links:
        found = visit.page.locator(link)
        if not found.count():  # a member has no statement
            break
        address = found.first.get_attribute("href") or ""
        wrong += visit.look(address, WIDE) + visit.look(address, NARROW) + visit.look(address, NARROWEST)
        wrong += visit.weigh(address)
    return wrong


def _move(visit: Visit) -> list[str]:
    """Look at the form that moves a project, and at what it says before it is done."""
    visit.page.goto("/")
    address = visit.page.locator("main a[href*='/projects/prj_']").first.get_attribute("href") or ""
    wrong = visit.look(f"{address}move/", WIDE) + visit.look(f"{address}move/", NARROWEST)
    visit.page.get_by_label("Team").select_option(index=1)
    visit.page.get_by_label("Why").fill("The team is split.")
    visit.page.get_by_role("button", name="See what it means").click()
    visit.page.get_by_role("heading", name="What happens").wait_for()
    return wrong + [f"move: {violation['id']}" for violation in Axe().run(visit.page).response["violations"]]


def _more_budget(visit: Visit) -> list[str]:
    """Ask for more of a budget, and look at the form and at the request."""
    visit.page.goto("/budgets/")
    address = visit.page.locator("main a[href*='/budgets/bdg_']").first.get_attribute("href") or ""
    form = f"/approvals{address}ask/"
    wrong = visit.look(form, WIDE) + visit.look(form, NARROWEST)
    visit.page.get_by_label("What should the limit be").fill("900000")
    visit.page.get_by_label("What is the money for").fill("A launch in December.")
    visit.page.get_by_role("button", name="Send the request").click()
    visit.page.get_by_text("Your request is sent.").wait_for()
    return wrong + visit.look(visit.page.url, WIDE) + visit.look(visit.page.url, NARROWEST)


def _price_forms(visit: Visit) -> list[str]:
    """Look at the forms behind the list of models without a price."""
    wrong = []
    for name in ("Enter a price for", "Declare free"):
        visit.page.goto("/models/unpriced/")
        visit.page.get_by_role("link", name=name).first.click()
        wrong += visit.look(visit.page.url, WIDE) + visit.look(visit.page.url, NARROW)
    return wrong


def _set_aside(visit: Visit) -> list[str]:
    """Look at a row that could not be booked and at both of its forms, then dismiss it."""
    visit.page.goto("/quarantine/")
    visit.page.locator("main a[href*='/quarantine/qrn_']").first.click()
    row = visit.page.url
    wrong = [problem for form in ("", "assign/", "dismiss/") for problem in visit.look(row + form, NARROWEST)]
    visit.page.get_by_label("Why is it not booked").fill("A test call of the gateway's operator.")
    visit.page.get_by_role("button", name="Dismiss the row").click()
    visit.page.get_by_text("The row is dismissed.").wait_for()
    return wrong + visit.look(row, WIDE)


def _rules(visit: Visit) -> list[str]:
    """Change the rules of a tier: look at the form, at what it would have done, and at the proposal."""
    visit.page.goto("/approvals/policies/")
    visit.page.get_by_role("link", name="Change").first.click()
    wrong = visit.look(visit.page.url, WIDE) + visit.look(visit.page.url, NARROWEST)
    visit.page.get_by_label("Days that are asked for").fill("10")
    visit.page.get_by_label("Most days").fill("10")
    visit.page.get_by_label("Why do the rules change").fill("Access was too long.")
    visit.page.get_by_role("button", name="See what it would have done").click()
    visit.page.get_by_role("button", name="Propose this change").click()
    visit.page.get_by_text("It is proposed.").wait_for()
    return wrong + visit.look(visit.page.url, WIDE) + visit.look(visit.page.url, NARROWEST)


def test_the_pages_work_without_javascript(portal: Server, browser: Browser) -> None:
    context = browser.new_context(base_url=portal.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/accounts/login/")
    page.get_by_label("mail").fill("ben@northwind.example")
    page.get_by_label("password").first.fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.goto("/approvals/")
    page.locator("[data-row]").first.click()
    page.get_by_label("Comment").fill("")
    page.get_by_role("button", name="Deny").click()
    assert page.title().startswith("Error:")
    page.get_by_role("button", name="Approve").click()
    assert "approved" in page.locator("main").inner_text().lower()
    context.close()
