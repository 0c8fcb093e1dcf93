"""Several sessions at one request: first what happens without the lock, then with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest

from approvals.errors import AlreadyAskedError, AlreadyDecidedError, ChangedSinceReadError
from approvals.models import AccessRequest, Decision, RequestStatus, Verdict
from approvals.rules import Rules
from approvals.services import (
    Outcome,
    amend,
    ask_increase,
    break_glass,
    confirm_policy,
    decide,
    expire_due,
    follow_all,
    propose_policy,
    withdraw,
)
from budgets.models import BudgetLimit, ScopeKind
from core import clock
from core.errors import DomainError, InvalidInputError
from core.models import AuditEvent, Outbox
from keys.models import ApiKey, Grant
from teams.models import Role, User
from teams.services.changes import move_project
from tests import factories
from tests.api.world import open_budget
from tests.approvals.conftest import REASON, ask_for
from tests.cast import Cast, make_cast
from tests.racing import at_once, losers, while_it_waits, winners

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]


@pytest.fixture
def people() -> Cast:
    """Make the cast in committed rows, for every session to see."""
    return make_cast()


def leads(people: Cast, number: int) -> list[User]:
    """Return Ben and further leads of his team."""
    others = [
        factories.RoleAssignmentFactory.create(role=Role.LEAD, team=people.search).user
        for _ in range(number - 1)
    ]
    return [people.ben, *others]


def approval(request: AccessRequest, actor: User) -> Callable[[], Outcome]:
    return lambda: decide(actor=actor, request=request, verdict=Verdict.APPROVE, seen_revision=1)


def denial(request: AccessRequest, actor: User) -> Callable[[], Outcome]:
    return lambda: decide(actor=actor, request=request, verdict=Verdict.DENY, seen_revision=1, comment="No.")


def test_read_check_save_lets_two_approvers_through(people: Cast) -> None:
    request = ask_for(people)
    all_have_read = Barrier(2)
    effects: list[User] = []

    def naive_decide(actor: User) -> User:
        mine = AccessRequest.objects.get(pk=request.pk)
        if mine.status != RequestStatus.PENDING:
            raise AlreadyDecidedError("Somebody was first.")
        all_have_read.wait(20)
        effects.append(actor)  # the key that would be issued and the mail that would be sent
        AccessRequest.objects.filter(pk=request.pk).update(reason=f"approved by {actor}", revision=2)
        return actor

    first, second = leads(people, 2)
    at_once(lambda: naive_decide(first), lambda: naive_decide(second))
    assert len(effects) == 2


@pytest.mark.parametrize("approvers", [2, 6])
def test_one_of_many_approvers_grants(people: Cast, approvers: int) -> None:
    request = ask_for(people)
    outcomes = at_once(*[approval(request, lead) for lead in leads(people, approvers)])
    (won,) = winners(outcomes)
    assert [type(error) for error in losers(outcomes)] == [AlreadyDecidedError] * (approvers - 1)
    assert {error.extra["by"] for error in losers(outcomes) if isinstance(error, DomainError)} == {
        str(won.decision.actor)
    }
    one_of_each(request)


def test_a_double_click_grants_once_and_answers_twice(people: Cast) -> None:
    request = ask_for(people)
    outcomes = at_once(*[approval(request, people.ben)] * 4)
    assert sorted(outcome.replayed for outcome in outcomes) == [False, True, True, True]
    assert len({outcome.decision.pk for outcome in outcomes}) == 1
    one_of_each(request)


@pytest.mark.parametrize("attempt", range(3))
def test_approval_against_denial_has_one_winner(people: Cast, attempt: int) -> None:
    request = ask_for(people)
    first, second = leads(people, 2)
    outcomes = at_once(approval(request, first), denial(request, second))
    (won,) = winners(outcomes)
    request.refresh_from_db()
    approved = won.decision.verdict == Verdict.APPROVE
    assert request.status == (RequestStatus.APPROVED if approved else RequestStatus.DENIED)
    assert Grant.objects.count() == approved


@pytest.mark.parametrize("attempt", range(3))
def test_approval_against_withdrawal_has_one_winner(people: Cast, attempt: int) -> None:
    request = ask_for(people)
    outcomes = at_once(approval(request, people.ben), lambda: withdraw(actor=people.ada, request=request))
    assert len(winners(outcomes)) == 1
    request.refresh_from_db()
    assert Grant.objects.count() == (request.status == RequestStatus.APPROVED)


@pytest.mark.parametrize("attempt", range(3))
def test_nobody_approves_what_is_amended_at_the_same_time(people: Cast, attempt: int) -> None:
    request = ask_for(people)

    def change() -> AccessRequest:
        return amend(
            actor=people.ada,
            request=request,
            seen_revision=1,
            reason=REASON,
            duration_days=90,
            expected_monthly_usd=request.expected_monthly_usd,
        )

    outcomes = at_once(approval(request, people.ben), change)
    assert len(winners(outcomes)) == 1
    request.refresh_from_db()
    assert (request.status == RequestStatus.APPROVED) == (request.revision == 1)


def test_project_that_moves_while_somebody_asks_is_where_it_is_then(people: Cast) -> None:
    factories.MembershipFactory.create(user=people.ada, team=people.cards)
    made = while_it_waits(
        lambda: move_project(actor=None, project=people.ranking, team=people.cards, reason="A new owner."),
        lambda: ask_for(people),
    )
    assert made.team == people.cards


def test_project_moves_once_though_two_move_it(people: Cast) -> None:
    def move() -> Any:
        return move_project(actor=None, project=people.ranking, team=people.cards, reason="A new owner.")

    assert isinstance(while_it_waits(move, move), DomainError)


@pytest.mark.parametrize("what", ["team", "policy"])
def test_request_that_starts_again_while_somebody_decides_is_read_again(people: Cast, what: str) -> None:
    request = ask_for(people)

    def move() -> None:
        move_project(actor=None, project=people.ranking, team=people.cards, reason="A new owner.")
        follow_all(most=10)

    def stricter() -> None:
        rules = replace(Rules.of(request.policy), max_days=60, default_days=30)
        proposal = propose_policy(actor=people.ann, base=request.policy, rules=rules, reason="Shorter.")
        other = factories.RoleAssignmentFactory.create(role=Role.ADMIN).user
        confirm_policy(actor=other, proposal=proposal)

    refused = while_it_waits({"team": move, "policy": stricter}[what], approval(request, people.ben))
    assert isinstance(refused, ChangedSinceReadError)


def test_second_owner_of_a_budget_reads_who_was_first(people: Cast) -> None:
    budget = open_budget(people, ScopeKind.PROJECT, people.ranking.pk, "500")
    more = ask_increase(
        actor=people.ada, budget=budget, limit_usd=Decimal(600), reason="A launch in December."
    )
    first, second = leads(people, 2)

    def denial_of(actor: User) -> Callable[[], Any]:
        return lambda: decide(actor=actor, request=more, verdict=Verdict.DENY, seen_revision=1, comment="No.")

    refused = while_it_waits(denial_of(first), denial_of(second))
    assert isinstance(refused, AlreadyDecidedError)
    assert refused.extra["by"] == str(first)


def test_two_approvers_of_a_quorum_of_two_both_count(people: Cast) -> None:
    first, second = leads(people, 2)
    factories.new_policy(people.tier2, [("lead", 2)])
    request = ask_for(people)
    outcomes = at_once(approval(request, first), approval(request, second))
    assert len(winners(outcomes)) == 2
    assert Decision.objects.filter(request=request).count() == 2
    one_of_each(request)


def test_the_same_wish_sent_twice_is_one_request(people: Cast) -> None:
    outcomes = at_once(*[lambda: ask_for(people)] * 4)
    (request,) = winners(outcomes)
    assert [type(error) for error in losers(outcomes)] == [AlreadyAskedError] * 3
    assert AccessRequest.objects.get() == request
    assert Outbox.objects.count() == 1


def test_two_sweepers_expire_a_request_once(people: Cast) -> None:
    request = factories.AccessRequestFactory.create(
        requester=people.ada,
        project=people.ranking,
        created_at=factories.long_ago(),
        decide_by=clock.now(),
    )
    counts = at_once(expire_due, expire_due, expire_due)
    assert sum(counts) == 1
    assert AuditEvent.objects.filter(action="request.expired").count() == 1
    request.refresh_from_db()
    assert request.status == RequestStatus.EXPIRED


@pytest.mark.parametrize("attempt", range(3))
def test_two_owners_of_a_budget_decide_a_request_once(people: Cast, attempt: int) -> None:
    budget = open_budget(people, ScopeKind.PROJECT, people.ranking.pk, "500")
    open_budget(people, ScopeKind.TEAM, people.search.pk, "1000")
    more = ask_increase(
        actor=people.ada, budget=budget, limit_usd=Decimal(600), reason="A launch in December."
    )

    def verdict(actor: User, says: Verdict) -> Callable[[], Any]:
        return lambda: decide(actor=actor, request=more, verdict=says, seen_revision=1, comment="Why.")

    first, second = leads(people, 2)
    outcomes = at_once(verdict(first, Verdict.APPROVE), verdict(second, Verdict.DENY))
    assert len(winners(outcomes)) == 1
    assert [type(error) for error in losers(outcomes)] == [AlreadyDecidedError]
    more.refresh_from_db()
    approved = more.status == RequestStatus.APPROVED
    assert BudgetLimit.objects.filter(budget=budget).count() == 1 + approved


def one_of_each(request: AccessRequest) -> None:
    """Assert that an approval had each of its effects once."""
    request.refresh_from_db()
    assert request.status == RequestStatus.APPROVED
    counts: dict[str, Any] = {
        "grants": Grant.objects.filter(source_request=request.public_id).count(),
        "keys": ApiKey.objects.count(),
        "records": AuditEvent.objects.filter(action="request.approved").count(),
        "mails": Outbox.objects.filter(topic="request.approved").count(),
    }
    assert counts == {"grants": 1, "keys": 1, "records": 1, "mails": 1}


def stricter(people: Cast, **changes: Any) -> Callable[[], Any]:
    """Have other rules of Tier 2 proposed, or that the director decides too; return what confirms it."""
    base = factories.policy_of(people.tier2)
    two = {"stages": ((Role.LEAD, 1), (Role.DIRECTOR, 1)), "escalation_role": Role.ADMIN}
    rules = replace(Rules.of(base), **(changes or two))
    second = factories.RoleAssignmentFactory.create(role=Role.ADMIN).user
    proposal = propose_policy(actor=people.ann, base=base, rules=rules, reason="Stricter.")
    return lambda: confirm_policy(actor=second, proposal=proposal)


def amended(people: Cast, request: AccessRequest) -> AccessRequest:
    return amend(
        actor=people.ada,
        request=request,
        seen_revision=1,
        reason=f"{REASON} It is more now.",
        duration_days=90,
        expected_monthly_usd=request.expected_monthly_usd,
    )


@pytest.mark.parametrize("rules_come_first", [True, False])
@pytest.mark.parametrize("changes", [False, True])
def test_who_asks_while_the_rules_become_stricter_waits_under_the_new_ones(
    people: Cast, rules_come_first: bool, changes: bool
) -> None:
    before = ask_for(people) if changes else None

    def act() -> Any:
        return amended(people, before) if before else ask_for(people)

    confirm = stricter(people)
    outcome = while_it_waits(confirm, act) if rules_come_first else while_it_waits(act, confirm)

    assert not isinstance(outcome, Exception) or isinstance(outcome, ChangedSinceReadError), outcome
    request = AccessRequest.objects.get()
    assert request.policy.version == 2
    stages = request.stages.filter(revision=request.revision).values_list("role", flat=True)
    assert list(stages) == [Role.LEAD, Role.DIRECTOR]


@pytest.mark.parametrize("hours", [0, 1])
def test_who_breaks_the_glass_while_the_rules_become_stricter_takes_what_the_new_ones_give(
    people: Cast, hours: int
) -> None:
    most = {"break_glass_hours": 4, "break_glass_cap_usd": Decimal(50)}
    factories.new_policy(people.tier2, [("lead", 1)], **most)
    less = {"break_glass_hours": hours, "break_glass_cap_usd": Decimal(20) if hours else None}

    def act() -> Any:
        return break_glass(actor=people.ada, project=people.ranking, tier=people.tier2, reason=REASON)

    outcome = while_it_waits(stricter(people, **less), act)

    if hours:
        _, grant = outcome
        assert (grant.monthly_cap_usd, grant.expires_at - grant.starts_at) == (20, timedelta(hours=1))
    else:
        assert isinstance(outcome, InvalidInputError)
        assert not Grant.objects.exists()
