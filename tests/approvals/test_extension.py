"""Access that goes on, by a human or by the rule."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db.models import F

from approvals.errors import AlreadyAskedError, AlreadyDecidedError
from approvals.models import AccessRequest, RequestKind, RequestStatus, Verdict
from approvals.services import amend, decide, extend
from budgets.models import Balance, Budget, BudgetLimit, ScopeKind
from budgets.selectors import budget_rows
from budgets.services.rules import close_budget
from core import clock
from core.errors import GoneError, InvalidInputError, NotAllowedError
from core.models import AuditEvent, Outbox
from keys.models import Grant, GrantState
from keys.services import revoke, revoke_grant, shrink_grant
from teams.models import Role
from teams.services import end_role
from tests import factories
from tests.api.world import open_budget
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
    with pytest.raises(AlreadyDecidedError, match="would extend has ended"):
        approve(cast, request)
    assert Grant.objects.count() == 1


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


@pytest.mark.parametrize(("usd", "days"), [(1, 60), (421, 60), (420, 61)])
def test_the_rule_extends_nothing_that_differs(cast: Cast, with_rule: Grant, usd: int, days: int) -> None:
    request = more_time(cast, with_rule, expected_monthly_usd=Decimal(usd), duration_days=days)
    assert request.status == RequestStatus.PENDING


@pytest.mark.parametrize(("days", "becomes"), [(7, RequestStatus.APPROVED), (8, RequestStatus.PENDING)])
def test_the_rule_gives_no_more_days_than_a_human_left(
    cast: Cast, with_rule: Grant, days: int, becomes: RequestStatus
) -> None:
    """Ben cut the sixty days down to seven."""
    sooner = with_rule.starts_at + timedelta(days=7)
    shrink_grant(actor=cast.ben, grant=with_rule, reason="A week will do.", expires_at=sooner)
    assert more_time(cast, with_rule, duration_days=days).status == becomes


def test_raw_sql_lets_no_rule_lengthen(cast: Cast, with_rule: Grant) -> None:
    request = more_time(cast, with_rule, duration_days=61)
    with refused_by("request_rule_extends_tier_2_alone"):
        change_requests(
            f"status = 'approved', decided_at = now(), by_rule = true, key_id = {with_rule.key_id}",
            pk=request.pk,
        )


def spend(budget: Budget, usd: Decimal) -> None:
    """Book so much into the window of a budget that is open now."""
    row = budget_rows(Budget.objects.filter(pk=budget.pk))[0]
    window = {"budget": budget, "window_start": row.window_starts_at}
    Balance.objects.get_or_create(**window, defaults={"window_end": row.window_ends_at})
    Balance.objects.filter(**window).update(spent_usd=F("spent_usd") + usd)


def test_the_rule_looks_at_what_was_spent(cast: Cast, with_rule: Grant) -> None:
    spend(Budget.objects.get(only_tier=cast.tier2), Decimal(336))
    assert more_time(cast, with_rule).status == RequestStatus.PENDING


def test_the_rule_extends_what_somebody_approved_who_has_no_role_any_more(
    cast: Cast, with_rule: Grant
) -> None:
    factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search)
    end_role(actor=cast.ann, assignment=cast.ben.role_assignments.get(), reason="Moved on.")
    request = more_time(cast, with_rule)
    check_deferred_constraints()
    assert (request.status, request.by_rule) == (RequestStatus.APPROVED, True)


def test_what_the_rule_cannot_give_waits_for_a_human(cast: Cast, with_rule: Grant) -> None:
    """The team has less than the cap meanwhile: only somebody who sees that can decide."""
    close_budget(actor=cast.fay, budget=Budget.objects.get(only_tier=cast.tier2), reason="Tidying.")
    open_budget(cast, ScopeKind.TEAM, cast.search.pk, "100")
    request = more_time(cast, with_rule)
    check_deferred_constraints()
    request.refresh_from_db()
    assert (request.status, request.by_rule) == (RequestStatus.PENDING, False)
    assert not Grant.objects.filter(supersedes=with_rule).exists()
    told = Outbox.objects.filter(topic__startswith="request.").values_list("recipient", flat=True)
    assert "ben@example.com" in told


def test_raw_sql_lets_no_rule_approve_in_tier_3_or_a_first_request(cast: Cast, ask: Ask) -> None:
    key = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    approved = "status = 'approved', decided_at = now(), by_rule = true, key_id ="
    for request in (ask(), ask(tier=cast.tier3, model_names=[], duration_days=30)):
        with refused_by("request_rule_extends_tier_2_alone"):
            change_requests(f"{approved} {key.pk}", pk=request.pk)
    with refused_by("policy_auto_rule_is_for_tier_2_alone"):
        factories.new_policy(cast.tier3, [("director", 1)], auto_extend=True, max_days=30)
