"""Any two acts at one moment have the effect of some order of their transactions (I13)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import combinations
from typing import Any

import pytest
from django.db import transaction

from approvals.models import AccessRequest, Delegation, Verdict
from approvals.services import amend, close_requests_of, comment, decide, end_delegation, follow_all, withdraw
from core.errors import DomainError
from core.models import AuditEvent, Outbox
from keys.models import ApiKey, Grant
from teams.models import Role, RoleAssignment, Team, User
from teams.services import end_role
from teams.services.changes import archive_project, move_project
from tests import factories
from tests.approvals.conftest import REASON, ask_for, lend
from tests.cast import Cast, make_cast
from tests.racing import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]

Act = Callable[[Cast, AccessRequest], Any]
BOB: list[User] = []  # the other lead of Search, who is not of the cast


def approves(who: str) -> Act:
    def act(cast: Cast, request: AccessRequest) -> Any:
        actor = BOB[-1] if who == "bob" else getattr(cast, who)
        return decide(actor=actor, request=request, verdict=Verdict.APPROVE, seen_revision=1)

    return act


def denies(cast: Cast, request: AccessRequest) -> Any:
    return decide(actor=BOB[-1], request=request, verdict=Verdict.DENY, seen_revision=1, comment="No.")


def amends(cast: Cast, request: AccessRequest) -> Any:
    return amend(
        actor=cast.ada,
        request=request,
        seen_revision=1,
        reason=f"{REASON} It is more now.",
        duration_days=90,
        expected_monthly_usd=request.expected_monthly_usd,
    )


def moves(_: Cast, request: AccessRequest) -> Any:
    team = Team.objects.get(code="cards")
    return move_project(actor=None, project=request.project, team=team, reason="A new owner.")


def closes(_: Cast, request: AccessRequest) -> Any:
    return archive_project(actor=None, project=request.project, reason="Done.")


def role_ends(cast: Cast, _: AccessRequest) -> Any:
    held = RoleAssignment.objects.filter(user=cast.ben, team=cast.search).latest("pk")
    return end_role(actor=None, assignment=held, reason="Another team.")


def delegation_ends(cast: Cast, _: AccessRequest) -> Any:
    return end_delegation(actor=cast.ben, delegation=Delegation.objects.filter(taker=cast.dan).latest("pk"))


def job_follows(_: Cast, request: AccessRequest) -> Any:
    return follow_all(most=10)


STAGES = (
    [("lead", 1), ("director", 1)],
    pytest.param([("lead", 1)], marks=pytest.mark.full),
    pytest.param([("lead", 2)], marks=pytest.mark.full),
)
# Each act is one transaction or, where the job has to see it too, two.
ACTS: dict[str, tuple[Act, ...]] = {
    "the lead approves": (approves("ben"),),
    "the other lead approves": (approves("bob"),),
    "the other lead denies": (denies,),
    "the director approves": (approves("cleo"),),
    "the lead's delegate approves": (approves("dan"),),
    "the lead's role ends": (role_ends,),
    "the delegation ends": (delegation_ends,),
    "she withdraws": (lambda cast, request: withdraw(actor=cast.ada, request=request),),
    "she amends": (amends,),
    "she leaves": (lambda _, request: close_requests_of(request.requester),),
    "somebody asks": (lambda cast, request: comment(actor=cast.ben, request=request, text="Why?"),),
    "the project moves": (moves, job_follows),
    "the project is closed": (closes, job_follows),
}


def tried(acts: Iterable[Act], cast: Cast, request: AccessRequest) -> str:
    """Do these one after the other and say what was refused; an accident is no refusal."""
    said = []
    for act in acts:
        try:
            act(cast, request)
        except DomainError as error:
            said.append(type(error).__name__)
    return ", ".join(said) or "done"


def merged(first: tuple[Act, ...], second: tuple[Act, ...]) -> Iterator[tuple[Act, ...]]:
    """Give every order in which these can happen, each side in its own."""
    size = len(first) + len(second)
    for places in combinations(range(size), len(first)):
        mine, theirs = iter(first), iter(second)
        yield tuple(next(mine if place in places else theirs) for place in range(size))


def effects(request: AccessRequest) -> tuple[Any, ...]:
    """Return everything that was left behind, in no words that differ from one run to the next."""
    request.refresh_from_db()
    decisions = request.decisions.values_list("actor__name", "verdict", "revision", "stage_index")
    events = AuditEvent.objects.filter(object_id=request.public_id).values_list("action", flat=True)
    told = Outbox.objects.filter(dedupe_key__contains=request.public_id).values_list("topic", "recipient")
    grants = Grant.objects.filter(source_request=request.public_id)
    return (
        (request.status, request.revision, request.stage_index, request.team.code),
        sorted(decisions),
        sorted(events),
        sorted(told),
        list(grants.values_list("tier", "monthly_cap_usd", "key__project")),
        ApiKey.objects.filter(project=request.project).count(),
    )


def one_after_the_other(acts: tuple[Act, ...], cast: Cast, request: AccessRequest) -> tuple[Any, ...]:
    """Do them, return what came of it, and take it back."""
    with transaction.atomic():
        tried(acts, cast, request)
        left = effects(request)
        transaction.set_rollback(True)
    return left


def let_ben_lead_and_lend(people: Cast) -> None:
    """Give back what the pair before took: Ben leads Search, and Dan decides for him."""
    if not RoleAssignment.objects.live().filter(user=people.ben, team=people.search).exists():
        factories.RoleAssignmentFactory.create(user=people.ben, role=Role.LEAD, team=people.search)
    if not Delegation.objects.live().filter(taker=people.dan).exists():
        lend(people, "ben", "dan")


@pytest.mark.parametrize("stages", STAGES, ids=str)
@pytest.mark.parametrize("first", ACTS)
def test_two_acts_at_once_have_the_effect_of_one_after_the_other(
    first: str, stages: list[tuple[str, int]]
) -> None:
    people = make_cast()
    BOB.append(factories.RoleAssignmentFactory.create(role=Role.LEAD, team=people.search).user)
    factories.MembershipFactory.create(user=people.ada, team=people.cards)
    factories.new_policy(people.tier2, stages)
    names = list(ACTS)
    for second in names[names.index(first) :]:
        project = factories.ProjectFactory.create(team=people.search, owner=people.ada)
        let_ben_lead_and_lend(people)
        request = ask_for(people, project=project)
        one, other = ACTS[first], ACTS[second]
        orders = [one_after_the_other(order, people, request) for order in merged(one, other)]
        answers = at_once(*(partial(tried, acts, people, request) for acts in (one, other)))
        assert {type(answer) for answer in answers} == {str}, f"{first} and {second}: {answers}"
        assert effects(request) in orders, f"{first} and {second}: {answers}"
