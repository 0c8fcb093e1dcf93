"""A key's own page, and what can be done from it: rotate, rename, take a grant back or make it less."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from core import clock
from core.models import AuditEvent, Outbox
from keys.models import ApiKey, Grant
from keys.services import issue_key, reveal, revoke, rotate
from tests import factories
from tests.browsing import Visitor
from tests.cast import Cast
from tests.usage.books import book, refuse
from usage.selectors import key_exposure, organisation_today

USE, GRANTS = "use-h", "grants-h"


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    """Ada's revealed key."""
    return reveal(actor=cast.ada, key=issue_key(actor=cast.ada, project=cast.ranking, name="nightly")).key


@pytest.fixture
def given(cast: Cast, key: ApiKey) -> Grant:
    """Tier 2 for that key, for one model."""
    return factories.approved_grant(key, model_ids=[cast.large.pk, cast.larger.pk], granted_by=cast.ben)


def path(key: ApiKey, act: str = "") -> str:
    return f"/keys/{key.public_id}/{act}"


def grant_path(given: Grant, act: str) -> str:
    return path(given.key, f"grants/{given.public_id}/{act}/")


def test_page_says_what_the_key_may_call_and_what_it_did(cast: Cast, key: ApiKey, given: Grant) -> None:
    today = organisation_today()
    for days, usd in ((0, "2"), (3, "3"), (20, "5"), (40, "7")):
        book(cast.ranking, cast.large, today - timedelta(days=days), usd, owner=cast.ada, key=key)

    page = Visitor(cast.ada).get(path(key))

    until = f"{given.expires_at:%-d %B %Y}"
    assert f"every model of Tier 1; large, larger until {until}" in page.words
    assert "project Ranking of team Search, and no other" in page.words
    assert page.rows(USE) == [
        ["Last 24 hours", "0", "$0.00"],
        ["Last 7 days", "2", "$5.00"],
        ["Last 30 days", "3", "$10.00"],
    ]
    (row,) = page.rows(GRANTS)
    assert row[:3] == ["Tier 2 large, larger", "Active", "$1,000.00"]


@pytest.mark.parametrize("who", ["fay", "audrey"])
def test_whoever_only_watches_finds_no_way_to_act(cast: Cast, key: ApiKey, given: Grant, who: str) -> None:
    page = Visitor(getattr(cast, who)).get(path(key))
    assert page.status == 200
    assert not [link for link in page.links if link.startswith(path(key)) and link != path(key)]


def test_the_lead_finds_every_way_to_act_but_the_reveal(cast: Cast, key: ApiKey, given: Grant) -> None:
    rotate(actor=cast.ada, key=key)
    page = Visitor(cast.ben).get(path(key))
    acts = {link.removeprefix(path(key)) for link in page.links if link.startswith(path(key))}
    grant = f"grants/{given.public_id}"
    own = {"rotate/", "rename/", "suspend/", "revoke/", "plan/"}
    assert acts == own | {f"{grant}/shrink/", f"{grant}/end/"}
    assert "A new secret waits for Ada Moreno" in page.words


def test_an_ended_key_offers_nothing(cast: Cast, key: ApiKey, given: Grant) -> None:
    revoke(actor=cast.ben, key=key, reason="Seen in a log.")
    page = Visitor(cast.ada).get(path(key))
    assert not [link for link in page.links if link.startswith(path(key)) and link != path(key)]
    assert "Ben Okafor on" in page.words
    assert "Seen in a log." in page.words


@pytest.mark.parametrize(
    ("hours", "says", "told"),
    [
        ("0", "goes on until then.", "the present one ends then."),
        ("1", "goes on until then, and for 1 hour more.", "goes on for 1 hour from then."),
        ("24", "goes on until then, and for 24 hours more.", "goes on for 24 hours from then."),
    ],
)
def test_a_rotation_that_waits_says_how_long_the_present_secret_goes_on(
    cast: Cast, key: ApiKey, hours: str, says: str, told: str
) -> None:
    visitor = Visitor(cast.ben)

    visitor.post(path(key, "rotate/"), overlap_hours=hours)

    assert says in visitor.get(path(key)).words
    [mail] = Outbox.objects.filter(topic="key.rotation_asked")
    assert told in mail.payload["body"]


def test_rotate_leads_the_owner_to_the_new_secret_and_shows_both(cast: Cast, key: ApiKey) -> None:
    visitor = Visitor(cast.ada)
    asked = visitor.post(path(key, "rotate/"), overlap_hours="72")
    assert (asked.status, asked.response["Location"]) == (302, path(key, "reveal/"))
    assert (
        f"The present one, {key.masked} , then goes on for 72 hours"
        in visitor.get(path(key, "reveal/")).words
    )

    shown = visitor.post(path(key, "reveal/"))

    assert "This is the only time that you see it." in shown.words
    page = visitor.get(path(key))
    fresh = ApiKey.objects.get()
    assert f"Two secrets are good: {fresh.masked} , and the older {key.masked} until" in page.words
    assert path(key, "rotate/end/") in page.links
    assert path(key, "rotate/") not in page.links


