"""The pages of one key and of API tokens in a real browser, and a rotation without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from keys.secrets import API_TOKEN_PATTERN, TOKEN_PATTERN
from tests.e2e.conftest import PASSWORD
from tests.e2e.looking import NARROWEST, WIDE
from tests.e2e.visits import Visit
from tests.gateways.servers import Server

pytestmark = [pytest.mark.django_db, pytest.mark.browser, pytest.mark.timeout(300)]
FORMS = ("rotate/", "rename/", "revoke/")
KEY = "search-rank production"


@pytest.fixture
def page(demo: Server, browser: Browser) -> Iterator[Page]:
    """Ada's page, without JavaScript."""
    context = browser.new_context(base_url=demo.url, java_script_enabled=False)
    opened = context.new_page()
    opened.goto("/accounts/login/")
    opened.get_by_label("mail").fill("ada@northwind.example")
    opened.get_by_label("password").first.fill(PASSWORD)
    opened.get_by_role("button", name="Sign in").click()
    yield opened
    context.close()


def test_pages_of_a_key_and_of_tokens_are_accessible_and_fit(demo: Server, browser: Browser) -> None:
    visit = Visit(browser, demo, "ada", ("light", "dark"), password=PASSWORD)
    visit.page.goto("/keys/")
    key = visit.page.get_by_role("link", name=KEY, exact=True).get_attribute("href") or ""
    visit.page.goto(key)
    grants = [
        visit.page.get_by_role("link", name=name).first.get_attribute("href") or ""
        for name in ("Less Tier 2", "End Tier 2")
    ]
    forms = [*(f"{key}{form}" for form in FORMS), *grants, "/keys/tokens/new/"]
    wrong = [each for path in forms for each in visit.look(path, WIDE, NARROWEST)]
    for path in (key, "/keys/tokens/"):
        wrong += visit.weigh(path) + visit.see(WIDE, NARROWEST)
    visit.context.close()
    assert wrong == []


def test_pages_of_stopped_keys_and_of_plans_are_accessible_and_fit(demo: Server, browser: Browser) -> None:
    wrong: list[str] = []
    for person, name, forms in (
        ("grace", "triage notebook", ("", "resume/")),
        ("ben", KEY, ("", "suspend/", "plan/")),
    ):
        visit = Visit(browser, demo, person, ("light", "dark"), password=PASSWORD)
        visit.page.goto("/keys/?tab=team")
        key = visit.page.get_by_role("link", name=name, exact=True).get_attribute("href") or ""
        wrong += [each for form in forms for each in visit.look(f"{key}{form}", WIDE, NARROWEST)]
        visit.context.close()
    assert wrong == []


def test_a_key_is_rotated_without_javascript(page: Page) -> None:
    page.goto("/keys/")
    page.get_by_role("link", name=KEY, exact=True).click()
    page.get_by_role("link", name="Rotate").click()
    page.get_by_label("The present secret then goes on for").select_option("7 days")
    page.get_by_role("button", name="Go on to the new secret").click()
    page.get_by_role("button", name="Show the secret once").click()
    assert len(set(secrets(page, TOKEN_PATTERN))) == 1
    page.get_by_role("link", name="I have stored it").click()
    page.get_by_role("link", name=KEY, exact=True).click()
    page.get_by_role("link", name="End the older one now").click()
    page.get_by_role("button", name="End the older secret").click()
    assert "Two secrets are good" not in page.locator("main").inner_text()
    assert secrets(page, TOKEN_PATTERN) == []


def test_an_api_token_is_made_by_keyboard_alone(page: Page) -> None:
    page.goto("/keys/tokens/new/")
    page.get_by_role("textbox", name="Name").focus()
    page.keyboard.type("monthly report")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Show the secret once").focus()
    page.keyboard.press("Enter")
    page.get_by_text("This is the only time that you see it.").wait_for()
    assert len(set(secrets(page, API_TOKEN_PATTERN))) == 1


def secrets(page: Page, pattern: str) -> list[str]:
    return re.findall(pattern, page.content())
