"""Access that goes on, by a human or by the rule; and access that was taken at once and is reviewed."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db.models import F

from approvals.errors import AlreadyAskedError, GrantEndedError, NotEligibleError
from approvals.models import AccessRequest, RequestKind, RequestStatus, Verdict
from approvals.services import (
    amend,
    break_glass,
    close_requests_of,
    decide,
    expire_due,
    extend,
    withdraw,
)
from budgets.models import Balance, Budget, BudgetLimit
from budgets.selectors import budget_rows
from core import clock
from core.errors import GoneError, InvalidInputError, NotAllowedError
from core.models import AuditEvent, Outbox
from keys.models import Grant, GrantState
from keys.services import revoke, revoke_grant
from tests import factories
from tests.approvals.by_hand import change_requests, check_deferred_constraints, refused_by
from tests.approvals.conftest import REASON, Ask
from tests.cast import Cast


@pytest.fixture
def given(cast: Cast, asked: AccessRequest) -> Grant:
    """Return the grant of Ada's approved request: 60 days, 420 US dollars a month."""
    decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
    return Grant.objects.select_related("key").get()


def more_time(cast: Cast, given: Grant, **changes: Any) -> AccessRequest:
    terms: dict[str, Any] = {"actor": cast.ada, "grant": given, "reason": REASON, "duration_days": 60}
    return extend(**terms | changes)


def approve(cast: Cast, request: AccessRequest, **terms: Any) -> AccessRequest:
    outcome = decide(actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1, **terms)
    check_deferred_constraints()
    return outcome.request


# ------------------------------------------------------------------------------------- extension


def test_an_approved_extension_begins_where_the_grant_ends(cast: Cast, given: Grant) -> None:
    request = more_time(cast, given)
    assert (request.kind, request.extends_key, request.status) == ("extension", given.key, "pending")
    approve(cast, request)
    after = Grant.objects.get(supersedes=given)
    assert (after.starts_at, after.key, after.state) == (given.expires_at, given.key, GrantState.SCHEDULED)
    assert after.expires_at - after.starts_at == timedelta(days=60)
    given.refresh_from_db()
    assert given.state is GrantState.ACTIVE


def test_a_lower_cap_comes_into_force_with_the_extension(cast: Cast, given: Grant) -> None:
    approve(cast, more_time(cast, given), monthly_cap_usd=Decimal(100))
    budget = Budget.objects.get(only_tier=cast.tier2)
    planned = BudgetLimit.objects.filter(budget=budget).order_by("-pk")[0]
    assert (planned.amount_usd, planned.valid_from) == (Decimal(100), given.expires_at)


def test_an_extension_is_decided_before_its_grant_ends_or_never(cast: Cast, given: Grant) -> None:
    with time_machine.travel(given.expires_at - timedelta(days=1), tick=False):
        request = more_time(cast, given)
        assert request.decide_by == given.expires_at
    with time_machine.travel(given.expires_at, tick=False), pytest.raises(GoneError):
        approve(cast, request)


def test_an_extension_of_a_grant_that_was_ended_meanwhile_is_not_approved(cast: Cast, given: Grant) -> None:
    request = more_time(cast, given)
    revoke_grant(actor=cast.ben, grant=given, reason="Leaked.")
    with pytest.raises(GrantEndedError, match="has ended meanwhile"):
        approve(cast, request)
    ended = decide(actor=cast.ben, request=request, verdict=Verdict.DENY, seen_revision=1, comment="Ended.")
    assert ended.request.status == RequestStatus.DENIED


def test_an_amended_extension_keeps_its_models_and_its_end(cast: Cast, given: Grant) -> None:
    request = more_time(cast, given)
    changed = amend(
        actor=cast.ada,
        request=request,
        seen_revision=1,
        reason=REASON,
        model_names=["larger"],
        duration_days=10,
        expected_monthly_usd=Decimal(420),
    )
    assert (changed.model_ids, changed.duration_days) == (given.model_ids, 10)
    assert changed.decide_by <= given.expires_at


def test_only_the_owner_extends_what_is_active_and_once(cast: Cast, given: Grant) -> None:
    with pytest.raises(NotAllowedError, match="Only Ada Moreno"):
        more_time(cast, given, actor=cast.ben)
    more_time(cast, given)
    with pytest.raises(AlreadyAskedError):
        more_time(cast, given)
    approve(cast, AccessRequest.objects.get(kind=RequestKind.EXTENSION))
    with pytest.raises(InvalidInputError, match="extended already"):
        more_time(cast, given)


