"""Several stages and quorums: distinct humans, in order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from approvals.errors import AlreadyDecidedError, NotEligibleError
from approvals.models import AccessRequest, RequestStatus, Verdict
from approvals.services import amend, decide
from core.models import AuditEvent, Outbox
from keys.models import Grant
from teams.models import Role, User
from tests import factories
from tests.approvals.by_hand import check_deferred_constraints
from tests.approvals.conftest import Ask
from tests.cast import Cast


@pytest.fixture
def two_stages(cast: Cast, ask: Ask) -> AccessRequest:
    """Return a request that the lead and then the director must approve."""
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)])
    return ask(duration_days=60)


def approve(request: AccessRequest, actor: User, *, revision: int = 1, **terms: Any) -> AccessRequest:
    outcome = decide(actor=actor, request=request, verdict=Verdict.APPROVE, seen_revision=revision, **terms)
    return outcome.request


def test_the_lead_then_the_director(cast: Cast, two_stages: AccessRequest) -> None:
    halfway = approve(two_stages, cast.ben)
    assert (halfway.status, halfway.stage_index) == (RequestStatus.PENDING, 1)
    assert not Grant.objects.exists()
    assert approve(two_stages, cast.cleo).status == RequestStatus.APPROVED
    check_deferred_constraints()
    assert Grant.objects.get().granted_by == cast.cleo


def test_the_director_does_not_go_first(cast: Cast, two_stages: AccessRequest) -> None:
    with pytest.raises(NotEligibleError, match="needs the lead of Search"):
        approve(two_stages, cast.cleo)


def test_the_director_is_told_when_it_is_his_turn(cast: Cast, two_stages: AccessRequest) -> None:
    assert set(Outbox.objects.values_list("recipient", flat=True)) == {"ben@example.com"}
    approve(two_stages, cast.ben)
    assert set(Outbox.objects.values_list("recipient", flat=True)) == {"ben@example.com", "cleo@example.com"}


def test_the_lowest_offers_of_all_stages_count(cast: Cast, two_stages: AccessRequest) -> None:
    approve(two_stages, cast.ben, monthly_cap_usd=Decimal(100))
    approve(two_stages, cast.cleo, duration_days=10, monthly_cap_usd=Decimal(300))
    grant = Grant.objects.get()
    assert (grant.monthly_cap_usd, (grant.expires_at - grant.starts_at).days) == (Decimal(100), 10)


def test_one_denial_at_any_stage_ends_it(cast: Cast, two_stages: AccessRequest) -> None:
    approve(two_stages, cast.ben)
    ended = decide(
        actor=cast.cleo, request=two_stages, verdict=Verdict.DENY, seen_revision=1, comment="No budget."
    )
    assert ended.request.status == RequestStatus.DENIED
    assert not Grant.objects.exists()


def test_nobody_counts_in_two_stages(cast: Cast, two_stages: AccessRequest) -> None:
    factories.RoleAssignmentFactory.create(user=cast.ben, role=Role.DIRECTOR, department=cast.product)
    approve(two_stages, cast.ben)
    assert approve(two_stages, cast.ben).stage_index == 1, "the same verdict again is a replay"
    with pytest.raises(AlreadyDecidedError, match="You approved this request"):
        decide(actor=cast.ben, request=two_stages, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    assert AccessRequest.objects.get().status == RequestStatus.PENDING


def test_a_quorum_of_two_needs_two_humans(cast: Cast, ask: Ask) -> None:
    second = factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search).user
    factories.new_policy(cast.tier2, [("lead", 2)])
    request = ask()
    assert approve(request, cast.ben).status == RequestStatus.PENDING
    assert approve(request, cast.ben).status == RequestStatus.PENDING
    assert AuditEvent.objects.filter(action="request.agreed").count() == 1
    assert approve(request, second).status == RequestStatus.APPROVED


def test_the_leads_own_request_skips_no_stage_but_merges_with_the_directors(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)])
    request = ask(actor=cast.ben)
    assert [stage.role for stage in request.stages.all()] == [Role.DIRECTOR]
    assert approve(request, cast.cleo).status == RequestStatus.APPROVED


def test_an_amendment_starts_at_the_first_stage_and_counts_nothing_before(
    cast: Cast, two_stages: AccessRequest
) -> None:
    approve(two_stages, cast.ben)
    changed = amend(
        actor=cast.ada,
        request=two_stages,
        seen_revision=1,
        reason="We need the larger model as well.",
        duration_days=60,
        expected_monthly_usd=Decimal(900),
    )
    assert (changed.revision, changed.stage_index) == (2, 0)
    with pytest.raises(NotEligibleError, match="needs the lead"):
        approve(two_stages, cast.cleo, revision=2)
    assert approve(two_stages, cast.ben, revision=2).stage_index == 1
    assert approve(two_stages, cast.cleo, revision=2).status == RequestStatus.APPROVED
    assert two_stages.decisions.count() == 3
