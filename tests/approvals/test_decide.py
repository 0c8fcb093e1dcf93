"""decide() on one stage: the answers table of the product."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from approvals.errors import (
    AlreadyDecidedError,
    BeneficiaryLeftError,
    ChangedSinceReadError,
    NotEligibleError,
)
from approvals.models import AccessRequest, Decision, RequestStatus, Verdict
from approvals.services import amend, decide, withdraw
from budgets.errors import HeadroomError
from budgets.models import Budget
from core import clock
from core.errors import GoneError, InvalidInputError
from core.models import AuditEvent, Outbox
from keys.models import ApiKey, Grant, KeyState
from keys.selectors import tiers_now
from keys.services import issue_key, revoke
from teams.models import Membership, Role, RoleAssignment
from tests import factories
from tests.approvals.by_hand import check_deferred_constraints
from tests.approvals.conftest import REASON, Ask
from tests.cast import Cast


def approve(cast: Cast, request: AccessRequest, **changes: Any) -> Any:
    """Let Ben approve what he read."""
    terms: dict[str, Any] = {"actor": cast.ben, "verdict": Verdict.APPROVE, "seen_revision": 1}
    return decide(request=request, **terms | changes)


def deny(cast: Cast, request: AccessRequest, **changes: Any) -> Any:
    """Let Ben deny what he read."""
    return approve(cast, request, **{"verdict": Verdict.DENY, "comment": "Too dear."} | changes)


def test_lead_approves_and_the_engineer_has_a_key_to_reveal(cast: Cast, asked: AccessRequest) -> None:
    request = approve(cast, asked).request
    check_deferred_constraints()
    assert (request.status, request.key.owner) == (RequestStatus.APPROVED, cast.ada)
    assert request.key.state == KeyState.AWAITING_REVEAL
    assert tiers_now(request.key) == [1, 2]


def test_the_grant_is_what_was_asked(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(clock.now() + timedelta(seconds=1), tick=False):
        approve(cast, asked)
        grant = Grant.objects.get()
        assert grant.expires_at == clock.now() + timedelta(days=60)
    assert (grant.tier, grant.model_ids, grant.granted_by) == (cast.tier2, [cast.large.pk], cast.ben)
    assert (grant.monthly_cap_usd, grant.source_request) == (Decimal(420), asked.public_id)


def test_the_cap_is_a_budget_of_the_new_key(cast: Cast, asked: AccessRequest) -> None:
    key = approve(cast, asked).request.key
    budget = Budget.objects.get(scope_kind="key", scope_id=key.pk)
    assert (budget.only_tier, budget.limits.get().amount_usd) == (cast.tier2, Decimal(420))


def test_approver_lowers_cap_and_duration(cast: Cast, asked: AccessRequest) -> None:
    approve(cast, asked, monthly_cap_usd=Decimal("99.5"), duration_days=7)
    grant = Grant.objects.get()
    assert grant.monthly_cap_usd == Decimal("99.5")
    assert grant.expires_at - grant.starts_at == timedelta(days=7)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"monthly_cap_usd": Decimal("420.000000000001")}, "monthly_cap_usd"),
        ({"monthly_cap_usd": Decimal(0)}, "monthly_cap_usd"),
        ({"monthly_cap_usd": Decimal(-1)}, "monthly_cap_usd"),
        ({"monthly_cap_usd": Decimal("1e-13")}, "monthly_cap_usd"),
        ({"monthly_cap_usd": Decimal("NaN")}, "monthly_cap_usd"),
        ({"duration_days": 61}, "duration_days"),
        ({"duration_days": 0}, "duration_days"),
        ({"comment": "x" * 2001}, "comment"),
    ],
)
def test_approver_never_raises_what_was_asked(
    cast: Cast, asked: AccessRequest, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        approve(cast, asked, **changes)
    assert (refusal.value.field, refusal.value.status) == (field, 422)
    assert not Decision.objects.exists()


def test_a_shorter_policy_in_force_now_shortens_the_grant(cast: Cast, asked: AccessRequest) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], default_days=14, max_days=14, max_monthly_usd=Decimal(50))
    approve(cast, asked)
    grant = Grant.objects.get()
    assert grant.expires_at - grant.starts_at == timedelta(days=14)
    assert grant.monthly_cap_usd == Decimal(50)


def test_approval_of_a_named_key_raises_that_key(cast: Cast, ask: Ask) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
    request = approve(cast, ask(extends_key=key)).request
    assert request.key == key
    assert ApiKey.objects.count() == 1


def test_a_named_key_that_ended_meanwhile_gets_nothing(cast: Cast, ask: Ask) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
    request = ask(extends_key=key)
    revoke(actor=cast.ada, key=key, reason="Lost.")
    with pytest.raises(AlreadyDecidedError, match="The key laptop was revoked"):
        approve(cast, request)
    assert not Decision.objects.exists()


def test_a_cap_that_does_not_fit_the_projects_budget_is_refused_with_the_numbers(
    cast: Cast, asked: AccessRequest
) -> None:
    budget = factories.BudgetFactory.create(project=cast.ranking)
    factories.BudgetLimitFactory.create(budget=budget, amount_usd=Decimal(100))
    with pytest.raises(HeadroomError, match=r"\$100\.00") as refusal:
        approve(cast, asked)
    assert refusal.value.field == "monthly_cap_usd"
    assert not Grant.objects.exists()
    assert approve(cast, asked, monthly_cap_usd=Decimal(100)).request.status == RequestStatus.APPROVED


def test_lead_denies_with_a_reason_that_the_engineer_reads(cast: Cast, asked: AccessRequest) -> None:
    request = deny(cast, asked, comment=" Try the small model first. ").request
    assert request.status == RequestStatus.DENIED
    assert Decision.objects.get().comment == "Try the small model first."
    mail = Outbox.objects.get(recipient="ada@example.com")
    assert "Try the small model first." in mail.payload["body"]
    assert not Grant.objects.exists()


@pytest.mark.parametrize("comment", ["", "   "])
def test_a_denial_needs_a_reason(cast: Cast, asked: AccessRequest, comment: str) -> None:
    with pytest.raises(InvalidInputError, match="Enter why") as refusal:
        deny(cast, asked, comment=comment)
    assert refusal.value.field == "comment"


def test_the_engineer_is_told_of_the_approval_without_a_secret(cast: Cast, asked: AccessRequest) -> None:
    approve(cast, asked)
    mail = Outbox.objects.get(recipient="ada@example.com")
    assert (mail.topic, mail.payload["link"]) == ("request.approved", f"/approvals/{asked.public_id}/")
    assert "psr_" not in str(mail.payload)


def test_each_step_of_an_approval_is_recorded(cast: Cast, asked: AccessRequest) -> None:
    approve(cast, asked)
    actions = AuditEvent.objects.order_by("pk").values_list("action", "actor_id")
    assert list(actions) == [
        ("request.submitted", cast.ada.pk),
        ("key.issued", cast.ben.pk),
        ("grant.given", cast.ben.pk),
        ("budget.opened", cast.ben.pk),
        ("request.approved", cast.ben.pk),
    ]


# ----------------------------------------------------------------------------- 200, the same again


@pytest.mark.parametrize("act", [approve, deny])
def test_the_same_verdict_again_changes_nothing(cast: Cast, asked: AccessRequest, act: Any) -> None:
    first = act(cast, asked)
    before = (AuditEvent.objects.count(), Outbox.objects.count(), Grant.objects.count())
    again = act(cast, asked)
    assert (first.replayed, again.replayed) == (False, True)
    assert (again.decision, again.request.status) == (first.decision, first.request.status)
    assert (AuditEvent.objects.count(), Outbox.objects.count(), Grant.objects.count()) == before


# ------------------------------------------------------------------------------- 409, already over


def test_the_other_verdict_after_the_decision_says_who_was_first(cast: Cast, asked: AccessRequest) -> None:
    approve(cast, asked)
    with pytest.raises(AlreadyDecidedError, match=r"Ben Okafor approved this request on .* UTC") as refusal:
        deny(cast, asked)
    assert refusal.value.status == 409
    assert (refusal.value.extra["by"], refusal.value.extra["what"]) == ("Ben Okafor", "approved")
    assert refusal.value.extra["at"] == Decision.objects.get().at.isoformat()


def test_a_second_lead_comes_too_late(cast: Cast, asked: AccessRequest) -> None:
    second = factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search).user
    deny(cast, asked)
    with pytest.raises(AlreadyDecidedError, match="Ben Okafor denied this request"):
        approve(cast, asked, actor=second)


def test_a_withdrawn_request_is_over(cast: Cast, asked: AccessRequest) -> None:
    withdraw(actor=cast.ada, request=asked)
    with pytest.raises(AlreadyDecidedError, match="Ada Moreno withdrew this request") as refusal:
        approve(cast, asked)
    assert refusal.value.extra["what"] == "withdrawn"


# ------------------------------------------------------------------------- 412, changed since read


def test_a_changed_request_is_refused_with_the_difference(cast: Cast, asked: AccessRequest) -> None:
    amend(
        actor=cast.ada,
        request=asked,
        seen_revision=1,
        model_names=["large", "larger"],
        reason=REASON,
        duration_days=30,
        expected_monthly_usd=Decimal(420),
    )
    with pytest.raises(ChangedSinceReadError, match="Ada Moreno changed this request") as refusal:
        approve(cast, asked)
    assert refusal.value.status == 412
    assert refusal.value.extra["difference"] == {
        "duration_days": {"before": 60, "after": 30},
        "models": {"before": ["large"], "after": ["large", "larger"]},
    }
    assert approve(cast, asked, seen_revision=2).request.status == RequestStatus.APPROVED


# ------------------------------------------------------------------------------- 403, not eligible


@pytest.mark.parametrize("name", ["cleo", "dan", "eve", "olga", "fay", "audrey", "ann"])
def test_whoever_is_not_the_lead_is_refused_and_told_who_is(
    cast: Cast, asked: AccessRequest, name: str
) -> None:
    with pytest.raises(NotEligibleError, match=r"needs the lead of Search\. Ask Ben Okafor") as refusal:
        approve(cast, asked, actor=getattr(cast, name))
    assert (refusal.value.status, refusal.value.extra["who_can"]) == (403, ["Ben Okafor"])
    assert not Decision.objects.exists()


@pytest.mark.parametrize("act", [approve, deny])
def test_engineer_cannot_decide_own_request(cast: Cast, asked: AccessRequest, act: Any) -> None:
    with pytest.raises(NotEligibleError, match="your own request"):
        act(cast, asked, actor=cast.ada)


def test_lead_cannot_approve_own_request(cast: Cast, ask: Ask) -> None:
    request = ask(actor=cast.ben)
    with pytest.raises(NotEligibleError, match=r"your own request.* Ask Cleo Hart"):
        approve(cast, request)
    assert approve(cast, request, actor=cast.cleo).request.status == RequestStatus.APPROVED


def test_engineer_who_became_lead_cannot_approve_own_request(cast: Cast, asked: AccessRequest) -> None:
    RoleAssignment.objects.filter(role=Role.LEAD, team=cast.search).update(user=cast.ada)
    with pytest.raises(NotEligibleError, match=r"your own request.* Ask Cleo Hart"):
        approve(cast, asked, actor=cast.ada)
    assert approve(cast, asked, actor=cast.cleo).request.status == RequestStatus.APPROVED


def test_only_director_cannot_approve_own_request(cast: Cast, ask: Ask) -> None:
    factories.MembershipFactory.create(user=cast.cleo, team=cast.search)
    request = ask(actor=cast.cleo, tier=cast.tier3, model_names=[], duration_days=30)
    with pytest.raises(NotEligibleError, match=r"your own request.* Ask Ann Keller"):
        approve(cast, request, actor=cast.cleo)
    assert approve(cast, request, actor=cast.ann).request.status == RequestStatus.APPROVED


def test_a_beneficiary_cannot_decide_what_another_asked_for_him(cast: Cast) -> None:
    request = factories.AccessRequestFactory.create(
        requester=cast.ada, beneficiary=cast.ben, project=cast.ranking
    )
    with pytest.raises(NotEligibleError, match="your own request"):
        approve(cast, request)


def test_a_lead_who_left_cannot_decide(cast: Cast, asked: AccessRequest) -> None:
    cast.ben.is_active = False
    cast.ben.save()
    with pytest.raises(NotEligibleError, match="Ask nobody"):
        approve(cast, asked)


def test_a_lead_whose_role_ended_cannot_decide(cast: Cast, asked: AccessRequest) -> None:
    RoleAssignment.objects.filter(role=Role.LEAD).update(valid_until=clock.now())
    with pytest.raises(NotEligibleError):
        approve(cast, asked)


def test_a_lead_appointed_after_the_request_decides(cast: Cast, asked: AccessRequest) -> None:
    newcomer = factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search).user
    assert approve(cast, asked, actor=newcomer).decision.actor == newcomer


def test_nothing_is_granted_to_somebody_who_left_the_team(cast: Cast, asked: AccessRequest) -> None:
    Membership.objects.filter(user=cast.ada).update(valid_until=clock.now())
    with pytest.raises(BeneficiaryLeftError, match="Ada Moreno does not work in team Search any more"):
        approve(cast, asked)
    assert deny(cast, asked, comment="Left the team.").request.status == RequestStatus.DENIED


def test_a_request_of_somebody_who_left_is_closed_before_anybody_decides_it(
    cast: Cast, asked: AccessRequest
) -> None:
    cast.ada.is_active = False
    cast.ada.save()
    with pytest.raises(AlreadyDecidedError, match="Ada Moreno has left"):
        approve(cast, asked)
    asked.refresh_from_db()
    assert (asked.status, asked.closed_reason) == (RequestStatus.CLOSED, "Ada Moreno has left.")


# ------------------------------------------------------------------------------ 410, past its time


@pytest.mark.parametrize("act", [approve, deny])
def test_nobody_decides_at_the_deadline(cast: Cast, asked: AccessRequest, act: Any) -> None:
    with (
        time_machine.travel(asked.decide_by, tick=False),
        pytest.raises(GoneError, match="expired") as refusal,
    ):
        act(cast, asked)
    assert refusal.value.status == 410


def test_the_last_moment_counts(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(asked.decide_by - timedelta(seconds=1), tick=False):
        assert approve(cast, asked).request.status == RequestStatus.APPROVED


def test_the_databases_clock_ends_it_too(cast: Cast) -> None:
    now = clock.now()
    request = factories.AccessRequestFactory.create(
        requester=cast.ada,
        project=cast.ranking,
        created_at=now - timedelta(days=8),
        decide_by=now - timedelta(minutes=1),
    )
    with time_machine.travel(now - timedelta(minutes=10)), pytest.raises(GoneError):
        approve(cast, request)
