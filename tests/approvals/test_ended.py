"""What waits to go on with a key, or with access that it has, ends with them; not at somebody's next look."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine

from approvals.errors import AlreadyDecidedError
from approvals.models import AccessRequest, BudgetRequest, Policy, RequestKind, RequestStatus, Verdict
from approvals.services import (
    ask_increase,
    break_glass,
    close_requests_of,
    confirm_policy,
    decide,
    extend,
    follow_all,
    propose_policy,
)
from core import clock
from core.models import AuditEvent, Outbox
from keys.models import ApiKey, Grant
from keys.services import issue_key, report_leak, revoke, revoke_grant, shrink_grant
from tests import factories
from tests.approvals.conftest import REASON, Ask
from tests.cast import Cast


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    """Return a key of Ada's."""
    return issue_key(actor=cast.ada, project=cast.ranking, name="laptop")


@pytest.fixture
def given(cast: Cast, ask: Ask, key: ApiKey) -> Grant:
    """Return the access that Ben gave to Ada's key."""
    decide(actor=cast.ben, request=ask(extends_key=key), verdict=Verdict.APPROVE, seen_revision=1)
    return Grant.objects.select_related("key").get()


def closed(request: AccessRequest) -> str:
    """Return why a request was closed; who asked was told once, and the audit keeps it."""
    request.refresh_from_db()
    assert request.status == RequestStatus.CLOSED
    assert AuditEvent.objects.filter(action="request.closed", object_id=request.public_id).count() == 1
    assert Outbox.objects.filter(payload__body=request.closed_reason).count() == 1
    return request.closed_reason


def test_revoked_key_closes_what_would_be_added_to_it(cast: Cast, ask: Ask, key: ApiKey) -> None:
    request, other = ask(extends_key=key), ask(tier=cast.tier3, model_names=[], duration_days=30)

    revoke(actor=cast.ada, key=key, reason="Lost.")

    assert closed(request) == "The key laptop was revoked. Ask for access with another key."
    other.refresh_from_db()
    assert other.status == RequestStatus.PENDING


def test_leaked_key_closes_it_too(cast: Cast, ask: Ask, key: ApiKey) -> None:
    token = factories.revealed(key)
    request = ask(extends_key=key)

    report_leak(secret=token, place="a gist")

    assert "laptop was revoked" in closed(request)


@pytest.mark.parametrize("what", ["key", "grant"])
def test_extension_closes_with_its_key_and_with_its_access(cast: Cast, given: Grant, what: str) -> None:
    request = extend(actor=cast.ada, grant=given, reason=REASON)

    if what == "key":
        revoke(actor=cast.ben, key=given.key, reason="Leaked.")
    else:
        revoke_grant(actor=cast.ben, grant=given, reason="Leaked.")

    says = {
        "key": "The key laptop was revoked. Ask for access with another key.",
        "grant": "The access that it would extend has ended. Ask for access again.",
    }
    assert closed(request) == says[what]


def test_end_of_other_access_of_the_key_closes_nothing(cast: Cast, ask: Ask, given: Grant) -> None:
    waiting = ask(tier=cast.tier3, model_names=[], duration_days=30, extends_key=given.key)

    revoke_grant(actor=cast.ben, grant=given, reason="Not used.")

    waiting.refresh_from_db()
    assert waiting.status == RequestStatus.PENDING


def test_review_of_a_broken_glass_outlives_its_key(cast: Cast, key: ApiKey) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    review, _ = break_glass(
        actor=cast.ada, project=cast.ranking, tier=cast.tier2, reason=REASON, extends_key=key
    )

    revoke(actor=cast.ada, key=key, reason="Lost.")
    follow_all(most=10)

    review.refresh_from_db()
    assert (review.kind, review.status) == (RequestKind.BREAK_GLASS, RequestStatus.PENDING)


def test_revoked_key_closes_what_waits_for_more_of_its_budget(cast: Cast, key: ApiKey) -> None:
    budget = factories.BudgetFactory.create(scope_kind="key", scope_id=key.pk, department=cast.product)
    factories.BudgetLimitFactory.create(budget=budget, amount_usd=Decimal(10))
    request = ask_increase(actor=cast.ada, budget=budget, limit_usd=Decimal(20), reason=REASON)

    revoke(actor=cast.ada, key=key, reason="Lost.")

    request.refresh_from_db()
    assert (request.status, request.comment) == (
        RequestStatus.CLOSED,
        "The key whose budget this is has ended.",
    )


def test_key_that_expires_closes_what_waits_at_the_next_look(cast: Cast, ask: Ask, key: ApiKey) -> None:
    budget = factories.BudgetFactory.create(scope_kind="key", scope_id=key.pk, department=cast.product)
    factories.BudgetLimitFactory.create(budget=budget, amount_usd=Decimal(10))
    with time_machine.travel(key.expires_at - timedelta(days=1), tick=False):
        request = ask(extends_key=key)
        more = ask_increase(actor=cast.ada, budget=budget, limit_usd=Decimal(20), reason=REASON)

    with time_machine.travel(key.expires_at, tick=False):
        with pytest.raises(AlreadyDecidedError, match="The key laptop has expired"):
            decide(actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
        assert follow_all(most=10) == 1

    assert BudgetRequest.objects.get(pk=more.pk).status == RequestStatus.CLOSED


def test_access_that_was_cut_short_closes_its_extension_when_it_ends(cast: Cast, given: Grant) -> None:
    request = extend(actor=cast.ada, grant=given, reason=REASON)
    soon = clock.now() + timedelta(hours=1)
    shrink_grant(actor=cast.ben, grant=given, reason="An hour will do.", expires_at=soon)

    with time_machine.travel(soon, tick=False):
        assert follow_all(most=10) == 1

    assert "would extend has ended" in closed(request)


@pytest.fixture
def emergency(cast: Cast, key: ApiKey) -> tuple[AccessRequest, AccessRequest]:
    """Return the review of emergency access, and a request that this access goes on."""
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    review, taken = break_glass(
        actor=cast.ada, project=cast.ranking, tier=cast.tier2, reason=REASON, extends_key=key
    )
    return review, extend(actor=cast.ada, grant=taken, reason=REASON, duration_days=1)


def test_leaver_has_emergency_access_and_asks_for_more_of_it(
    cast: Cast, emergency: tuple[AccessRequest, AccessRequest]
) -> None:
    """The end of the review ends the access, and that closes the second request before its turn."""
    assert close_requests_of(cast.ada)["requests"] == 2
    review, more = emergency
    assert closed(review) == "Ada Moreno has left."
    assert "would extend has ended" in closed(more)


def test_tier_that_is_retired_has_both_waiting(
    cast: Cast, emergency: tuple[AccessRequest, AccessRequest]
) -> None:
    second = factories.RoleAssignmentFactory.create(role="admin").user
    base = Policy.objects.get(tier=2, retired_at__isnull=True)
    proposal = propose_policy(actor=cast.ann, base=base, rules=None, reason="No more.")

    confirm_policy(actor=second, proposal=proposal)

    for request in emergency:
        closed(request)
