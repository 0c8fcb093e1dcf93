"""Renames, moves and ends: who may, what is refused, what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from budgets.models import Budget, ScopeKind
from core import clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError
from core.models import AuditEvent
from teams import services
from teams.errors import RoleNeededError
from teams.models import Department, FormerName, NamedKind, Project, RoleAssignment, User
from teams.selectors import former_names, roles_of
from tests import factories
from tests.api.world import open_budget
from tests.cast import Cast

WHY = "The organisation changes."

Act = Callable[[Cast, User], Any]
ACTS: dict[str, tuple[Act, set[str]]] = {
    "rename_department": (
        lambda cast, actor: services.rename_department(
            actor=actor, department=cast.product, name="Products", reason=WHY
        ),
        {"ann"},
    ),
    "rename_team": (
        lambda cast, actor: services.rename_team(actor=actor, team=cast.search, name="Find", reason=WHY),
        {"cleo", "ann"},
    ),
    "rename_project": (
        lambda cast, actor: services.rename_project(
            actor=actor, project=cast.ranking, name="Order", reason=WHY
        ),
        {"cleo", "ann"},
    ),
    "move_project": (
        lambda cast, actor: services.move_project(
            actor=actor, project=cast.ranking, team=cast.cards, reason=WHY
        ),
        {"ann"},
    ),
    "move_project_at_home": (
        lambda cast, actor: services.move_project(
            actor=actor,
            project=cast.ranking,
            team=factories.TeamFactory.create(department=cast.product),
            reason=WHY,
        ),
        {"cleo", "ann"},
    ),
    "move_team": (
        lambda cast, actor: services.move_team(
            actor=actor, team=cast.search, department=cast.payments, reason=WHY
        ),
        {"ann"},
    ),
    "archive_project": (
        lambda cast, actor: services.archive_project(actor=actor, project=cast.ranking, reason=WHY),
        {"cleo", "ann"},
    ),
    "archive_team": (
        lambda cast, actor: services.archive_team(actor=actor, team=cast.search, reason=WHY),
        {"cleo", "ann"},
    ),
    "archive_department": (
        lambda _, actor: services.archive_department(
            actor=actor, department=factories.DepartmentFactory.create(), reason=WHY
        ),
        {"ann"},
    ),
    "deactivate_person": (
        lambda cast, actor: services.deactivate_person(actor=actor, user=cast.ada, reason=WHY, endings=()),
        {"ann"},
    ),
}


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "dan", "eve", "olga", "fay", "audrey", "ann"])
def test_only_those_who_answer_for_it_change_the_organisation(cast: Cast, name: str, who: str) -> None:
    act, may = ACTS[name]
    if who in may:
        act(cast, getattr(cast, who))
        event = AuditEvent.objects.latest("pk")
        assert (event.actor_id, event.reason) == (getattr(cast, who).pk, WHY)
        return
    with pytest.raises(RoleNeededError, match="Ann Keller"):
        act(cast, getattr(cast, who))
    assert not AuditEvent.objects.exists()


def test_director_of_both_departments_moves_between_them(cast: Cast) -> None:
    factories.RoleAssignmentFactory.create(user=cast.cleo, role="director", department=cast.payments)

    services.move_project(actor=cast.cleo, project=cast.ranking, team=cast.cards, reason=WHY)
    services.move_team(actor=cast.cleo, team=cast.search, department=cast.payments, reason=WHY)

    cast.ranking.refresh_from_db()
    cast.search.refresh_from_db()
    assert (cast.ranking.team, cast.search.department) == (cast.cards, cast.payments)
    moved = [(event.action, event.before, event.after) for event in AuditEvent.objects.order_by("pk")]
    assert moved == [
        ("project.moved", {"team": "search"}, {"team": "cards"}),
        ("team.moved", {"department": "product"}, {"department": "payments"}),
    ]


def test_department_is_archived_when_nothing_in_it_is_open(cast: Cast) -> None:
    ops = factories.TeamFactory.create(department=cast.product, name="Ops")
    archive = partial(services.archive_department, actor=cast.ann, department=cast.product, reason=WHY)
    with pytest.raises(InvalidInputError, match=r"Product still has team Ops, team Search\. Archive that"):
        archive()
    services.archive_team(actor=cast.ann, team=cast.search, reason=WHY)
    services.move_team(actor=cast.ann, team=ops, department=cast.payments, reason=WHY)
    left_open = factories.ProjectFactory.create(team=cast.search, name="Left")
    with pytest.raises(InvalidInputError, match="Product still has project Left"):
        archive()
    services.archive_project(actor=cast.ann, project=left_open, reason=WHY)
    budget = open_budget(cast, ScopeKind.DEPARTMENT, cast.product.pk, "900")

    archive()

    cast.product.refresh_from_db()
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.reason, event.department_id) == ("department.archived", WHY, cast.product.pk)
    assert cast.product.archived_at
    assert event.after == {"archived_at": cast.product.archived_at.isoformat()}
    assert Budget.objects.get(pk=budget.pk).closed_at is None
    assert cast.cleo.role_assignments.get().valid_until is None
    with pytest.raises(AlreadyDoneError, match="Department Product was closed on"):
        archive()
    with pytest.raises(AlreadyDoneError, match="Department Product was closed on"):
        services.move_team(actor=cast.ann, team=ops, department=cast.product, reason=WHY)


@pytest.mark.parametrize("reason", ["", " ", "x" * 2_001])
def test_department_is_archived_with_a_reason(cast: Cast, reason: str) -> None:
    empty = factories.DepartmentFactory.create()
    with pytest.raises(InvalidInputError, match="Enter a reason"):
        services.archive_department(actor=cast.ann, department=empty, reason=reason)
    assert Department.objects.get(pk=empty.pk).archived_at is None


def test_archived_team_closes_its_projects_with_it(cast: Cast) -> None:
    closed = factories.ProjectFactory.create(team=cast.search, archived_at=clock.now() - timedelta(days=9))

    services.archive_team(actor=cast.cleo, team=cast.search, reason=WHY)

    assert not Project.objects.filter(team=cast.search).open().exists()
    assert list(AuditEvent.objects.order_by("pk").values_list("action", "object_id")) == [
        ("project.archived", cast.ranking.public_id),
        ("team.archived", cast.search.public_id),
    ]
    assert Project.objects.get(pk=closed.pk).archived_at == closed.archived_at


def test_what_is_closed_is_not_closed_or_moved_again(cast: Cast) -> None:
    services.archive_project(actor=cast.cleo, project=cast.ranking, reason=WHY)
    with pytest.raises(AlreadyDoneError, match="Project Ranking was closed on"):
        services.archive_project(actor=cast.cleo, project=cast.ranking, reason=WHY)
    with pytest.raises(AlreadyDoneError):
        services.move_project(actor=cast.ann, project=cast.ranking, team=cast.cards, reason=WHY)
    services.archive_team(actor=cast.olga, team=cast.cards, reason=WHY)
    other = factories.ProjectFactory.create(team=cast.search)
    with pytest.raises(AlreadyDoneError, match="Team Cards was closed on"):
        services.move_project(actor=cast.ann, project=other, team=cast.cards, reason=WHY)


def test_move_to_where_it_stands_is_refused(cast: Cast) -> None:
    with pytest.raises(InvalidInputError, match="belongs to team Search already"):
        services.move_project(actor=cast.cleo, project=cast.ranking, team=cast.search, reason=WHY)
    with pytest.raises(InvalidInputError, match="belongs to department Product already"):
        services.move_team(actor=cast.cleo, team=cast.search, department=cast.product, reason=WHY)


@pytest.mark.parametrize("name", ["", "   ", "x" * 121])
def test_name_has_to_be_one(cast: Cast, name: str) -> None:
    with pytest.raises(InvalidInputError, match="1 to 120 characters"):
        services.rename_team(actor=cast.cleo, team=cast.search, name=name, reason=WHY)


@pytest.mark.parametrize("name", sorted(ACTS.keys() - {"move_project_at_home"}))
def test_every_change_needs_a_reason(cast: Cast, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "WHY", " ")
    with pytest.raises(InvalidInputError, match="Enter a reason"):
        ACTS[name][0](cast, cast.ann)
    assert not AuditEvent.objects.exists()


def test_same_name_again_writes_nothing(cast: Cast) -> None:
    services.rename_team(actor=cast.cleo, team=cast.search, name=" Search ", reason=WHY)
    assert not FormerName.objects.exists()
    assert not AuditEvent.objects.exists()


def test_each_moment_has_the_name_of_its_time(cast: Cast) -> None:
    start = clock.now()
    for name in ("Find", "Seek"):
        services.rename_team(actor=cast.cleo, team=cast.search, name=name, reason=WHY)
    first, second = FormerName.objects.order_by("pk")

    named = former_names(start)

    moments = (start, first.used_until, second.used_until)
    assert [named.at(at, NamedKind.TEAM, cast.search.pk, "Seek") for at in moments] == [
        "Search",
        "Find",
        "Seek",
    ]
    assert former_names(second.used_until).names == {}


def test_former_names_are_never_rewritten(cast: Cast) -> None:
    services.rename_team(actor=cast.cleo, team=cast.search, name="Find", reason=WHY)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        FormerName.objects.update(name="Cover-up")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        FormerName.objects.all().delete()


def test_who_leaves_is_nothing_any_more(cast: Cast) -> None:
    services.deactivate_person(actor=cast.ann, user=cast.ben, reason=WHY, endings=())

    cast.ben.refresh_from_db()
    roles = roles_of(cast.ben)
    assert not cast.ben.is_active
    assert not roles.leads | roles.member_of
    assert not RoleAssignment.objects.live().filter(user=cast.ben).exists()
    assert AuditEvent.objects.get().after == {"is_active": False, "memberships": 1, "roles": 1, "sessions": 0}
    with pytest.raises(AlreadyDoneError, match="has left already"):
        services.deactivate_person(actor=cast.ann, user=cast.ben, reason=WHY, endings=())


def test_nobody_lets_himself_leave(cast: Cast) -> None:
    with pytest.raises(NotAllowedError, match="Ask another administrator"):
        services.deactivate_person(actor=cast.ann, user=cast.ann, reason=WHY, endings=())