@pytest.mark.parametrize("ends", ["grant", "key", "time"])
def test_what_has_ended_is_not_extended(cast: Cast, given: Grant, ends: str) -> None:
    if ends == "grant":
        revoke_grant(actor=cast.ben, grant=given, reason="Leaked.")
    elif ends == "key":
        revoke(actor=cast.ben, key=given.key, reason="Leaked.")
    at = given.expires_at - timedelta(minutes=5) if ends == "time" else clock.now()
    with time_machine.travel(at, tick=False), pytest.raises(InvalidInputError, match="Ask for access again"):
        more_time(cast, given)


def test_raw_sql_extends_no_strangers_grant_and_leaves_no_gap(cast: Cast, given: Grant) -> None:
    with refused_by("request_extends_its_own_grant"):
        factories.AccessRequestFactory.create(
            requester=cast.dan,
            project=cast.fraud,
            kind="extension",
            extends_grant=given,
            extends_key=given.key,
        )
    request = more_time(cast, given)
    with refused_by("request_extends_its_own_grant"):
        change_requests("revision = 2, decide_by = decide_by + interval '90 days'", pk=request.pk)
    late = given.expires_at + timedelta(seconds=1)
    with refused_by("grant_extends_without_a_gap"):
        factories.approve(request, cast.ben, key=given.key)
        Grant.objects.create(
            key=given.key,
            tier=cast.tier2,
            model_ids=given.model_ids,
            monthly_cap_usd=Decimal(420),
            starts_at=late,
            expires_at=late + timedelta(days=1),
            supersedes=given,
            source_request=request.public_id,
            granted_by=cast.ben,
        )


# -------------------------------------------------------------------------------------- the rule


@pytest.fixture
def with_rule(cast: Cast, given: Grant) -> Grant:
    """Return the grant after the policy has turned the rule on."""
    factories.new_policy(cast.tier2, [("lead", 1)], auto_extend=True)
    return given


def test_the_rule_is_off_unless_a_policy_turns_it_on(cast: Cast, given: Grant) -> None:
    assert more_time(cast, given).status == RequestStatus.PENDING


def test_the_rule_extends_what_a_human_approved_not_long_ago(cast: Cast, with_rule: Grant) -> None:
    request = more_time(cast, with_rule)
    check_deferred_constraints()
    assert (request.status, request.by_rule) == (RequestStatus.APPROVED, True)
    after = Grant.objects.get(supersedes=with_rule)
    assert (after.starts_at, after.monthly_cap_usd) == (with_rule.expires_at, with_rule.monthly_cap_usd)
    assert AuditEvent.objects.filter(action="request.approved", actor_id=None).count() == 1
    assert not request.decisions.exists()


def test_the_rule_does_not_extend_what_the_rule_extended(cast: Cast, with_rule: Grant) -> None:
    more_time(cast, with_rule)
    after = Grant.objects.get(supersedes=with_rule)
    with time_machine.travel(after.starts_at + timedelta(days=1), tick=False):
        assert more_time(cast, after).status == RequestStatus.PENDING


@pytest.mark.parametrize("usd", [1, 421])
def test_the_rule_extends_nothing_that_differs(cast: Cast, with_rule: Grant, usd: int) -> None:
    assert more_time(cast, with_rule, expected_monthly_usd=Decimal(usd)).status == RequestStatus.PENDING


def spend(budget: Budget, usd: Decimal) -> None:
    """Book so much into the window of a budget that is open now."""
    row = budget_rows(Budget.objects.filter(pk=budget.pk))[0]
    window = {"budget": budget, "window_start": row.window_starts_at}
    Balance.objects.get_or_create(**window, defaults={"window_end": row.window_ends_at})
    Balance.objects.filter(**window).update(spent_usd=F("spent_usd") + usd)


def test_the_rule_looks_at_what_was_spent(cast: Cast, with_rule: Grant) -> None:
    spend(Budget.objects.get(only_tier=cast.tier2), Decimal(336))
    assert more_time(cast, with_rule).status == RequestStatus.PENDING


def test_raw_sql_lets_no_rule_approve_in_tier_3_or_a_first_request(cast: Cast, ask: Ask) -> None:
    key = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    approved = "status = 'approved', decided_at = now(), by_rule = true, key_id ="
    for request in (ask(), ask(tier=cast.tier3, model_names=[], duration_days=30)):
        with refused_by("request_rule_extends_tier_2_alone"):
            change_requests(f"{approved} {key.pk}", pk=request.pk)
    with refused_by("policy_auto_rule_is_for_tier_2_alone"):
        factories.new_policy(cast.tier3, [("director", 1)], auto_extend=True, max_days=30)


# ----------------------------------------------------------------------------------- break-glass


@pytest.fixture
def glass(cast: Cast) -> Cast:
    """Return the cast under a policy that lets people break the glass for 4 hours and 50 US dollars."""
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    return cast


