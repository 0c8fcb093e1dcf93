"""What the rule that extends by itself needs: a human not long ago, and no more days than he gave."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine

from approvals.models import RequestStatus, Verdict
from approvals.services import decide, extend
from core import clock
from keys.models import Grant
from tests import factories
from tests.approvals.by_hand import check_deferred_constraints
from tests.approvals.conftest import REASON, Ask
from tests.browsing import Visitor
from tests.cast import Cast

HUMAN_DAYS = 30


def given(cast: Cast, ask: Ask, *, days_ago: int, rule_on: bool = True) -> Grant:
    """Let Ben approve sixty days of access so long ago."""
    factories.new_policy(
        cast.tier2,
        [("lead", 1)],
        default_days=90,
        auto_extend=rule_on,
        auto_human_days=HUMAN_DAYS,
        decide_within_hours=24 * 60,
    )
    with time_machine.travel(clock.now() - timedelta(days=days_ago), tick=False):
        decide(actor=cast.ben, request=ask(), verdict=Verdict.APPROVE, seen_revision=1)
    return Grant.objects.select_related("key").get()


@pytest.mark.parametrize(
    ("days_ago", "becomes"),
    [(HUMAN_DAYS - 1, RequestStatus.APPROVED), (HUMAN_DAYS + 1, RequestStatus.PENDING)],
)
def test_the_rule_stops_when_no_human_approved_for_so_many_days(
    cast: Cast, ask: Ask, days_ago: int, becomes: RequestStatus
) -> None:
    access = given(cast, ask, days_ago=days_ago)
    request = extend(actor=cast.ada, grant=access, reason=REASON, duration_days=60)
    check_deferred_constraints()
    assert (request.status, request.by_rule) == (becomes, becomes == RequestStatus.APPROVED)


def test_an_extension_without_a_duration_asks_for_what_the_rule_can_give(cast: Cast, ask: Ask) -> None:
    access = given(cast, ask, days_ago=1)
    page = Visitor(cast.ada).get(f"/approvals/extend/{access.public_id}/")
    assert b'name="duration_days" value="60"' in page.response.content

    request = extend(actor=cast.ada, grant=access, reason=REASON)

    assert (request.duration_days, request.status) == (60, RequestStatus.APPROVED)


def test_without_the_rule_it_asks_for_what_the_policy_says(cast: Cast, ask: Ask) -> None:
    access = given(cast, ask, days_ago=1, rule_on=False)
    request = extend(actor=cast.ada, grant=access, reason=REASON)
    assert (request.duration_days, request.status) == (90, RequestStatus.PENDING)


def test_access_of_less_than_a_day_asks_for_what_the_policy_says(cast: Cast, ask: Ask) -> None:
    access = given(cast, ask, days_ago=0)
    Grant.objects.filter(pk=access.pk).update(expires_at=access.starts_at + timedelta(hours=20))
    request = extend(actor=cast.ada, grant=access, reason=REASON)
    assert (request.duration_days, request.status) == (90, RequestStatus.PENDING)
