"""Every page in a real browser: accessible, light, within its policy, readable on a narrow screen."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.e2e.conftest import PASSWORD
from tests.e2e.looking import NARROW, NARROWEST, WIDE, Scheme
from tests.e2e.visits import Visit
from tests.gateways.servers import Server

pytestmark = [pytest.mark.django_db, pytest.mark.browser, pytest.mark.timeout(300)]

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
    "/teams/",
    "/teams/add/",
    "/teams/departments/add/",
    "/audit/",
    "/audit/?action=budget.",
    "/deliveries/",
    "/gateways/",
    "/webhooks/",
    "/providers/add/",
    "/quarantine/",
    "/quarantine/?state=booked",
)
LIGHT: tuple[Scheme, ...] = ("light",)
DARK: tuple[Scheme, ...] = ("dark",)


@pytest.mark.parametrize(
    ("who", "paths", "schemes"),
    [
        pytest.param("ben", BEN, LIGHT + DARK, id="ben"),
        pytest.param("ada", ADA, LIGHT, id="ada"),
        pytest.param("fay", FAY, LIGHT, id="fay"),
        pytest.param("ann", ANN, LIGHT, id="ann"),
        *(
            pytest.param(who, paths, DARK, id=f"{who}, dark", marks=pytest.mark.full)
            for who, paths in (("ada", ADA), ("fay", FAY), ("ann", ANN))
        ),
    ],
)
def test_every_page_is_accessible_light_and_fits_its_screen(
    demo: Server, browser: Browser, who: str, paths: tuple[str, ...], schemes: tuple[Scheme, ...]
) -> None:
    visit = Visit(browser, demo, who, schemes, password=PASSWORD)
    wrong: list[str] = []
    for path in paths:
        wrong += visit.weigh(path) + visit.see(WIDE, NARROW, NARROWEST)
    wrong += _details(visit) if who == "ben" else []
    wrong += _places(visit) if who in {"ada", "ben"} else []
    wrong += _price_forms(visit) if who == "ann" else []
    wrong += _move(visit) if who == "ann" else []
    wrong += _organisation(visit) if who == "ann" else []
    wrong += _set_aside(visit) if who == "ann" else []
    wrong += _rules(visit) if who == "ann" and "light" in schemes else []
    wrong += _more_budget(visit) if who == "ada" and "light" in schemes else []
    visit.context.close()
    assert wrong == []


def _details(visit: Visit) -> list[str]:
    """Look at the pages behind the lists: a request with its decision form, a budget and all its forms."""
    wrong = []
    for start, link in (("/approvals/", "[data-row]"), ("/budgets/", "main a[href*='/budgets/bdg_']")):
        visit.page.goto(start)
        address = visit.page.locator(link).first.get_attribute("href") or ""
        wrong += visit.look(address, WIDE, NARROW)
    budget = visit.page.url
    visit.page.get_by_role("link", name="Change the limit").click()
    wrong += visit.look(visit.page.url, NARROW)
    for form in BUDGET_FORMS:
        wrong += visit.look(budget + form, WIDE, NARROW)
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
        wrong += visit.weigh(address) + visit.see(WIDE, NARROW, NARROWEST)
    return wrong


def _move(visit: Visit) -> list[str]:
    """Look at the forms that move a project and a team, and at what they say before it is done."""
    wrong = []
    project, team = "main a[href*='/projects/prj_']", "main a[href*='/teams/tem_']"
    for field, way in (("Team", [project]), ("Department", [project, team])):
        visit.page.goto("/")
        for link in [*way, "main a[href$='/move/']"]:
            visit.page.goto(visit.page.locator(link).first.get_attribute("href") or "")
        form = visit.page.url
        wrong += visit.look(form, WIDE, NARROWEST)
        visit.page.get_by_label(field).select_option(index=1)
        visit.page.get_by_label("Why").fill("The team is split.")
        visit.page.get_by_role("button", name="See what it means").click()
        visit.page.get_by_role("heading", name="What happens").wait_for()
        wrong += visit.see(NARROWEST)
    return wrong


def _organisation(visit: Visit) -> list[str]:
    """Look at the forms that change a department, a team, its members and a project."""

    def first(link: str) -> str:
        return visit.page.locator(f"main a[href{link}]").first.get_attribute("href") or ""

    visit.page.goto("/teams/")
    team, project = first("*='/teams/tem_'"), first("*='/projects/prj_'")
    forms = [first("$='/rename/'")]
    forms += [f"{team}{form}/" for form in ("rename", "archive", "members/add", "projects/add")]
    forms += [f"{project}{form}/" for form in ("rename", "archive", "hand-over")]
    visit.page.goto(team)
    forms.append(first("*='/members/usr_'"))
    return [problem for form in forms for problem in visit.look(form, WIDE, NARROWEST)]


def _more_budget(visit: Visit) -> list[str]:
    """Ask for more of a budget, and look at the form and at the request."""
    visit.page.goto("/budgets/")
    address = visit.page.locator("main a[href*='/budgets/bdg_']").first.get_attribute("href") or ""
    form = f"/approvals{address}ask/"
    wrong = visit.look(form, WIDE, NARROWEST)
    visit.page.get_by_label("What should the limit be").fill("900000")
    visit.page.get_by_label("What is the money for").fill("A launch in December.")
    visit.page.get_by_role("button", name="Send the request").click()
    visit.page.get_by_text("Your request is sent.").wait_for()
    return wrong + visit.look(visit.page.url, WIDE, NARROWEST)


def _price_forms(visit: Visit) -> list[str]:
    """Look at the forms behind the list of models without a price."""
    wrong = []
    for name in ("Enter a price for", "Declare free"):
        visit.page.goto("/models/unpriced/")
        visit.page.get_by_role("link", name=name).first.click()
        wrong += visit.look(visit.page.url, WIDE, NARROW)
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
    wrong = visit.look(visit.page.url, WIDE, NARROWEST)
    visit.page.get_by_label("Days that are asked for").fill("10")
    visit.page.get_by_label("Most days").fill("10")
    visit.page.get_by_label("Why do the rules change").fill("Access was too long.")
    visit.page.get_by_role("button", name="See what it would have done").click()
    visit.page.get_by_role("button", name="Propose this change").click()
    visit.page.get_by_text("It is proposed.").wait_for()
    return wrong + visit.look(visit.page.url, WIDE, NARROWEST)


def test_the_pages_work_without_javascript(demo: Server, browser: Browser) -> None:
    context = browser.new_context(base_url=demo.url, java_script_enabled=False)
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