def broken(cast: Cast, **changes: Any) -> tuple[AccessRequest, Grant]:
    terms: dict[str, Any] = {"actor": cast.ada, "project": cast.ranking, "tier": cast.tier2, "reason": REASON}
    return break_glass(**terms | changes)


def test_a_broken_glass_gives_short_capped_access_at_once_and_tells_everybody(glass: Cast) -> None:
    request, grant = broken(glass)
    check_deferred_constraints()
    assert (request.kind, request.status) == (RequestKind.BREAK_GLASS, RequestStatus.PENDING)
    assert (grant.state, grant.monthly_cap_usd) == (GrantState.ACTIVE, Decimal(50))
    assert grant.expires_at - grant.starts_at == timedelta(hours=4)
    told = set(Outbox.objects.filter(topic="request.glass_broken").values_list("recipient", flat=True))
    assert told == {f"{name}@example.com" for name in ("ben", "cleo", "ann", "fay")}


def test_a_ratified_review_keeps_the_grant_as_it_is(glass: Cast) -> None:
    request, grant = broken(glass)
    approve(glass, request)
    grant.refresh_from_db()
    assert (grant.state, Grant.objects.count()) == (GrantState.ACTIVE, 1)
    request.refresh_from_db()
    assert (request.status, request.key) == (RequestStatus.APPROVED, grant.key)


@pytest.mark.parametrize("end", ["deny", "withdraw", "leave"])
def test_a_review_that_ratifies_nothing_ends_the_grant(glass: Cast, end: str) -> None:
    request, grant = broken(glass)
    match end:
        case "deny":
            decide(actor=glass.ben, request=request, verdict=Verdict.DENY, seen_revision=1, comment="No.")
        case "withdraw":
            withdraw(actor=glass.ada, request=request)
        case _:
            close_requests_of(glass.ada)
    grant.refresh_from_db()
    assert grant.state is GrantState.REVOKED
    assert grant.revoked_reason.startswith("Its break-glass review is over")


def test_a_review_that_nobody_made_is_written_down_after_its_grant_is_long_over(glass: Cast) -> None:
    request, grant = broken(glass)
    with time_machine.travel(request.decide_by, tick=False):
        assert expire_due() == 1
        grant.refresh_from_db()
        assert grant.state is GrantState.EXPIRED
    request.refresh_from_db()
    assert request.status == RequestStatus.EXPIRED


def test_nobody_ratifies_his_own(glass: Cast) -> None:
    request, _ = broken(glass)
    with pytest.raises(NotEligibleError, match="your own request"):
        decide(actor=glass.ada, request=request, verdict=Verdict.APPROVE, seen_revision=1)


def test_the_glass_is_broken_once_until_it_is_reviewed(glass: Cast) -> None:
    broken(glass)
    with pytest.raises(AlreadyAskedError):
        broken(glass)


def test_the_glass_stays_whole_where_the_policy_says_so(cast: Cast) -> None:
    with pytest.raises(InvalidInputError, match="Nobody breaks the glass for Tier 3"):
        broken(cast, tier=cast.tier3)


@pytest.fixture
def emergency(glass: Cast) -> dict[str, Any]:
    """Return the most that a grant may be whose break-glass review Ben just opened."""
    review = factories.AccessRequestFactory.create(
        requester=glass.ben, project=glass.ranking, kind="break_glass", expected_monthly_usd=Decimal(60)
    )
    return {
        "key": factories.ApiKeyFactory.create(owner=glass.ben, project=glass.ranking),
        "tier": glass.tier2,
        "monthly_cap_usd": Decimal(50),
        "starts_at": review.created_at,
        "expires_at": review.created_at + timedelta(hours=4),
        "source_request": review.public_id,
        "granted_by": glass.ben,
    }


def test_control_an_emergency_within_the_policy_is_accepted(emergency: dict[str, Any]) -> None:
    Grant.objects.create(**emergency)
    check_deferred_constraints()


@pytest.mark.parametrize("change", ["longer", "dearer", "later", "other tier", "stranger"])
def test_raw_sql_breaks_no_more_glass_than_the_policy_allows(
    glass: Cast, emergency: dict[str, Any], change: str
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "longer": {"expires_at": emergency["expires_at"] + timedelta(minutes=1)},
        "dearer": {"monthly_cap_usd": Decimal(51)},
        "later": {
            "starts_at": emergency["starts_at"] + timedelta(hours=1),
            "expires_at": emergency["expires_at"] + timedelta(hours=1),
        },
        "other tier": {"tier": glass.tier3},
        "stranger": {"key": factories.ApiKeyFactory.create(owner=glass.ada, project=glass.ranking)},
    }
    with refused_by("grant_was_approved"):
        Grant.objects.create(**emergency | changes[change])
