"""Two sessions at the same code, the same person and the same team: one is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from core.errors import AlreadyDoneError, InvalidInputError
from core.models import AuditEvent
from teams import services
from teams.errors import AlreadyHeldError
from teams.models import Department, Membership, Project, Team, User
from teams.selectors import works_in
from teams.services import members, organisation
from tests import factories
from tests.cast import Cast, make_cast
from tests.racing import at_once, losers, while_it_waits, winners

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]
WHY = "A race."


@pytest.fixture
def people(transactional_db: None) -> Cast:
    """Make the cast in committed rows, which other sessions see."""
    return make_cast()


def test_without_the_guard_the_second_of_one_code_gets_an_error_of_the_database(people: Cast) -> None:
    outcomes = at_once(*[lambda: Department.objects.create(code="new", name="New")] * 2)
    assert [type(error) for error in losers(outcomes)] == [IntegrityError]


CREATE: dict[str, tuple[Callable[[Cast], Any], str]] = {
    "department": (
        lambda cast: services.create_department(actor=cast.ann, code="new", name="New"),
        "department.created",
    ),
    "team": (
        lambda cast: services.create_team(actor=cast.ann, department=cast.product, code="new", name="New"),
        "team.created",
    ),
    "project": (
        lambda cast: services.create_project(
            actor=cast.ann, team=cast.search, code="new", name="New", owner=cast.ada, cost_centre="CC-9"
        ),
        "project.created",
    ),
}


@pytest.mark.parametrize("kind", CREATE)
def test_one_of_many_gets_a_code(people: Cast, kind: str) -> None:
    act, action = CREATE[kind]
    outcomes = at_once(*[lambda: act(people)] * 6)
    assert len(winners(outcomes)) == 1
    refusals = [error for error in losers(outcomes) if isinstance(error, InvalidInputError)]
    assert [error.field for error in refusals] == ["code"] * 5, outcomes
    assert AuditEvent.objects.filter(action=action).count() == 1


def test_two_teams_of_two_departments_do_not_share_a_code(people: Cast) -> None:
    """No lock that they share comes before the code itself."""
    outcomes = at_once(
        *[
            lambda home=home: services.create_team(actor=people.ann, department=home, code="new", name="New")
            for home in (people.product, people.payments)
        ]
    )
    (made,), (error,) = winners(outcomes), losers(outcomes)
    assert isinstance(error, InvalidInputError)
    assert list(Team.objects.filter(code="new")) == [made]


def test_a_person_is_added_once(people: Cast) -> None:
    outcomes = at_once(
        *[lambda: services.add_member(actor=people.ben, team=people.search, user=people.dan)] * 4
    )
    assert len(winners(outcomes)) == 1
    assert [type(error) for error in losers(outcomes)] == [AlreadyHeldError] * 3
    assert Membership.objects.filter(team=people.search, user=people.dan).count() == 1


def test_who_leaves_the_team_meanwhile_owns_no_new_project(people: Cast) -> None:
    refused = while_it_waits(
        lambda: services.end_membership(
            actor=people.ben, team=people.search, user=people.ada, reason=WHY, endings=()
        ),
        lambda: CREATE["project"][0](people),
    )
    assert isinstance(refused, InvalidInputError)
    assert refused.field == "owner"
    assert not Project.objects.filter(owner=people.ada).exists()


def test_without_the_lock_who_was_made_owner_meanwhile_leaves_the_team(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (members, organisation):
        monkeypatch.setattr(module, "locked_person", lambda user: User.objects.get(pk=user.pk))
    handed, left = Event(), Event()

    def hand_over() -> None:
        with transaction.atomic():
            services.hand_over_project(actor=people.ben, project=people.ranking, owner=people.ada, reason=WHY)
            handed.set()
            assert left.wait(20)

    def leave() -> Membership:
        assert handed.wait(20)
        try:
            return services.end_membership(
                actor=people.ben, team=people.search, user=people.ada, reason=WHY, endings=()
            )
        finally:
            left.set()

    outcomes = at_once(hand_over, leave)

    assert losers(outcomes) == []
    people.ranking.refresh_from_db()
    assert people.ranking.owner == people.ada
    assert not works_in(people.ada, people.search)


def test_who_was_made_owner_meanwhile_stays_in_the_team(people: Cast) -> None:
    """The project is locked by one and the team by the other: only the person is locked by both."""
    refused = while_it_waits(
        lambda: services.hand_over_project(
            actor=people.ben, project=people.ranking, owner=people.ada, reason=WHY
        ),
        lambda: services.end_membership(
            actor=people.ben, team=people.search, user=people.ada, reason=WHY, endings=()
        ),
    )
    assert isinstance(refused, InvalidInputError)
    assert "owns Ranking" in refused.detail
    assert works_in(people.ada, people.search)


def test_who_leaves_the_house_meanwhile_is_not_added(people: Cast) -> None:
    refused = while_it_waits(
        lambda: services.deactivate_person(actor=people.ann, user=people.dan, reason=WHY, endings=()),
        lambda: services.add_member(actor=people.ben, team=people.search, user=people.dan),
    )
    assert isinstance(refused, InvalidInputError)
    assert not Membership.objects.live().filter(team=people.search, user=people.dan).exists()


@pytest.mark.parametrize("name", ["create", "move"])
def test_a_department_that_closes_meanwhile_takes_no_team_in(people: Cast, name: str) -> None:
    empty = factories.DepartmentFactory.create()
    acts = {
        "create": lambda: services.create_team(actor=people.ann, department=empty, code="new", name="New"),
        "move": lambda: services.move_team(
            actor=people.ann, team=people.search, department=empty, reason=WHY
        ),
    }
    refused = while_it_waits(
        lambda: services.archive_department(actor=people.ann, department=empty, reason=WHY), acts[name]
    )
    assert isinstance(refused, AlreadyDoneError)
    assert not Team.objects.filter(department=empty).exists()


@pytest.mark.parametrize(
    "act",
    [
        CREATE["project"][0],
        lambda cast: services.add_member(
            actor=cast.ben, team=cast.search, user=factories.UserFactory.create()
        ),
    ],
)
def test_a_team_that_closes_meanwhile_takes_nothing_in(people: Cast, act: Callable[[Cast], Any]) -> None:
    refused = while_it_waits(
        lambda: services.archive_team(actor=people.ann, team=people.search, reason=WHY),
        lambda: act(people),
    )
    assert isinstance(refused, AlreadyDoneError)
    assert not Project.objects.open().filter(team=people.search).exists()
