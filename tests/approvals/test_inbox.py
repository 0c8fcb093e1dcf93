"""What waits for whom, in a fixed number of queries; and what is offered is what decide() allows."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from approvals.cases import case_of
from approvals.errors import NotEligibleError
from approvals.models import AccessRequest, RequestStatus, Verdict
from approvals.selectors import (
    View,
    find,
    inbox,
    last_decision,
    pending_for,
    waiting_count,
)
from approvals.services import amend, decide, withdraw
from core.errors import InvalidInputError, NotFoundError
from keys.services import issue_key
from teams.models import Membership, Role, User
from tests import factories
from tests.approvals.conftest import REASON, Ask
from tests.cast import Cast

EVERYBODY = ("ada", "ben", "cleo", "dan", "eve", "olga", "fay", "audrey", "ann")


def shown(cast: Cast, name: str, view: View) -> list[AccessRequest]:
    return list(inbox(getattr(cast, name), view).requests)


def test_a_request_waits_for_the_lead_alone(cast: Cast, asked: AccessRequest) -> None:
    waiting = {name: shown(cast, name, View.WAITING) for name in EVERYBODY}
    assert waiting.pop("ben") == [asked]
    assert not any(waiting.values())


def test_it_is_seen_by_its_asker_and_the_overseers(cast: Cast, asked: AccessRequest) -> None:
    seen = {name for name in EVERYBODY if shown(cast, name, View.TEAM)}
    assert seen == {"ada", "ben", "cleo", "fay", "audrey", "ann"}


def test_outside_ones_scope_a_request_does_not_exist(cast: Cast, asked: AccessRequest) -> None:
    assert find(cast.cleo, asked.public_id) == asked
    for name in ("dan", "eve", "olga"):
        with pytest.raises(NotFoundError):
            find(getattr(cast, name), asked.public_id)
    with pytest.raises(NotFoundError):
        find(cast.ben, "req_nonsense")


def test_a_decided_request_moves_to_the_decided_ones(cast: Cast, asked: AccessRequest) -> None:
    decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
    assert not shown(cast, "ben", View.WAITING)
    assert not shown(cast, "ben", View.TEAM)
    assert shown(cast, "ben", View.DECIDED) == [asked]
    assert last_decision(inbox(cast.ben, View.DECIDED).requests[0]).actor == cast.ben  # type: ignore[union-attr]


def test_an_expired_request_is_over_before_any_job_says_so(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(asked.decide_by):
        assert not shown(cast, "ben", View.TEAM)
        assert shown(cast, "ben", View.DECIDED)[0].state == RequestStatus.EXPIRED
        assert waiting_count(cast.ben) == 0


def test_who_has_agreed_waits_no_more_but_sees_it(cast: Cast, ask: Ask) -> None:
    factories.new_policy(cast.tier2, [("lead", 1), ("director", 1)])
    request = ask()
    decide(actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    assert not shown(cast, "ben", View.WAITING)
    assert shown(cast, "ben", View.TEAM) == shown(cast, "cleo", View.WAITING) == [request]


def test_the_request_that_waits_for_the_same_is_found(cast: Cast, asked: AccessRequest) -> None:
    assert pending_for(cast.ada, project=cast.ranking.pk, tier=2) == asked
    assert pending_for(cast.ada, project=cast.ranking.pk, tier=3) is None
    withdraw(actor=cast.ada, request=asked)
    assert pending_for(cast.ada, project=cast.ranking.pk, tier=2) is None


def test_a_badge_costs_two_queries_whether_something_is_pending_or_not(
    cast: Cast, asked: AccessRequest, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(2):
        assert waiting_count(cast.ben) == 1
    with django_assert_num_queries(2):
        assert waiting_count(cast.ada) == 0


def test_counts_are_of_the_open_lists_whatever_is_shown(cast: Cast, asked: AccessRequest, ask: Ask) -> None:
    ask(actor=cast.ben)
    for view in View:
        assert inbox(cast.ben, view).counts == {View.WAITING: 1, View.TEAM: 2}
    assert (waiting_count(cast.ben), waiting_count(cast.cleo), waiting_count(cast.dan)) == (1, 1, 0)


@pytest.mark.parametrize("number", [5, 50])
@pytest.mark.parametrize(("view", "queries"), [(View.WAITING, 2), (View.TEAM, 2), (View.DECIDED, 3)])
def test_a_list_costs_the_same_however_long(
    cast: Cast, number: int, view: View, queries: int, django_assert_num_queries: Any
) -> None:
    for _ in range(number):
        asker = factories.MembershipFactory.create(team=cast.search).user
        factories.AccessRequestFactory.create(requester=asker, project=cast.ranking)
    with django_assert_num_queries(queries):
        page = inbox(cast.ben, view)
        texts = [
            (str(request.project.team.department), str(request.requester), request.tier.name)
            for request in page.requests
        ]
    assert len(texts) == (0 if view is View.DECIDED else number)
    assert page.counts[View.WAITING] == number


def may_decide(person: User, request: AccessRequest) -> bool:
    """Ask decide() itself, with a denial that lacks its comment and so changes nothing."""
    with pytest.raises((NotEligibleError, InvalidInputError)) as refusal:
        decide(actor=person, request=request, verdict=Verdict.DENY, seen_revision=1)
    return isinstance(refusal.value, InvalidInputError)


@pytest.mark.parametrize("asker", ["ada", "ben", "cleo"])
@pytest.mark.parametrize("tier", [2, 3])
def test_the_page_offers_exactly_what_decide_allows(cast: Cast, ask: Ask, asker: str, tier: int) -> None:
    factories.MembershipFactory.create(user=cast.cleo, team=cast.search)
    request = ask(actor=getattr(cast, asker), tier=factories.tier(tier), model_names=[], duration_days=30)
    offered = set()
    for name in EVERYBODY:
        person = getattr(cast, name)
        allowed = may_decide(person, request)
        if request in AccessRequest.objects.visible_to(person):
            case = case_of(person, find(person, request.public_id))
            assert case.may_decide == allowed
            assert bool(case.why_not) != allowed
        assert (request in inbox(person).requests) == allowed
        if allowed:
            offered.add(str(person))
    assert set(case_of(cast.ann, find(cast.ann, request.public_id)).deciders) == offered
    assert len(offered) == 1


def test_a_case_says_what_an_approver_needs(cast: Cast, asked: AccessRequest) -> None:
    case = case_of(cast.ben, find(cast.ben, asked.public_id))
    assert (case.title, case.lead, case.deciders) == ("Tier 2 for Ranking", "Ben Okafor", ("Ben Okafor",))
    assert case.stage_text == "The lead of Search decides"
    assert (case.longest_days, case.why_not) == (90, "")
    assert [(check.tone, check.text) for check in case.checks] == [
        ("ok", "You are the lead of Search and did not make this request."),
        ("ok", "Ada Moreno works in team Search."),
        ("ok", "60 days of the 90 that Tier 2 allows."),
        ("ok", "The project has an owner and a cost centre."),
    ]
    assert [line.text for line in case.history] == ["Ada Moreno asked for Tier 2"]


def test_a_case_warns_of_what_has_changed(cast: Cast, asked: AccessRequest) -> None:
    Membership.objects.filter(user=cast.ada).delete()
    cast.ranking.owner.is_active = False
    cast.ranking.owner.save()
    factories.RoleAssignmentFactory.create(user=cast.eve, role=Role.LEAD, team=cast.search)
    factories.new_policy(cast.tier2, [("lead", 1)], default_days=14, max_days=14)
    case = case_of(cast.eve, find(cast.eve, asked.public_id))
    assert [(check.tone, check.text) for check in case.checks if check.tone != "ok"] == [
        ("bad", "Ada Moreno does not work in team Search any more: it can only be denied."),
        ("warn", "Tier 2 allows 14 days now; access will end then."),
        ("warn", "The project's owner has left, or it has no cost centre."),
    ]
    assert case.longest_days == 14


def test_a_case_tells_its_story(cast: Cast, asked: AccessRequest) -> None:
    amend(
        actor=cast.ada,
        request=asked,
        seen_revision=1,
        model_names=["large"],
        reason=REASON,
        duration_days=30,
        expected_monthly_usd=Decimal(900),
    )
    decide(
        actor=cast.ben,
        request=asked,
        verdict=Verdict.APPROVE,
        seen_revision=2,
        comment="Fine.",
        duration_days=7,
        monthly_cap_usd=Decimal(100),
    )
    case = case_of(cast.ada, find(cast.ada, asked.public_id))
    assert [line.text for line in case.history] == [
        "Ada Moreno asked for Tier 2",
        "Ada Moreno changed the duration, the expected cost",
        "Ben Okafor approved for 7 days, up to $100.00 a month: Fine.",
    ]
    assert case.checks == ()
    assert case.why_not == "This request is over: approved."
    assert case.access_until is not None
    assert case.access_until - case.history[-1].at < timedelta(days=7, minutes=1)


@pytest.mark.parametrize(
    ("end", "text"), [("withdraw", "Ada Moreno withdrew it"), ("expire", "Nobody decided in time")]
)
def test_a_case_without_a_decision_tells_how_it_ended(
    cast: Cast, asked: AccessRequest, end: str, text: str
) -> None:
    if end == "withdraw":
        withdraw(actor=cast.ada, request=asked)
    with time_machine.travel(asked.decide_by):
        case = case_of(cast.ada, find(cast.ada, asked.public_id))
    assert case.history[-1].text == text
    assert case.access_until is None
    assert not case.may_decide


def test_a_case_shows_what_the_asker_holds_and_asked_before(
    cast: Cast, asked: AccessRequest, ask: Ask
) -> None:
    decide(actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1)
    denied = ask(tier=cast.tier3, model_names=[], duration_days=30)
    decide(actor=cast.cleo, request=denied, verdict=Verdict.DENY, seen_revision=1, comment="No.")
    case = case_of(cast.ben, find(cast.ben, ask().public_id))
    assert [grant.text for grant in case.grants] == ["Tier 2 in Ranking"]
    assert list(case.earlier) == [denied]


def test_a_case_names_the_stages_and_the_quorum(cast: Cast, ask: Ask) -> None:
    factories.RoleAssignmentFactory.create(role=Role.LEAD, team=cast.search)
    factories.new_policy(cast.tier2, [("lead", 2), ("director", 1)])
    request = ask()
    decide(actor=cast.ben, request=request, verdict=Verdict.APPROVE, seen_revision=1)
    case = case_of(cast.ben, find(cast.ben, request.public_id))
    assert case.stage_text == (
        "Stage 1 of 2: the lead of Search, then the director of Product, 1 of 2 agreed"
    )
    assert case.why_not == "You have decided this request once, and nobody counts twice."


def test_access_on_a_named_key_ends_with_the_key(cast: Cast, ask: Ask) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
    with time_machine.travel(key.expires_at - timedelta(days=10)):
        request = ask(extends_key=key)
        assert case_of(cast.ben, find(cast.ben, request.public_id)).access_until == key.expires_at


def test_a_case_costs_the_same_with_many_requests_around_it(
    cast: Cast, asked: AccessRequest, django_assert_num_queries: Any
) -> None:
    for _ in range(30):
        factories.AccessRequestFactory.create(requester=cast.ada, project__team=cast.search)
    page = inbox(cast.ben)
    with django_assert_num_queries(3):  # stages, decisions, what was asked before
        case_of(cast.ben, page.requests[0], holders=page.holders())
    with django_assert_num_queries(5):  # the request, who holds a role, and those three
        case_of(cast.ben, find(cast.ben, asked.public_id))
