"""The end of a key: its page names the consequences, asks why, and counts once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core import clock
from core.models import AuditEvent, Outbox
from keys.models import ApiKey
from keys.services import issue_key, reveal
from tests import factories
from tests.browsing import Visitor
from tests.cast import Cast
from tests.usage.books import book
from usage.selectors import organisation_today


@pytest.fixture
def live(cast: Cast) -> ApiKey:
    """Ada's revealed key with a grant of Tier 2."""
    key = reveal(actor=cast.ada, key=issue_key(actor=cast.ada, project=cast.ranking, name="nightly")).key
    factories.approved_grant(key, expires_at=clock.now() + timedelta(days=20))
    return key


def revoke_path(key: ApiKey) -> str:
    return f"/keys/{key.public_id}/revoke/"


def test_page_names_what_ends(cast: Cast, live: ApiKey) -> None:
    today = organisation_today()
    book(cast.ranking, cast.large, today, "312.21", owner=cast.ada, key=live)

    page = Visitor(cast.ben).get(revoke_path(live))

    assert f"Calls with {live.masked} are refused with 401 at once, on every gateway" in page.words
    assert "Project Ranking of team Search loses what runs with it." in page.words
    ends = clock.now() + timedelta(days=20)
    assert f"Its access to Tier 2 ends, which was granted until {ends:%-d %B %Y}." in page.words
    assert f"It was last used on {today:%-d %B %Y}. Last 24 hours: 0 calls for $0.00." in page.words
    assert "Last 7 days: 1 call for $312.21. Last 30 days: 1 call for $312.21." in page.words
    assert "Ada Moreno, who owns it, is told by e-mail." in page.words


def test_unused_key_without_a_secret_says_so(cast: Cast) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")

    page = Visitor(cast.ada).get(revoke_path(key))

    assert "It has no secret yet." in page.words
    assert "It was never used." in page.words
    assert "is told by e-mail" not in page.words


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "ann"])
def test_owner_lead_director_and_administrator_revoke_with_a_reason(
    cast: Cast, live: ApiKey, who: str
) -> None:
    visitor = Visitor(getattr(cast, who))

    page = visitor.post(revoke_path(live), reason="Seen in a log.")

    assert (page.status, page.response["Location"]) == (302, "/keys/")
    live.refresh_from_db()
    assert (live.revoked_by, live.revoked_reason) == (getattr(cast, who), "Seen in a log.")
    assert "nightly is revoked: calls with it are refused from now on." in visitor.get("/keys/").words
    assert Outbox.objects.filter(topic="key.revoked").count() == (who != "ada")


@pytest.mark.parametrize("who", ["fay", "audrey"])
def test_whoever_only_watches_is_told_who_can(cast: Cast, live: ApiKey, who: str) -> None:
    visitor = Visitor(getattr(cast, who))

    for page in (visitor.get(revoke_path(live)), visitor.post(revoke_path(live), reason="Too dear.")):
        assert page.status == 403
        assert (
            "Only Ada Moreno, who owns this key, or Ben Okafor, lead of the team, may do this." in page.words
        )
    live.refresh_from_db()
    assert live.revoked_at is None


@pytest.mark.parametrize(
    ("reason", "complaint"),
    [("", "Enter why you revoke the key"), ("  ", "Enter why"), ("x" * 241, "at most 240 characters")],
)
def test_without_a_reason_nothing_ends(cast: Cast, live: ApiKey, reason: str, complaint: str) -> None:
    page = Visitor(cast.ada).post(revoke_path(live), reason=reason)

    assert page.status == 422
    assert complaint in page.words
    assert page.words.startswith("Error: ")
    assert reason in page.response.content.decode()
    live.refresh_from_db()
    assert live.revoked_at is None


def test_second_click_says_who_revoked_it_when_and_why(cast: Cast, live: ApiKey) -> None:
    Visitor(cast.ben).post(revoke_path(live), reason="Seen in a log.")

    page = Visitor(cast.ada).post(revoke_path(live), reason="Not needed.")

    live.refresh_from_db()
    assert page.status == 409
    assert (
        f"Ben Okafor revoked nightly on {live.revoked_at:%d %B %Y at %H:%M} UTC: Seen in a log." in page.words
    )
    assert AuditEvent.objects.filter(action="key.revoked").count() == 1


def test_page_of_an_ended_key_says_how_it_ended(cast: Cast, live: ApiKey) -> None:
    visitor = Visitor(cast.ada)
    visitor.post(revoke_path(live), reason="Not needed.")

    page = visitor.get(revoke_path(live))

    assert page.status == 410
    assert "was revoked on" in page.words
