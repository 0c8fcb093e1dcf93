"""Roles that are lent: who decides for whom, for how long, and what nobody can lend."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine

from approvals.cases import case_of
from approvals.errors import AlreadyDecidedError, NotEligibleError
from approvals.models import AccessRequest, Delegation, RequestStatus, Verdict
from approvals.selectors import find, inbox, waiting_count
from approvals.services import decide, delegate, end_delegation
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError
from core.models import AuditEvent, Outbox
from teams.models import Role, RoleAssignment, User
from tests import factories
from tests.approvals.by_hand import check_deferred_constraints
from tests.approvals.conftest import Ask, lend
from tests.browsing import Visitor
from tests.cast import Cast


def lends(cast: Cast, **changes: Any) -> Delegation:
    """Let Ben lend his role to Dan from now on for a week, unless said otherwise."""
    now = clock.now()
    terms: dict[str, Any] = {"actor": cast.ben, "taker": cast.dan, "role": Role.LEAD, "team": cast.search}
    terms |= {"valid_from": now, "valid_until": now + timedelta(days=7)}
    return delegate(**terms | changes)


def approve(request: AccessRequest, actor: User, revision: int = 1) -> Any:
    return decide(actor=actor, request=request, verdict=Verdict.APPROVE, seen_revision=revision)


def test_a_delegate_decides_in_his_own_name_and_the_record_says_for_whom(
    cast: Cast, asked: AccessRequest
) -> None:
    lends(cast)
    outcome = approve(asked, cast.dan)
    check_deferred_constraints()
    assert (outcome.decision.actor, outcome.decision.on_behalf_of) == (cast.dan, cast.ben)
    event = AuditEvent.objects.get(action="request.approved")
    assert (event.actor_id, event.on_behalf_of_id) == (cast.dan.pk, cast.ben.pk)


def test_what_is_offered_to_a_delegate_is_what_decide_allows(cast: Cast, asked: AccessRequest) -> None:
    assert waiting_count(cast.dan) == 0
    lends(cast)
    assert waiting_count(cast.dan) == 1
    (waiting,) = inbox(cast.dan).requests
    case = case_of(cast.dan, waiting)
    assert case.may_decide
    assert case.deciders == ("Ben Okafor", "Dan Fischer (for Ben Okafor)")
    assert find(cast.dan, asked.public_id) == asked
    overview = Visitor(cast.dan).get("/").words
    assert "Nothing waits for your decision" not in overview
    assert "Tier 2 for Ranking" in overview
    approve(asked, cast.dan)


@pytest.mark.parametrize("when", [timedelta(days=-1), timedelta(days=7)])
def test_a_delegate_decides_in_his_time_alone(cast: Cast, ask: Ask, when: timedelta) -> None:
    start = clock.now() + timedelta(days=1)
    lends(cast, valid_from=start, valid_until=start + timedelta(days=7))
    with time_machine.travel(start + when, tick=False):
        request = ask()
        with pytest.raises(NotEligibleError, match=r"needs the lead of Search.* Ask Ben Okafor"):
            approve(request, cast.dan)


def test_who_lends_his_role_keeps_it_and_counts_once(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("lead", 2)])
    factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search)
    request = ask()
    lends(cast)
    assert approve(request, cast.dan).request.status == RequestStatus.PENDING
    with pytest.raises(NotEligibleError, match="nobody counts twice"):
        approve(request, cast.ben)


def test_a_delegate_counts_once_though_two_lent_him_their_role(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("lead", 2)])
    second = factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search).user
    request = ask()
    lends(cast)
    lends(cast, actor=second)
    approve(request, cast.dan)
    with pytest.raises(AlreadyDecidedError):
        decide(actor=cast.dan, request=request, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    assert approve(request, cast.dan).replayed
    assert request.decisions.count() == 1


def test_nobody_has_his_own_request_decided_through_a_delegate(cast: Cast, ask: Ask) -> None:
    own = ask(actor=cast.ben)
    lends(cast)
    with pytest.raises(NotEligibleError, match="needs the director of Product"):
        approve(own, cast.dan)
    of_ada = ask()
    lends(cast, taker=cast.ada)
    with pytest.raises(NotEligibleError, match="your own request"):
        approve(of_ada, cast.ada)


def test_what_was_lent_cannot_be_lent_on(cast: Cast, asked: AccessRequest) -> None:
    lends(cast)
    with pytest.raises(NotAllowedError, match="do not hold that role there yourself"):
        lends(cast, actor=cast.dan, taker=cast.eve)
    with pytest.raises(NotEligibleError):
        approve(asked, cast.eve)


def test_a_delegation_is_worth_nothing_once_its_giver_lost_the_role(cast: Cast, asked: AccessRequest) -> None:
    lends(cast)
    RoleAssignment.objects.filter(user=cast.ben).update(valid_until=clock.now())
    with pytest.raises(NotEligibleError):
        approve(asked, cast.dan)


def test_a_delegation_of_another_place_decides_nothing_here(cast: Cast, asked: AccessRequest) -> None:
    factories.RoleAssignmentFactory.create(user=cast.ben, role=Role.LEAD, team=cast.cards)
    lends(cast, taker=cast.audrey, team=cast.cards)
    with pytest.raises(NotEligibleError):
        approve(asked, cast.audrey)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"valid_until": timedelta(days=30, seconds=1)}, "30 days at most"),
        ({"valid_until": timedelta(0)}, "last day that is still to come"),
        ({"taker": "ben"}, "decide yourself already"),
        ({"role": Role.FINANCE, "team": None, "actor": "fay"}, "Only the roles of leads"),
    ],
)
def test_what_cannot_be_lent(cast: Cast, changes: dict[str, Any], says: str) -> None:
    now = clock.now()
    if "valid_until" in changes:
        changes = changes | {"valid_from": now, "valid_until": now + changes["valid_until"]}
    people = {name: getattr(cast, changes[name]) for name in ("taker", "actor") if name in changes}
    with pytest.raises(InvalidInputError, match=says):
        lends(cast, **changes | people)


def test_nobody_lends_for_a_time_that_is_over(cast: Cast, asked: AccessRequest) -> None:
    """What begins today, as days are entered, begins now: no record says that it held before."""
    before = clock.now()
    lent = lends(cast, valid_from=before - timedelta(days=10), valid_until=before + timedelta(days=25))
    assert before <= lent.valid_from <= clock.now()
    assert AuditEvent.objects.get(action="delegation.given").after["valid_from"] >= before.isoformat()[:19]
    approve(asked, cast.dan)


def test_the_same_is_lent_once_and_the_delegate_is_told_once(cast: Cast) -> None:
    lends(cast)
    with pytest.raises(AlreadyDoneError, match="your delegate there at that time already"):
        lends(cast)
    assert Outbox.objects.get(topic="delegation.given").recipient == "dan@example.com"


@pytest.mark.parametrize("who", ["ben", "dan", "ann"])
def test_giver_delegate_and_administrators_end_it_at_once(cast: Cast, ask: Ask, who: str) -> None:
    lent = lends(cast)
    request = ask()
    end_delegation(actor=getattr(cast, who), delegation=lent)
    end_delegation(actor=getattr(cast, who), delegation=lent)
    assert AuditEvent.objects.filter(action="delegation.ended").count() == 1
    with pytest.raises(NotEligibleError):
        approve(request, cast.dan)


def test_nobody_else_ends_a_delegation(cast: Cast) -> None:
    with pytest.raises(NotAllowedError, match="Only Ben Okafor, Dan Fischer or an administrator"):
        end_delegation(actor=cast.cleo, delegation=lends(cast))


def test_a_delegation_of_a_leaver_decides_nothing(cast: Cast, asked: AccessRequest) -> None:
    lend(cast, "ben", "dan")
    cast.dan.is_active = False
    cast.dan.save()
    with pytest.raises(NotEligibleError):
        approve(asked, cast.dan)


def test_who_let_a_delegate_approve_does_not_deny_as_somebody_who_is_told(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("lead", 2)], told_role="lead", told_may_veto=True)
    factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search)
    lend(cast, "ben", "cleo")
    request = ask()
    decided = approve(request, cast.cleo).decision
    assert decided.on_behalf_of == cast.ben

    with pytest.raises(NotEligibleError, match="nobody counts twice"):
        decide(actor=cast.ben, request=request, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    assert not case_of(cast.ben, find(cast.ben, request.public_id)).may_veto
