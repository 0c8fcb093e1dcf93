"""No row, no change: every service of teams, keys and approvals leaves exactly its own record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from inspect import getmembers, isfunction
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.test import override_settings

import approvals.services
import keys.services
import teams.services
from approvals.models import (
    AccessRequest,
    BudgetRequest,
    Comment,
    Delegation,
    PolicyProposal,
    RequestStatus,
    Verdict,
)
from budgets.models import Budget, ScopeKind
from core import audit, clock
from core.models import AuditEvent, Outbox
from keys.models import ApiKey
from keys.services import issue_approved_key, issue_key
from teams.models import DirectoryGroup, Project, Role, RoleAssignment, RoleSource, User
from tests import factories
from tests.api.world import open_budget
from tests.approvals.conftest import REASON, ask_for
from tests.cast import Cast

Act = Callable[[Cast], Any]


def own_key(cast: Cast) -> ApiKey:
    return issue_key(actor=cast.ada, project=cast.ranking, name="laptop")


def expire(cast: Cast) -> None:
    with time_machine.travel(ask_for(cast).decide_by):
        assert approvals.services.expire_due() == 1


def grant(cast: Cast) -> None:
    key = own_key(cast)
    request = factories.AccessRequestFactory.create(requester=cast.ada, project=cast.ranking)
    factories.approve(request, cast.ben, key=key)
    keys.services.grant(
        actor=cast.ben,
        key=key,
        tier=cast.tier2,
        model_ids=[],
        monthly_cap_usd=Decimal(1),
        days=1,
        source_request=request.public_id,
    )


def come_back(cast: Cast) -> None:
    teams.services.deactivate_person(actor=cast.ann, user=cast.ada, reason=WHY, endings=())
    teams.services.reactivate_person(actor=cast.ann, user=cast.ada, reason=WHY)


def follow_directory(cast: Cast) -> None:
    with override_settings(DIRECTORY_ROLES={"Accountants": (("finance", ""),)}):
        teams.services.follow_groups(user=cast.ada, source=RoleSource.SIGN_IN, groups=["Accountants"])


@override_settings(DIRECTORY_ROLES={"Accountants": (("finance", ""),)})
def save_group(cast: Cast) -> DirectoryGroup:
    return teams.services.save_group(group=None, name="Accountants", external_id="", members=[cast.ada])


def reset_factors(cast: Cast) -> None:
    Authenticator.objects.create(user=cast.ben, type=Authenticator.Type.TOTP, data={})
    teams.services.reset_factors(actor=cast.ann, user=cast.ben, reason=WHY)


def sign_out(cast: Cast) -> None:
    UserSession.objects.create(user=cast.ada, ip="192.0.2.1", session_key="of-a-test", user_agent="")
    teams.services.end_sessions(actor=cast.ada, user=cast.ada)


def amend(cast: Cast) -> AccessRequest:
    return approvals.services.amend(
        actor=cast.ada,
        request=ask_for(cast),
        seen_revision=1,
        reason=REASON,
        duration_days=1,
        expected_monthly_usd=Decimal(1),
    )


def decide(cast: Cast) -> Any:
    return approvals.services.decide(
        actor=cast.ben, request=ask_for(cast), verdict=Verdict.APPROVE, seen_revision=1
    )


def ask_increase(cast: Cast) -> BudgetRequest:
    budget = open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "50")
    return approvals.services.ask_increase(
        actor=cast.ada, budget=budget, limit_usd=Decimal(100), reason="A launch in December."
    )


def say(cast: Cast, **offer: Any) -> Comment:
    return approvals.services.comment(actor=cast.ben, request=ask_for(cast), text="Why?", **offer)


def lend(cast: Cast) -> Delegation:
    now = clock.now()
    return approvals.services.delegate(
        actor=cast.ben,
        taker=cast.dan,
        role=Role.LEAD,
        team=cast.search,
        valid_from=now,
        valid_until=now + timedelta(days=3),
    )


def break_glass(cast: Cast) -> Any:
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    return approvals.services.break_glass(
        actor=cast.ada, project=cast.ranking, tier=cast.tier2, reason=REASON
    )


def grant_for_hours(cast: Cast) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    key = own_key(cast)
    review = factories.AccessRequestFactory.create(
        requester=cast.ada, project=cast.ranking, kind="break_glass", extends_key=key
    )
    keys.services.grant_for_hours(
        actor=cast.ada,
        key=key,
        tier=cast.tier2,
        model_ids=[],
        monthly_cap_usd=Decimal(50),
        hours=4,
        source_request=review.public_id,
    )


def propose(cast: Cast) -> PolicyProposal:
    base = factories.policy_of(cast.tier2)
    return approvals.services.propose_policy(actor=cast.ann, base=base, rules=None, reason=WHY)


def second_admin() -> User:
    return factories.RoleAssignmentFactory.create(role=Role.ADMIN).user


def remind(cast: Cast) -> None:
    with time_machine.travel(ask_for(cast).sla_at):
        assert approvals.services.remind_due() == 1


def follow(cast: Cast) -> None:
    ask_for(cast)
    Project.objects.update(archived_at=clock.now())
    assert approvals.services.follow_all(most=10) == 1


WHY = "The organisation changes."

# Each service, how to do it once, and the actions that it records besides those of what came before.
WALK: dict[str, tuple[Act, list[str]]] = {
    "approvals.submit": (ask_for, ["request.submitted"]),
    "approvals.amend": (amend, ["request.amended"]),
    "approvals.withdraw": (
        lambda cast: approvals.services.withdraw(actor=cast.ada, request=ask_for(cast)),
        ["request.withdrawn"],
    ),
    "approvals.decide": (decide, ["key.issued", "grant.given", "budget.opened", "request.approved"]),
    "approvals.comment": (say, ["request.commented"]),
    "approvals.accept_offer": (
        lambda cast: approvals.services.accept_offer(
            actor=cast.ada, offer=say(cast, offered_tier=cast.tier1), expected_monthly_usd=Decimal(1)
        ),
        ["request.offered", "request.closed"],
    ),
    "approvals.close_requests_of": (
        lambda cast: (ask_for(cast), approvals.services.close_requests_of(cast.ada)),
        ["request.closed"],
    ),
    "approvals.delegate": (lend, ["delegation.given"]),
    "approvals.end_delegation": (
        lambda cast: approvals.services.end_delegation(actor=cast.ben, delegation=lend(cast)),
        ["delegation.given", "delegation.ended"],
    ),
    "approvals.extend": (
        lambda cast: approvals.services.extend(
            actor=cast.ada, grant=factories.approved_grant(own_key(cast)), reason=REASON, duration_days=9
        ),
        ["request.submitted"],
    ),
    "approvals.break_glass": (
        break_glass,
        ["request.submitted", "key.issued", "grant.given", "budget.opened"],
    ),
    "approvals.propose_policy": (propose, ["policy.proposed"]),
    "approvals.confirm_policy": (
        lambda cast: approvals.services.confirm_policy(actor=second_admin(), proposal=propose(cast)),
        ["policy.proposed", "policy.confirmed"],
    ),
    "approvals.drop_policy": (
        lambda cast: approvals.services.drop_policy(actor=cast.ann, proposal=propose(cast)),
        ["policy.proposed", "policy.dropped"],
    ),
    "approvals.remind_due": (remind, ["request.escalated"]),
    "approvals.follow_all": (follow, ["request.closed"]),
    "approvals.review_grant": (
        lambda cast: approvals.services.review_grant(
            actor=cast.ben, grant=factories.approved_grant(own_key(cast)), keeps=True
        ),
        ["grant.kept"],
    ),
    "approvals.expire_due": (expire, ["request.expired"]),
    "approvals.ask_increase": (ask_increase, ["budget_increase.asked"]),
    "approvals.amend_increase": (
        lambda cast: approvals.services.amend_increase(
            actor=cast.ada,
            request=ask_increase(cast),
            seen_revision=1,
            limit_usd=Decimal(120),
            reason="We need even more.",
        ),
        ["budget_increase.amended"],
    ),
    "approvals.withdraw_increase": (
        lambda cast: approvals.services.withdraw_increase(actor=cast.ada, request=ask_increase(cast)),
        ["budget_increase.withdrawn"],
    ),
    "keys.issue_key": (own_key, ["key.issued"]),
    "keys.issue_approved_key": (
        lambda cast: issue_approved_key(
            actor=cast.ben, owner=cast.ada, project=cast.ranking, name="Tier 2", days=1
        ),
        ["key.issued"],
    ),
    "keys.reveal": (
        lambda cast: keys.services.reveal(actor=cast.ada, key=own_key(cast)),
        ["key.revealed"],
    ),
    "keys.revoke": (
        lambda cast: keys.services.revoke(actor=cast.ben, key=own_key(cast), reason="Leaked."),
        ["key.revoked"],
    ),
    "keys.grant": (grant, ["grant.given", "budget.opened"]),
    "keys.grant_for_hours": (grant_for_hours, ["grant.given", "budget.opened"]),
    "keys.revoke_grant": (
        lambda cast: keys.services.revoke_grant(
            actor=cast.ben, grant=factories.approved_grant(own_key(cast)), reason="Not used."
        ),
        ["grant.revoked"],
    ),
    "teams.create_department": (
        lambda cast: teams.services.create_department(actor=cast.ann, code="new", name="New"),
        ["department.created"],
    ),
    "teams.create_team": (
        lambda cast: teams.services.create_team(
            actor=cast.ann, department=cast.product, code="new", name="New"
        ),
        ["team.created"],
    ),
    "teams.create_project": (
        lambda cast: teams.services.create_project(
            actor=cast.ben, team=cast.search, code="new", name="New", owner=cast.ben, cost_centre="CC-9"
        ),
        ["project.created"],
    ),
    "teams.add_member": (
        lambda cast: teams.services.add_member(actor=cast.ben, team=cast.search, user=cast.dan),
        ["team.member_added"],
    ),
    "teams.end_membership": (
        lambda cast: teams.services.end_membership(
            actor=cast.ben, team=cast.search, user=cast.ada, reason="Moved."
        ),
        ["team.member_left"],
    ),
    "teams.assign_role": (
        lambda cast: teams.services.assign_role(
            actor=cast.ann, user=cast.ada, role=Role.LEAD, team=cast.search
        ),
        ["role.assigned"],
    ),
    "teams.end_role": (
        lambda cast: teams.services.end_role(
            actor=cast.ann, assignment=RoleAssignment.objects.get(user=cast.ben), reason="Moved."
        ),
        ["role.ended"],
    ),
    "teams.rename_department": (
        lambda cast: teams.services.rename_department(
            actor=cast.ann, department=cast.product, name="Products", reason=WHY
        ),
        ["department.renamed"],
    ),
    "teams.rename_team": (
        lambda cast: teams.services.rename_team(actor=cast.cleo, team=cast.search, name="Find", reason=WHY),
        ["team.renamed"],
    ),
    "teams.rename_project": (
        lambda cast: teams.services.rename_project(
            actor=cast.cleo, project=cast.ranking, name="Order", reason=WHY
        ),
        ["project.renamed"],
    ),
    "teams.move_project": (
        lambda cast: teams.services.move_project(
            actor=cast.ann, project=cast.ranking, team=cast.cards, reason=WHY
        ),
        ["project.moved"],
    ),
    "teams.move_team": (
        lambda cast: teams.services.move_team(
            actor=cast.ann, team=cast.search, department=cast.payments, reason=WHY
        ),
        ["team.moved"],
    ),
    "teams.archive_project": (
        lambda cast: teams.services.archive_project(actor=cast.cleo, project=cast.ranking, reason=WHY),
        ["project.archived"],
    ),
    "teams.archive_team": (
        lambda cast: teams.services.archive_team(actor=cast.cleo, team=cast.search, reason=WHY),
        ["project.archived", "team.archived"],
    ),
    "teams.create_person": (
        lambda cast: teams.services.create_person(actor=cast.ann, email="nia@example.com", name="Nia"),
        ["person.created"],
    ),
    "teams.rename_person": (
        lambda cast: teams.services.rename_person(actor=cast.ann, user=cast.ada, name="Ada May", reason=WHY),
        ["person.renamed"],
    ),
    "teams.change_address": (
        lambda cast: teams.services.change_address(
            actor=cast.ann, user=cast.ada, email="may@example.com", reason=WHY
        ),
        ["person.address_changed"],
    ),
    "teams.reactivate_person": (come_back, ["person.deactivated", "person.reactivated"]),
    "teams.reset_factors": (reset_factors, ["person.factors_reset"]),
    "teams.remove_person": (
        lambda cast: teams.services.remove_person(user=cast.ada, reason=WHY, endings=()),
        ["person.deactivated"],
    ),
    "teams.link_person": (
        lambda cast: teams.services.link_person(user=cast.ada, external_id="00u"),
        ["person.linked"],
    ),
    "teams.save_group": (save_group, ["group.created", "role.assigned"]),
    "teams.remove_group": (
        lambda cast: teams.services.remove_group(group=save_group(cast)),
        ["group.created", "role.assigned", "group.removed", "role.ended"],
    ),
    "teams.follow_groups": (follow_directory, ["role.assigned"]),
    "teams.record_sign_in_change": (
        lambda cast: teams.services.record_sign_in_change(user=cast.ada, change="totp_activated"),
        ["person.second_factor_added"],
    ),
    "teams.end_sessions": (sign_out, ["person.sessions_ended"]),
    "keys.revoke_keys_of": (
        lambda cast: keys.services.revoke_keys_of(actor=cast.ann, person=own_key(cast).owner, reason=WHY),
        ["key.revoked"],
    ),
    "teams.deactivate_person": (
        lambda cast: teams.services.deactivate_person(actor=cast.ann, user=cast.ada, reason=WHY, endings=()),
        ["person.deactivated"],
    ),
}
BEFORE = {"request.submitted", "key.issued", "budget.opened", "budget_increase.asked"}


def test_every_service_is_in_the_walk() -> None:
    public = {
        f"{module.__name__.partition('.')[0]}.{name}"
        for module in (approvals.services, keys.services, teams.services)
        for name, function in getmembers(module, isfunction)
        if function.__module__.startswith(module.__name__) and not name.startswith("_")
    }
    assert public == WALK.keys()


@pytest.mark.parametrize("service", WALK)
def test_a_service_leaves_its_own_record(cast: Cast, service: str) -> None:
    act, actions = WALK[service]
    act(cast)
    recorded = list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))
    assert recorded[-len(actions) :] == actions
    assert set(recorded[: -len(actions)]) <= BEFORE


def test_a_decision_whose_record_fails_never_happened(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ask_for(cast)
    record = audit.record

    def broken(**values: Any) -> AuditEvent:
        if values["action"] == "request.approved":
            raise ConnectionError("no record can be written")
        return record(**values)

    monkeypatch.setattr(audit, "record", broken)
    with pytest.raises(ConnectionError):
        approvals.services.decide(actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    request.refresh_from_db()
    assert request.status == RequestStatus.PENDING
    assert not request.decisions.exists()
    assert not ApiKey.objects.exists()
    assert not Budget.objects.exists()
    assert set(Outbox.objects.values_list("topic", flat=True)) == {"request.waiting"}
