"""Journeys through approvals and keys in a real browser: wide, on a phone, without JavaScript, by keyboard.

Each ends with an empty console, no event of the policy, no failed request, and nothing that axe finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from approvals.models import AccessRequest, Decision, Delegation, GrantReview, RequestKind, RequestStatus
from approvals.services import amend, submit
from core import clock
from keys.models import Grant, GrantState, KeyState
from teams.models import User
from tests import factories
from tests.cast import Cast, make_cast
from tests.e2e.conftest import PASSWORD, with_password
from tests.e2e.ways import (
    KEYBOARD,
    KEYBOARD_NO_SCRIPT,
    NO_SCRIPT,
    PHONE,
    WAYS,
    WIDE,
    Traveller,
    Way,
)
from tests.gateways.servers import Server

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.browser,
    pytest.mark.timeout(300),
]
REASON = "The small models miss one answer in three on our 2,000 queries."
WISH: dict[str, Any] = {
    "model_names": ["large"],
    "reason": REASON,
    "duration_days": 60,
    "expected_monthly_usd": Decimal(420),
}

Enter = Callable[[User], Traveller]


def ways(*short: Way) -> pytest.MarkDecorator:
    """Go these ways in every run, and the others in the full one.

    Every run goes each journey on a phone, without JavaScript and by keyboard; the dear ones both at once.
    """
    return pytest.mark.parametrize(
        "enter",
        [pytest.param(way, marks=() if way in short else pytest.mark.full, id=way.name) for way in WAYS],
        indirect=True,
    )


@pytest.fixture
def organisation(clean_books: None) -> Cast:
    """Make the cast; Ada, Ben and Cleo have a password that the web process can check."""
    cast = make_cast()
    for person in (cast.ada, cast.ben, cast.cleo):
        with_password(person)
    factories.new_policy(cast.tier3, [("director", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    return cast


@pytest.fixture
def enter(
    request: pytest.FixtureRequest, organisation: Cast, portal: Server, browser: Browser
) -> Iterator[Enter]:
    """Return how a person signs in, going one way; at the end everybody leaves without a trouble."""
    way: Way = request.param
    inside: list[Traveller] = []

    def sign_in(user: User) -> Traveller:
        inside.append(Traveller(browser, user, way, base_url=portal.url, password=PASSWORD))
        return inside[-1]

    yield sign_in
    for each in inside:
        each.leave()


@ways(PHONE, NO_SCRIPT, KEYBOARD)
def test_access_is_asked_for_approved_and_revealed_once(organisation: Cast, enter: Enter) -> None:
    cast = organisation
    ada, ben = enter(cast.ada), enter(cast.ben)
    answer_every_question(ada)
    ada.reads("Check your answers", "large", REASON, "$420.00 a month")
    ada.press("button", "Send the request")
    ada.reads("Your request is sent.")
    asked = AccessRequest.objects.get()
    ben.open("/approvals/")
    ben.press("link", "Tier 2 for Ranking")
    ben.reads(REASON, "$420.00")
    ben.write("Monthly cap", "300")
    ben.write("Access for how many days", "30")
    ben.press("button", "Approve")
    ben.reads("is approved")
    grant = Grant.objects.get(source_request=asked.public_id)
    assert (grant.monthly_cap_usd, grant.granted_by) == (Decimal(300), cast.ben)
    assert grant.expires_at - grant.starts_at == timedelta(days=30)
    ben.open(f"/keys/{grant.key.public_id}/")
    ben.reads("Ada Moreno", "Tier 2")
    assert ben.page.get_by_role("link", name="Reveal").count() == 0
    ada.open(f"/approvals/{asked.public_id}/")
    ada.press("button", "Show the secret once")
    ada.reads("This is the only time that you see it.")
    secret = ada.page.get_by_label("Secret", exact=True).input_value()
    ada.press("link", "I have stored it")
    ada.reads("This month")
    ada.open(f"/approvals/{asked.public_id}/")
    assert secret not in ada.page.content()
    assert ada.page.get_by_role("button", name="Show the secret once").count() == 0
    grant.key.refresh_from_db()
    assert grant.key.state is KeyState.LIVE


@ways(PHONE, KEYBOARD_NO_SCRIPT)
def test_a_delegate_decides_and_who_read_an_older_request_is_shown_the_difference(
    organisation: Cast, enter: Enter
) -> None:
    cast = organisation
    asked = ask(cast)
    ben, cleo = enter(cast.ben), enter(cast.cleo)
    lend(ben, to=cast.cleo)
    ben.open(f"/approvals/{asked.public_id}/")
    ben.reads(REASON, "$420.00")
    amend(actor=cast.ada, request=asked, seen_revision=1, **WISH | {"expected_monthly_usd": Decimal(900)})
    ben.press("button", "Approve")
    ben.reads("You read", "$420.00", "$900.00")
    assert not Decision.objects.exists()
    cleo.open("/approvals/")
    cleo.press("link", "Tier 2 for Ranking")
    cleo.press("button", "Approve")
    cleo.reads("is approved")
    ben.write("Comment", "The mid model will do.")
    ben.press("button", "Deny")
    ben.reads("Your comment was not used", "Cleo Hart")
    decision = Decision.objects.get()
    assert (decision.actor, decision.on_behalf_of, decision.revision) == (cast.cleo, cast.ben, 2)
    ben.open("/approvals/delegations/")
    ben.press("link", "End the delegation to Cleo Hart")
    ben.reads("End the delegation to Cleo Hart?")
    ben.press("button", "End the delegation")
    ben.reads("Nobody decides for anybody")
    assert Delegation.objects.get().ended_by == cast.ben


@ways(PHONE, KEYBOARD_NO_SCRIPT)
def test_the_glass_is_broken_and_the_review_takes_the_access_back(organisation: Cast, enter: Enter) -> None:
    cast = organisation
    ada, cleo = enter(cast.ada), enter(cast.cleo)
    ada.open("/approvals/ask/")
    ada.press("link", "Emergency")
    ada.choose("Ranking")
    ada.choose("Tier 3")
    ada.write("What is the emergency?", "Search answers nothing since 09:40, and no lead is awake.")
    ada.reads("For an emergency that cannot wait")
    ada.press("button", "Break the glass")
    ada.reads("Everybody was told, and a review waits.")
    review = AccessRequest.objects.get(kind=RequestKind.BREAK_GLASS)
    assert active_grants() == [Grant.objects.get(source_request=review.public_id)]
    cleo.open("/approvals/")
    cleo.press("link", "glass broken for Tier 3 in Ranking")
    cleo.reads("Search answers nothing since 09:40")
    cleo.write("Comment", "The incident was over before.")
    cleo.press("button", "Deny")
    cleo.reads("is denied")
    review.refresh_from_db()
    assert review.status == RequestStatus.DENIED
    assert active_grants() == []
    ada.open(f"/approvals/{review.public_id}/")
    ada.reads("The incident was over before.")


@ways(PHONE, NO_SCRIPT, KEYBOARD)
def test_access_that_nobody_uses_is_kept_or_ended(organisation: Cast, enter: Enter) -> None:
    cast = organisation
    kept, ended = (unused(cast, name) for name in ("nightly batch", "old notebook"))
    ben = enter(cast.ben)
    ben.open("/approvals/")
    ben.press("link", "Access review")
    ben.reads("nightly batch", "old notebook")
    ben.press("button", f"Keep {kept}")
    ben.reads("is kept")
    ben.press("button", f"End {ended}")
    ben.reads("has ended. The key stays.", "Nothing to review")
    assert dict(GrantReview.objects.values_list("grant", "keeps")) == {kept.pk: True, ended.pk: False}
    assert active_grants() == [kept]


@ways(PHONE, NO_SCRIPT, KEYBOARD)
def test_a_key_is_rotated_and_revoked(organisation: Cast, enter: Enter) -> None:
    cast = organisation
    key = factories.ApiKeyFactory.create(name="nightly batch", project=cast.ranking, owner=cast.ada)
    factories.revealed(key)
    ada = enter(cast.ada)
    ada.open("/keys/")
    ada.press("link", "nightly batch", exact=True)
    ada.press("link", "Rotate")
    ada.reads("Nothing changes until you reveal the new secret")
    ada.press("button", "Go on to the new secret")
    ada.press("button", "Show the secret once")
    ada.reads("This is the only time that you see it.")
    secret = ada.page.get_by_label("Secret", exact=True).input_value()
    ada.press("link", "I have stored it")
    ada.open(f"/keys/{key.public_id}/")
    ada.reads("Two secrets are good")
    assert secret not in ada.page.content()
    ada.press("link", "Revoke")
    ada.reads("refused with 401 at once")
    ada.write("Why?", "The batch moved to another project.")
    ada.press("button", "Revoke the key")
    ada.reads("is revoked: calls with it are refused from now on.")
    key.refresh_from_db()
    assert key.revoked_by == cast.ada
    assert key.state is KeyState.REVOKED


@pytest.mark.parametrize("enter", [pytest.param(WIDE, id="wide")], indirect=True)
def test_single_keys_lead_to_a_decision_and_never_make_one(organisation: Cast, enter: Enter) -> None:
    cast = organisation
    other = factories.ProjectFactory.create(name="Snippets", team=cast.search, owner=cast.ben)
    for project in (cast.ranking, other):
        submit(actor=cast.ada, project=project, tier=cast.tier2, **WISH)
    ben = enter(cast.ben)
    ben.open("/approvals/")
    titles = ben.page.locator("[data-row] .l1 > span").all_inner_texts()
    assert len(titles) == 2
    heading, press = ben.page.locator("#case-h"), ben.page.keyboard.press
    for key, title in (("j", titles[0]), ("j", titles[1]), ("k", titles[0])):
        press(key)
        expect(heading).to_have_text(title)
        expect(heading).to_be_focused()
        expect(ben.page.locator(".htmx-settling")).to_have_count(0)  # which moves the focus once more
    press("a")
    expect(ben.page.get_by_role("button", name="Approve")).to_be_focused()
    press("d")
    expect(ben.page.get_by_role("button", name="Deny")).to_be_focused()
    press("?")
    expect(ben.page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    press("Escape")
    press("/")
    search = ben.page.get_by_role("searchbox")
    expect(search).to_be_focused()
    ben.page.keyboard.type("adjk?")
    expect(search).to_have_value("adjk?")
    assert not Decision.objects.exists()


@pytest.mark.parametrize("enter", [pytest.param(WIDE, id="wide")], indirect=True)
def test_a_field_that_was_drawn_larger_is_swapped_within_the_policy(organisation: Cast, enter: Enter) -> None:
    asked = ask(organisation)
    ben = enter(organisation.ben)
    ben.open(f"/approvals/{asked.public_id}/")
    comment = ben.page.get_by_label("Comment")
    comment.evaluate("field => { field.style.height = '12rem' }")  # what pulling at its corner does
    ben.press("button", "Deny")
    expect(ben.page.get_by_role("alert")).to_be_focused()
    ben.reads("There is a problem")
    assert not Decision.objects.exists()


def answer_every_question(ada: Traveller) -> None:
    """Go from the first question to the page that shows the answers, and look at each page."""
    ada.open("/approvals/ask/")
    for question, label in (
        ("Which project is it for?", "Ranking"),
        ("Which tier do you need?", "Tier 2"),
        ("Which models do you need?", "large:"),
    ):
        ada.reads(question)
        ada.choose(label)
        ada.press("button", "Continue")
    ada.write("Why do you need it?", REASON)
    ada.reads("Ben Okafor, as")
    ada.press("button", "Continue")
    ada.write("For how many days?", "60")
    ada.write("What will it cost a month?", "420")
    ada.reads("Calls beyond it are refused until the next month.")
    ada.press("button", "Continue")


def ask(cast: Cast) -> AccessRequest:
    return submit(actor=cast.ada, project=cast.ranking, tier=cast.tier2, **WISH)


def lend(giver: Traveller, *, to: User) -> None:
    """Let somebody decide for the giver until tomorrow."""
    giver.open("/approvals/")
    giver.press("link", "Delegations")
    giver.write("Who decides for you?", to.email)
    giver.write("Until", f"{clock.now() + timedelta(days=1):%Y-%m-%d}")
    giver.press("button", "Lend the role")
    giver.reads(f"{to} decides for you until")


def active_grants() -> list[Grant]:
    return [grant for grant in Grant.objects.all() if grant.state is GrantState.ACTIVE]


def unused(cast: Cast, name: str) -> Grant:
    """Return access of Ada's that is 40 days old and was never used."""
    key = factories.ApiKeyFactory.create(name=name, project=cast.ranking, owner=cast.ada)
    starts = clock.now() - timedelta(days=40)
    return factories.approved_grant(
        key, starts_at=starts, expires_at=starts + timedelta(days=90), granted_by=cast.cleo
    )
