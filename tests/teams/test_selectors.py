"""Who holds which role at a moment, in a fixed number of queries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core import clock
from teams.models import Role
from teams.selectors import approvers_for, has_role, names_of, role_holders, roles_of, works_in
from tests import factories
from tests.cast import Cast


def test_roles_of_a_lead_name_his_team(cast: Cast) -> None:
    held = roles_of(cast.ben)
    assert held.leads == {cast.search.pk}
    assert held.member_of == {cast.search.pk}
    assert held.works_in == {cast.search.pk}
    assert not held.sees_everything


def test_roles_of_a_director_name_his_department(cast: Cast) -> None:
    held = roles_of(cast.cleo)
    assert held.directs == {cast.product.pk}
    assert held.oversees(cast.search)
    assert not held.oversees(cast.cards)


@pytest.mark.parametrize(
    ("name", "role"), [("fay", Role.FINANCE), ("audrey", Role.AUDITOR), ("ann", Role.ADMIN)]
)
def test_roles_for_the_whole_organisation(cast: Cast, name: str, role: Role) -> None:
    held = roles_of(getattr(cast, name))
    assert held.organisation_wide == {role}
    assert held.sees_everything
    assert held.oversees(cast.search) == (role is Role.ADMIN)


def test_roles_are_read_in_one_query(cast: Cast, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        roles_of(cast.ben)


def test_a_leaver_holds_nothing(cast: Cast) -> None:
    cast.ben.is_active = False
    cast.ben.save()
    assert roles_of(cast.ben).works_in == frozenset()
    assert not has_role(cast.ben, Role.LEAD, team=cast.search)
    assert not works_in(cast.ben, cast.search)
    assert approvers_for(Role.LEAD, cast.ranking) == []
    assert role_holders(cast.ranking).for_project(cast.ranking)["lead"] == frozenset()


def test_a_role_is_held_for_one_scope_and_time(cast: Cast) -> None:
    assert has_role(cast.ben, Role.LEAD, team=cast.search)
    assert not has_role(cast.ben, Role.LEAD, team=cast.cards)
    assert not has_role(cast.ben, Role.LEAD, team=cast.search, at=clock.now() - timedelta(days=9000))


@pytest.mark.parametrize(
    ("role", "names"),
    [(Role.LEAD, ["ben"]), (Role.DIRECTOR, ["cleo"]), (Role.ADMIN, ["ann"]), (Role.FINANCE, ["fay"])],
)
def test_approvers_are_those_of_the_projects_team_and_department(
    cast: Cast, role: Role, names: list[str]
) -> None:
    assert approvers_for(role, cast.ranking) == [getattr(cast, name) for name in names]


def test_holders_of_everything_and_of_one_project_agree(cast: Cast, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        everything, one = role_holders(), role_holders(cast.ranking)
    assert everything.for_project(cast.ranking) == one.for_project(cast.ranking)
    assert one.for_project(cast.ranking)["lead"] == {cast.ben.pk}
    assert everything.names[cast.ben.pk] == "Ben Okafor"


def test_people_are_written_for_a_sentence() -> None:
    ben, cleo, ann = (
        factories.UserFactory.build(name=name) for name in ("Ben Okafor", "Cleo Hart", "Ann Keller")
    )
    assert names_of([]) == "nobody"
    assert names_of([ben]) == "Ben Okafor"
    assert names_of([ben, cleo, ann]) == "Ben Okafor, Cleo Hart or Ann Keller"
