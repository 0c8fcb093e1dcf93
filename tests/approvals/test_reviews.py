"""Access that hardly anybody uses is shown to whoever answers for it, and kept or ended with one click."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine

from approvals.models import GrantReview
from approvals.reviews import unused_grants
from approvals.services import review_grant
from core import clock
from core.errors import AlreadyDoneError, NotAllowedError
from core.models import AuditEvent, Outbox
from keys.models import Grant, GrantState
from keys.services import revoke_grant
from tests import factories
from tests.approvals.by_hand import execute, refused_as_append_only
from tests.browsing import Visitor
from tests.cast import Cast
from tests.usage.books import book

PAGE = "/approvals/review/"


@pytest.fixture
def old(cast: Cast) -> Grant:
    """Return Ada's access to Tier 2, 40 days old and good for another 50."""
    return access(cast, days_old=40)


def access(cast: Cast, *, days_old: int, owner: str = "ada") -> Grant:
    key = factories.ApiKeyFactory.create(project=cast.ranking, owner=getattr(cast, owner))
    starts = clock.now() - timedelta(days=days_old)
    return factories.approved_grant(
        key, starts_at=starts, expires_at=starts + timedelta(days=90), granted_by=cast.cleo
    )


def used(cast: Cast, grant: Grant, *, calls: int, days_ago: int = 1, model: str = "large") -> None:
    day = (clock.now() - timedelta(days=days_ago)).date()
    book(cast.ranking, getattr(cast, model), day, "1", key=grant.key, owner=grant.key.owner, calls=calls)


def shown(user: Any) -> list[Grant]:
    return [row.grant for row in unused_grants(user)]


def test_access_that_is_hardly_used_is_shown_to_those_who_answer_for_it(cast: Cast, old: Grant) -> None:
    assert [shown(person) for person in (cast.ben, cast.cleo, cast.ann)] == [[old], [old], [old]]
    assert [shown(person) for person in (cast.ada, cast.eve, cast.dan)] == [[], [], []]


def test_what_is_used_or_new_is_left_alone(cast: Cast, old: Grant) -> None:
    access(cast, days_old=29)
    used(cast, old, calls=9)
    used(cast, old, calls=500, days_ago=31)
    used(cast, old, calls=500, model="small")
    assert [(row.grant, row.calls) for row in unused_grants(cast.ben)] == [(old, 9)]
    used(cast, old, calls=1, days_ago=2)
    assert shown(cast.ben) == []


def test_what_is_kept_is_asked_about_again_a_month_later(cast: Cast, old: Grant) -> None:
    review_grant(actor=cast.ben, grant=old, keeps=True)
    assert shown(cast.ben) == []
    old.refresh_from_db()
    assert old.state is GrantState.ACTIVE
    with time_machine.travel(GrantReview.objects.get().at + timedelta(days=30), tick=False):
        assert shown(cast.ben) == [old]


def test_what_is_ended_leaves_the_key_and_the_other_grants(cast: Cast, old: Grant) -> None:
    other = factories.approved_grant(old.key, tier_number=3)
    review_grant(actor=cast.ben, grant=old, keeps=False)
    old.refresh_from_db()
    other.refresh_from_db()
    assert (old.state, other.state) == (GrantState.REVOKED, GrantState.ACTIVE)
    assert old.key.revoked_at is None


@pytest.mark.parametrize(("keeps", "did"), [(True, "Kept"), (False, "Ended")])
def test_a_click_says_why_by_itself(cast: Cast, old: Grant, keeps: bool, did: str) -> None:
    day = clock.now() - timedelta(days=3)
    used(cast, old, calls=9, days_ago=3)

    review = review_grant(actor=cast.ben, grant=old, keeps=keeps)

    last = f"the last on {day.day} {day:%B %Y}"
    why = f"{did} in the access review: 9 calls in 30 days, {last}."
    assert review.reason == why
    actions = ["grant.kept"] if keeps else ["grant.revoked", "grant.not_kept"]
    events = AuditEvent.objects.filter(object_id=old.public_id, actor_id=cast.ben.pk).order_by("pk")
    assert [(event.action, event.reason) for event in events] == [(action, why) for action in actions]
    old.refresh_from_db()
    assert old.revoked_reason == ("" if keeps else why)
    mails = Outbox.objects.filter(topic="grant.revoked")
    assert [(mail.recipient, why in mail.payload["body"]) for mail in mails] == (
        [] if keeps else [("ada@example.com", True)]
    )


def test_access_that_was_never_used_says_so_and_a_given_reason_goes_before(cast: Cast, old: Grant) -> None:
    assert review_grant(actor=cast.ben, grant=old, keeps=True).reason == (
        "Kept in the access review: 0 calls in 30 days, never used."
    )
    assert review_grant(actor=cast.ben, grant=old, keeps=True, reason="A launch.").reason == "A launch."


def test_a_click_on_a_page_of_before_does_not_end_what_is_used_again(cast: Cast, old: Grant) -> None:
    ben = Visitor(cast.ben)
    assert len(ben.get(PAGE).rows("unused-h")) == 1
    used(cast, old, calls=10)
    refused = ben.post(f"{PAGE}{old.public_id}/", end="1")
    old.refresh_from_db()
    assert (refused.status, old.state) == (404, GrantState.ACTIVE)
    assert "it is used again" in refused.words


def test_nobody_reviews_his_own_access_or_that_of_strangers(cast: Cast, old: Grant) -> None:
    own = access(cast, days_old=40, owner="ben")
    assert own not in shown(cast.ben)
    for person, grant in ((cast.ben, own), (cast.ada, old), (cast.eve, old)):
        with pytest.raises(NotAllowedError):
            review_grant(actor=person, grant=grant, keeps=True)


def test_what_has_ended_is_not_reviewed_and_a_review_stays(cast: Cast, old: Grant) -> None:
    review_grant(actor=cast.ben, grant=old, keeps=True)
    with refused_as_append_only():
        execute("UPDATE approvals_grantreview SET keeps = false")
    revoke_grant(actor=cast.ben, grant=old, reason="Leaked.")
    with pytest.raises(AlreadyDoneError):
        review_grant(actor=cast.ben, grant=old, keeps=True)


def test_one_click_keeps_and_one_ends(cast: Cast, old: Grant) -> None:
    other = access(cast, days_old=50)
    ben = Visitor(cast.ben)
    assert len(ben.get(PAGE).rows("unused-h")) == 2
    assert ben.post(f"{PAGE}{old.public_id}/", keep="1").status == 302
    assert ben.post(f"{PAGE}{other.public_id}/", end="1").status == 302
    old.refresh_from_db()
    other.refresh_from_db()
    assert (old.state, other.state) == (GrantState.ACTIVE, GrantState.REVOKED)
    assert "Nothing to review" in ben.get(PAGE).words
    assert ben.post(f"{PAGE}{old.public_id}/", end="1").status == 404


def test_the_page_costs_the_same_for_few_and_many(cast: Cast, old: Grant) -> None:
    few = len(Visitor(cast.ben).queries(PAGE))
    for _ in range(5):
        access(cast, days_old=40)
    assert len(Visitor(cast.ben).queries(PAGE)) == few <= 8
