"""A hundred decisions at once by several approvers of one request: first the race, then one outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

from approvals.errors import AlreadyDecidedError
from approvals.models import AccessRequest, Decision, RequestStatus, Verdict
from approvals.services import Outcome, decide
from core.models import AuditEvent, Outbox
from keys.models import ApiKey, Grant
from teams.models import Role, User
from tests import factories
from tests.approvals.conftest import ask_for
from tests.cast import Cast, make_cast
from tests.racing import at_once, losers, winners

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]

TIMES, APPROVERS = 100, 5


@pytest.fixture
def sessions() -> Iterator[None]:
    """Let the process have a session for each of the racers."""
    pool: Any = connection.pool  # type: ignore[attr-defined]  # of the PostgreSQL backend
    before = (pool.min_size, pool.max_size)
    connection.close()
    pool.resize(1, TIMES + 2)
    yield
    pool.resize(*before)


@pytest.fixture
def people(sessions: None) -> Cast:
    """Make the cast in committed rows, for every session to see."""
    return make_cast()


def leads_of(people: Cast) -> list[User]:
    """Return Ben and further leads of his team."""
    more = [
        factories.RoleAssignmentFactory.create(role=Role.LEAD, team=people.search).user
        for _ in range(APPROVERS - 1)
    ]
    return [people.ben, *more]


def test_without_the_lock_every_one_of_a_hundred_acts_on_what_it_read(people: Cast) -> None:
    request = ask_for(people)
    all_have_read = Barrier(TIMES)

    def naive_decide() -> int:
        mine = AccessRequest.objects.get(pk=request.pk)
        all_have_read.wait(60)
        return int(mine.status == RequestStatus.PENDING)  # and then the grant, the key, the mail

    assert sum(at_once(*[naive_decide] * TIMES)) == TIMES


def test_a_hundred_decisions_have_one_outcome_one_grant_one_key_and_one_mail_a_person(
    people: Cast,
) -> None:
    leads = leads_of(people)
    request = ask_for(people)

    def approval(actor: User) -> Callable[[], Outcome]:
        return lambda: decide(actor=actor, request=request, verdict=Verdict.APPROVE, seen_revision=1)

    outcomes = at_once(*[approval(leads[number % APPROVERS]) for number in range(TIMES)])

    won, lost = winners(outcomes), losers(outcomes)
    assert len(won) == TIMES // APPROVERS, "the one who was first, and the replays of his own click"
    assert [outcome.replayed for outcome in won].count(False) == 1
    assert {outcome.decision.pk for outcome in won} == {Decision.objects.get().pk}
    assert {type(error) for error in lost} == {AlreadyDecidedError}
    assert (Grant.objects.count(), ApiKey.objects.count()) == (1, 1)
    assert AuditEvent.objects.filter(action="request.approved").count() == 1
    mails = list(Outbox.objects.values_list("topic", "recipient"))
    assert len(mails) == len(set(mails)) == APPROVERS + 1
