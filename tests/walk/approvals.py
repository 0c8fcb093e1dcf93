"""The acts on requests, delegations, policies and grants under review."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import time_machine

import approvals.services
from approvals.models import (
    AccessRequest,
    BudgetRequest,
    Comment,
    Delegation,
    PolicyProposal,
    Verdict,
)
from approvals.rules import Rules
from approvals.services.increases.deciding import decide_increase
from budgets.models import ScopeKind
from core import clock
from keys.models import Grant
from teams.models import Project, Role, User
from tests import factories
from tests.api.world import open_budget
from tests.approvals.conftest import REASON, ask_for
from tests.cast import Cast
from tests.walk import WHY, Walk
from tests.walk.keys import own_key


def expire(cast: Cast) -> None:
    with time_machine.travel(ask_for(cast).decide_by):
        assert approvals.services.expire_due() == 1


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


def together(cast: Cast) -> Any:
    factories.new_policy(cast.tier2, [("lead", 1)], together_cap_usd=Decimal(500))
    return approvals.services.approve_together(actor=cast.ben, chosen=[(ask_for(cast), 1)])


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


def propose(cast: Cast) -> PolicyProposal:
    base = factories.policy_of(cast.tier2)
    return approvals.services.propose_policy(actor=cast.ann, base=base, rules=None, reason=WHY)


def let_off(cast: Cast) -> PolicyProposal:
    """Drop the rule by which what waits lacked a ticket."""
    base = factories.new_policy(cast.tier2, [("lead", 1)], needs_ticket=True)
    factories.AccessRequestFactory.create(requester=cast.ada, project=cast.ranking, policy=base)
    rules = replace(Rules.of(base), needs_ticket=False)
    proposal = approvals.services.propose_policy(actor=cast.ann, base=base, rules=rules, reason=WHY)
    return approvals.services.confirm_policy(actor=second_admin(), proposal=proposal)


def second_admin() -> User:
    return factories.RoleAssignmentFactory.create(role=Role.ADMIN).user


def remind(cast: Cast) -> None:
    with time_machine.travel(ask_for(cast).sla_at):
        assert approvals.services.remind_due() == 1


def follow(cast: Cast) -> None:
    ask_for(cast)
    Project.objects.update(archived_at=clock.now())
    assert approvals.services.follow_all(most=10) == 1


def deny(cast: Cast) -> Any:
    return approvals.services.decide(
        actor=cast.ben, request=ask_for(cast), verdict=Verdict.DENY, seen_revision=1, comment=WHY
    )


def decide_first_of_two(cast: Cast) -> Any:
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)])
    return decide(cast)


def ratify(cast: Cast) -> Any:
    review, _ = break_glass(cast)
    return approvals.services.decide(actor=cast.ben, request=review, verdict=Verdict.APPROVE, seen_revision=1)


def take_back(cast: Cast) -> Any:
    review, _ = break_glass(cast)
    return approvals.services.decide(
        actor=cast.ben, request=review, verdict=Verdict.DENY, seen_revision=1, comment=WHY
    )


def approved(cast: Cast) -> Grant:
    return factories.approved_grant(own_key(cast), granted_by=cast.ben)


def extend_by_rule(cast: Cast) -> AccessRequest:
    factories.new_policy(cast.tier2, [("lead", 1)], auto_extend=True)
    return approvals.services.extend(actor=cast.ada, grant=approved(cast), reason=REASON, duration_days=9)


def leave(cast: Cast) -> None:
    """Let Ben leave, who asks for more and lends what he holds."""
    ask_for(cast, actor=cast.ben)
    lend(cast)
    open_budget(cast, ScopeKind.TEAM, cast.search.pk, "500")
    approvals.services.close_requests_of(cast.ben)


def restart(cast: Cast) -> None:
    ask_for(cast)
    Project.objects.update(team=cast.cards)
    assert approvals.services.follow_all(most=10) == 1


def decided_increase(cast: Cast, verdict: Verdict = Verdict.APPROVE) -> Any:
    """Let Ben decide: he owns the budget of the team above."""
    open_budget(cast, ScopeKind.TEAM, cast.search.pk, "500")
    return decide_increase(
        actor=cast.ben, request=ask_increase(cast), verdict=verdict, seen_revision=1, comment=WHY
    )


def remind_of_increase(cast: Cast) -> None:
    with time_machine.travel(ask_increase(cast).sla_at):
        assert approvals.services.remind_due() == 1


def follow_increase(cast: Cast) -> None:
    ask_increase(cast)
    Project.objects.update(archived_at=clock.now())
    assert approvals.services.follow_all(most=10) == 1


def restart_increase(cast: Cast) -> None:
    ask_increase(cast)
    Project.objects.update(team=cast.cards)
    assert approvals.services.follow_all(most=10) == 1


WALK: Walk = {
    "approvals.submit": (ask_for, ["request.submitted"]),
    "approvals.amend": (amend, ["request.amended"]),
    "approvals.withdraw": (
        lambda cast: approvals.services.withdraw(actor=cast.ada, request=ask_for(cast)),
        ["request.withdrawn"],
    ),
    "approvals.decide": (decide, ["key.issued", "grant.given", "budget.opened", "request.approved"]),
    "approvals.approve_together": (
        together,
        ["key.issued", "grant.given", "budget.opened", "request.approved"],
    ),
    "approvals.comment": (say, ["request.commented"]),
    "approvals.accept_offer": (
        lambda cast: approvals.services.accept_offer(
            actor=cast.ada, offer=say(cast, offered_tier=cast.tier1), expected_monthly_usd=Decimal(1)
        ),
        ["request.closed"],
    ),
    "approvals.close_requests_of": (
        lambda cast: (ask_for(cast), approvals.services.close_requests_of(cast.ada)),
        ["request.closed"],
    ),
    "approvals.close_requests_in_team": (
        lambda cast: (
            ask_for(cast),
            approvals.services.close_requests_in_team(cast.ada, team=cast.search, reason="She left it."),
        ),
        ["request.closed"],
    ),
    "approvals.delegate": (lend, ["delegation.given"]),
    "approvals.end_delegation": (
        lambda cast: approvals.services.end_delegation(actor=cast.ben, delegation=lend(cast)),
        ["delegation.ended"],
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
        ["policy.confirmed"],
    ),
    "approvals.confirm_policy: less is asked for": (
        let_off,
        ["policy.confirmed", "request.eased"],
    ),
    "approvals.drop_policy": (
        lambda cast: approvals.services.drop_policy(actor=cast.ann, proposal=propose(cast)),
        ["policy.dropped"],
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
    "approvals.comment_increase": (
        lambda cast: approvals.services.comment_increase(
            actor=cast.ben, request=ask_increase(cast), text="Why so much?"
        ),
        ["budget_increase.commented"],
    ),
    "approvals.remind_due: more budget": (remind_of_increase, ["budget_increase.escalated"]),
    "approvals.follow_all: more budget": (follow_increase, ["budget_increase.closed"]),
    "approvals.follow_all: more budget in another team": (
        restart_increase,
        ["budget_increase.restarted"],
    ),
    "approvals.decide: deny": (deny, ["request.denied"]),
    "approvals.decide: first of two stages": (decide_first_of_two, ["request.agreed"]),
    "approvals.decide: ratify a broken glass": (ratify, ["request.approved"]),
    "approvals.decide: take back a broken glass": (take_back, ["request.denied", "grant.revoked"]),
    "approvals.comment: offer": (
        lambda cast: say(cast, offered_tier=cast.tier1),
        ["request.offered"],
    ),
    "approvals.close_requests_of: lent as well": (leave, ["request.closed", "delegation.ended"]),
    "approvals.extend: by rule": (
        extend_by_rule,
        ["request.submitted", "grant.given", "budget.opened", "request.approved"],
    ),
    "approvals.follow_all: another team": (restart, ["request.restarted"]),
    "approvals.review_grant: end": (
        lambda cast: approvals.services.review_grant(actor=cast.ben, grant=approved(cast), keeps=False),
        ["grant.revoked", "grant.not_kept"],
    ),
    "approvals.decide_increase": (
        decided_increase,
        ["budget.limit_changed", "budget_increase.approved"],
    ),
    "approvals.decide_increase: deny": (
        lambda cast: decided_increase(cast, Verdict.DENY),
        ["budget_increase.denied"],
    ),
}
