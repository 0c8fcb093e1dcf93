"""Sign-in in a real browser: a passkey is made and used, and every page of it is accessible and fits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect

from teams.services import rename_person
from tests import factories
from tests.cast import Cast, make_cast
from tests.e2e.conftest import PASSWORD, with_password
from tests.e2e.looking import NARROW, NARROWEST, WIDE, Scheme, troubles_at
from tests.gateways.servers import Server, portal_server
from tests.signing import sign_in

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.browser,
    pytest.mark.timeout(300),
]
WIDTHS = (WIDE, NARROW, NARROWEST)
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def organisation(clean_books: None) -> Cast:
    """Make the cast; Ben and Ann have a password that the web process can check."""
    cast = make_cast()
    for person in (cast.ben, cast.ann):
        with_password(person)
    return cast


@pytest.fixture(scope="module")
def portal(
    django_db_setup: None, static_files: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Return a portal that insists on second factors."""
    server = portal_server(log=tmp_path_factory.mktemp("portal") / "web.log", MFA_REQUIRED="true")
    server.start()
    yield server
    server.stop()


def visit(browser: Browser, portal: Server, troubles: list[str]) -> tuple[BrowserContext, Page]:
    """Open a browser with a passkey device of its own."""
    context = browser.new_context(base_url=portal_address(portal))
    page = context.new_page()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    session = context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return context, page


def portal_address(portal: Server) -> str:
    """Return the address under a name: browsers give passkeys to names alone."""
    return f"http://localhost:{portal.port}"


def look(page: Page) -> list[str]:
    """Return what is wrong with the page as it stands: light and dark, wide and narrow."""
    wrong = troubles_at(page, WIDTHS, SCHEMES)
    take_pictures(page)
    page.set_viewport_size({"width": WIDE, "height": 900})
    return wrong


def take_pictures(page: Page) -> None:
    """Keep pictures where PICTURES names a directory, for a person to look at."""
    directory = os.environ.get("PICTURES")
    if not directory:
        return
    name = re.sub(r"[^a-z0-9]+", "-", page.url.split("/", 3)[3].lower()).strip("-")
    for scheme, width in product(SCHEMES, WIDTHS):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=Path(directory) / f"{name}-{scheme}-{width}.png", full_page=True)


def test_a_lead_sets_up_a_passkey_and_signs_in_with_it(
    portal: Server, organisation: Cast, browser: Browser
) -> None:
    troubles: list[str] = []
    wrong: list[str] = []
    context, page = visit(browser, portal, troubles)
    page.goto("/")
    wrong += look(page)
    page.get_by_label("mail").fill(organisation.ben.email)
    page.get_by_label("password").first.fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Set up a second factor first")).to_be_visible()
    page.goto("/approvals/")
    expect(page.get_by_role("heading", name="Set up a second factor first")).to_be_visible()
    wrong += look(page)

    page.get_by_role("link", name="Set up an app").click()
    wrong += look(page)
    page.goto("/accounts/2fa/webauthn/add/")
    wrong += look(page)
    expect(page.get_by_label("Sign in with it alone")).to_be_checked()
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    wrong += look(page)
    for path in (
        "/accounts/2fa/",
        "/accounts/2fa/webauthn/",
        "/accounts/2fa/recovery-codes/generate/",
        "/sessions/",
    ):
        page.goto(path)
        wrong += look(page)
    page.goto("/approvals/")
    expect(page.get_by_role("navigation", name="Main")).to_be_attached()

    page.goto("/accounts/logout/")
    page.get_by_role("button", name="Sign out").last.click()
    page.get_by_role("button", name="Use a passkey instead").click()
    expect(page.get_by_role("navigation", name="Main")).to_be_attached()
    page.goto("/keys/")
    assert page.url.endswith("/keys/")
    page.goto("/accounts/reauthenticate/")
    wrong += look(page)
    page.goto("/accounts/2fa/webauthn/reauthenticate/?next=/keys/")
    wrong += look(page)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(re.compile(r":\d+/keys/$"))

    page.goto("/accounts/logout/")
    page.get_by_role("button", name="Sign out").last.click()
    page.get_by_label("mail").fill(organisation.ben.email)
    page.get_by_label("password").first.fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Your second factor")).to_be_visible()
    wrong += look(page)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("navigation", name="Main")).to_be_attached()
    context.close()
    assert wrong == []
    assert troubles == []


def test_the_pages_of_people_fit_and_can_be_read(
    portal: Server, organisation: Cast, browser: Browser
) -> None:
    cast = organisation
    client = Client()
    sign_in(client, cast.ann, method="mfa")
    factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking, name="nightly")
    rename_person(actor=None, user=cast.ada, name="Ada May", reason="She married.")
    troubles: list[str] = []
    context, page = visit(browser, portal, troubles)
    session = client.cookies["purser_session"].value
    context.add_cookies([{"name": "purser_session", "value": session, "url": portal_address(portal)}])
    ada, role = f"/people/{cast.ada.public_id}/", cast.ben.role_assignments.get().public_id
    wrong = []
    for path in (
        "/people/",
        "/people/?q=nobody",
        "/people/add/",
        ada,
        f"/people/{cast.ben.public_id}/",
        f"{ada}rename/",
        f"{ada}role/",
        f"{ada}leave/",
        f"/people/roles/{role}/end/",
    ):
        page.goto(path)
        wrong += look(page)
    page.goto(f"{ada}role/")
    page.get_by_label("Role").select_option("lead")
    page.get_by_role("button", name="Give the role").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose the team to lead")
    wrong += look(page)
    page.goto(f"{ada}leave/")
    page.get_by_label("Why?").fill("The contract ended.")
    page.get_by_role("button", name="Mark as left").click()
    expect(page.get_by_text("has left: keys are revoked")).to_be_visible()
    context.close()
    assert wrong == []
    assert [said for said in troubles if "422" not in said] == []
