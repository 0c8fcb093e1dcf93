"""The organisation changes by those who may, and leaves a record."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from core.errors import InvalidInputError, NotAllowedError
from core.models import AuditEvent
from teams import services
from teams.errors import AlreadyHeldError, RoleNeededError
from teams.models import Role
from teams.selectors import has_role, works_in
from tests import factories
from tests.cast import Cast


def test_admin_builds_a_department_with_a_team_and_a_project(cast: Cast) -> None:
    department = services.create_department(actor=cast.ann, code="research", name="Research")
    team = services.create_team(actor=cast.ann, department=department, code="vision", name="Vision")
    services.add_member(actor=cast.ann, team=team, user=cast.dan)
    project = services.create_project(
        actor=cast.ann, team=team, code="ocr", name="OCR", owner=cast.dan, cost_centre="CC-9"
    )
    assert project.team.department == department
    assert list(AuditEvent.objects.order_by("pk").values_list("action", "department_id", "team_id")) == [
        ("department.created", department.pk, None),
        ("team.created", department.pk, team.pk),
        ("team.member_added", department.pk, team.pk),
        ("project.created", department.pk, team.pk),
    ]


def test_lead_adds_a_member_who_can_then_work(cast: Cast) -> None:
    services.add_member(actor=cast.ben, team=cast.search, user=cast.dan)
    assert works_in(cast.dan, cast.search)
    assert AuditEvent.objects.get().after == {"member": cast.dan.public_id}


def test_a_member_cannot_be_added_twice(cast: Cast) -> None:
    with pytest.raises(AlreadyHeldError, match="Ada Moreno works in team Search already"):
        services.add_member(actor=cast.ben, team=cast.search, user=cast.ada)


def test_lead_ends_a_membership_with_a_reason(cast: Cast) -> None:
    end = partial(services.end_membership, actor=cast.ben, team=cast.search, user=cast.ada, endings=())
    end(reason="Moved to Cards.")
    assert not works_in(cast.ada, cast.search)
    assert AuditEvent.objects.get().reason == "Moved to Cards."
    with pytest.raises(InvalidInputError, match="does not work in team Search now"):
        end(reason="Again.")


def test_admin_gives_and_ends_a_role(cast: Cast) -> None:
    held = services.assign_role(actor=cast.ann, user=cast.ada, role=Role.LEAD, team=cast.search)
    assert has_role(cast.ada, Role.LEAD, team=cast.search)
    services.end_role(actor=cast.ann, assignment=held, reason="A trial.")
    assert not has_role(cast.ada, Role.LEAD, team=cast.search)
    assert list(AuditEvent.objects.order_by("pk").values_list("action", flat=True)) == [
        "role.assigned",
        "role.ended",
    ]
    with pytest.raises(InvalidInputError, match="has ended already"):
        services.end_role(actor=cast.ann, assignment=held, reason="Again.")


def test_nobody_gives_himself_a_role(cast: Cast) -> None:
    with pytest.raises(NotAllowedError, match="Nobody gives himself a role"):
        services.assign_role(actor=cast.ann, user=cast.ann, role=Role.LEAD, team=cast.search)


def test_a_role_is_not_given_twice(cast: Cast) -> None:
    with pytest.raises(AlreadyHeldError, match="Ben Okafor is Team lead there already"):
        services.assign_role(actor=cast.ann, user=cast.ben, role=Role.LEAD, team=cast.search)


@pytest.mark.parametrize("name", ["ada", "ben", "cleo", "fay", "audrey"])
@pytest.mark.parametrize(
    "act",
    [
        lambda _, actor: services.create_department(actor=actor, code="x1", name="X"),
        lambda cast, actor: services.create_team(actor=actor, department=cast.product, code="x2", name="X"),
        lambda cast, actor: services.assign_role(actor=actor, user=cast.dan, role=Role.FINANCE),
    ],
)
def test_only_an_administrator_changes_the_organisation(
    cast: Cast, name: str, act: Callable[[Cast, Any], Any]
) -> None:
    with pytest.raises(RoleNeededError, match="Ask Ann Keller"):
        act(cast, getattr(cast, name))
    assert act(cast, cast.ann).pk


@pytest.mark.parametrize("name", ["ada", "dan", "eve", "olga", "fay", "audrey"])
def test_only_who_answers_for_a_team_adds_to_it(cast: Cast, name: str) -> None:
    newcomer = factories.UserFactory.create()
    with pytest.raises(RoleNeededError):
        services.add_member(actor=getattr(cast, name), team=cast.search, user=newcomer)
    services.add_member(actor=cast.cleo, team=cast.search, user=newcomer)
    assert works_in(newcomer, cast.search)


@pytest.mark.parametrize(
    "act",
    [
        lambda: services.create_department(actor=None, code="product", name="Again"),
        lambda: services.create_team(
            actor=None, department=factories.DepartmentFactory.create(), code="search", name="Again"
        ),
    ],
)
def test_a_code_is_used_once(cast: Cast, act: Callable[[], Any]) -> None:
    with pytest.raises(InvalidInputError, match="is taken") as refusal:
        act()
    assert refusal.value.field == "code"


def test_the_system_itself_may_set_an_installation_up(cast: Cast) -> None:
    first = services.assign_role(actor=None, user=cast.dan, role=Role.ADMIN)
    assert first.granted_by is None
    assert AuditEvent.objects.get().actor_label == "purser"