def test_the_older_secret_ends_after_its_consequences_were_said(cast: Cast, key: ApiKey) -> None:
    rotate(actor=cast.ada, key=key)
    fresh = reveal(actor=cast.ada, key=key).key
    visitor = Visitor(cast.ada)
    asked = visitor.get(path(key, "rotate/end/"))
    assert f"Calls with {key.masked} are refused with 401 at once." in asked.words
    assert f"Calls with {fresh.masked}, the newer secret, go on." in asked.words
    assert visitor.post(path(key, "rotate/end/")).status == 302
    assert not ApiKey.objects.get().previous_is_live


@pytest.mark.parametrize("hours", ["", "5", "x"])
def test_an_overlap_that_is_not_offered_is_refused(cast: Cast, key: ApiKey, hours: str) -> None:
    page = Visitor(cast.ada).post(path(key, "rotate/"), overlap_hours=hours)
    assert page.status == 422
    assert not ApiKey.objects.get().awaits_successor


def test_a_key_without_a_secret_is_not_rotated(cast: Cast) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="new")
    assert Visitor(cast.ada).get(path(key, "rotate/")).status == 409


def test_a_renamed_key_keeps_its_past_names(cast: Cast, key: ApiKey) -> None:
    refuse(cast.ranking, clock.now() - timedelta(hours=2), "budget_exhausted", 7, key=key)
    page = Visitor(cast.ada).post(path(key, "rename/"), name=" batch ")
    assert (page.status, page.response["Location"]) == (302, path(key))
    assert ApiKey.objects.get().name == "batch"
    event = AuditEvent.objects.get(action="key.renamed")
    assert (event.before, event.after) == ({"name": "nightly"}, {"name": "batch"})
    assert "nightly" in Visitor(cast.ada).get("/blocked/").words
    refuse(cast.ranking, clock.now() + timedelta(seconds=1), "rate_limited", 1, key=key)
    assert "batch" in Visitor(cast.ada).get("/blocked/").words


@pytest.mark.parametrize("name", ["", " ", "x" * 81])
def test_a_name_that_cannot_be_is_refused(cast: Cast, key: ApiKey, name: str) -> None:
    assert Visitor(cast.ada).post(path(key, "rename/"), name=name).status == 422
    assert ApiKey.objects.get().name == "nightly"


def test_a_grant_gets_less(cast: Cast, key: ApiKey, given: Grant) -> None:
    entered = {"days": "5", "monthly_cap_usd": "50", "models": [cast.large.public_id], "reason": "Enough."}
    page = Visitor(cast.ben).post(grant_path(given, "shrink"), **entered)
    assert (page.status, page.response["Location"]) == (302, path(key))
    given.refresh_from_db()
    assert (given.monthly_cap_usd, given.model_ids) == (Decimal(50), [cast.large.pk])
    assert given.expires_at < clock.now() + timedelta(days=5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"monthly_cap_usd": "1001"}, "a grant may only shrink"),
        ({"days": "300"}, "To end it now, revoke it."),
        ({"models": []}, "Leave one model at least."),
        ({"reason": ""}, "Enter why the access gets less"),
    ],
)
def test_more_is_refused(cast: Cast, key: ApiKey, given: Grant, change: dict[str, object], says: str) -> None:
    entered: dict[str, object] = {
        "days": "",
        "monthly_cap_usd": "",
        "models": [cast.large.public_id],
        "reason": "Because.",
    }
    page = Visitor(cast.ben).post(grant_path(given, "shrink"), **{**entered, **change})
    assert page.status == 422
    assert says in page.words


def test_a_grant_ends_and_the_key_goes_on(cast: Cast, key: ApiKey, given: Grant) -> None:
    visitor = Visitor(cast.ada)
    assert "The key goes on with Tier 1" in visitor.get(grant_path(given, "end")).words
    assert visitor.post(grant_path(given, "end"), reason="").status == 422
    assert visitor.post(grant_path(given, "end"), reason="Done.").status == 302
    given.refresh_from_db()
    assert given.revoked_by == cast.ada
    assert ApiKey.objects.get().revoked_at is None


def test_a_grant_of_another_key_is_not_there(cast: Cast, key: ApiKey, given: Grant) -> None:
    other = issue_key(actor=cast.ada, project=cast.ranking, name="other")
    assert Visitor(cast.ada).get(path(other, f"grants/{given.public_id}/end/")).status == 404


def test_an_unused_key_did_nothing(key: ApiKey) -> None:
    exposure = key_exposure(key.pk)
    assert (exposure.last_used_at, exposure.last_used_on) == (None, None)
    assert [(time.calls, time.usd) for time in exposure.times] == [(0, 0)] * 3
