"""Outside one's scope an object does not exist."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core import clock
from teams.models import Department, Membership, Project, Role, Team
from tests import factories
from tests.cast import Cast


@pytest.mark.parametrize("name", ["ada", "ben", "cleo"])
def test_people_of_a_team_see_its_projects_and_no_others(cast: Cast, name: str) -> None:
    assert list(Project.objects.visible_to(getattr(cast, name))) == [cast.ranking]


def test_outsider_sees_his_own_team_only(cast: Cast) -> None:
    assert list(Team.objects.visible_to(cast.dan)) == [cast.cards]
    assert list(Project.objects.visible_to(cast.dan)) == [cast.fraud]


@pytest.mark.parametrize("name", ["fay", "audrey", "ann"])
def test_finance_auditor_and_admin_see_everything(cast: Cast, name: str) -> None:
    person = getattr(cast, name)
    assert set(Project.objects.visible_to(person)) == {cast.ranking, cast.fraud}
    assert set(Team.objects.visible_to(person)) == {cast.search, cast.cards}
    assert set(Department.objects.visible_to(person)) == {cast.product, cast.payments}


def test_director_sees_the_department_and_the_lead_does_not(cast: Cast) -> None:
    assert list(Department.objects.visible_to(cast.cleo)) == [cast.product]
    assert not Department.objects.visible_to(cast.ben).exists()


def test_member_sees_a_team_that_he_does_not_oversee(cast: Cast) -> None:
    assert list(Team.objects.visible_to(cast.ada)) == [cast.search]
    assert not Team.objects.overseen_by(cast.ada).exists()
    assert list(Team.objects.overseen_by(cast.ben)) == [cast.search]
    assert list(Team.objects.overseen_by(cast.cleo)) == [cast.search]


def test_a_membership_that_ended_shows_nothing(cast: Cast) -> None:
    Membership.objects.filter(user=cast.ada).update(valid_until=clock.now())
    assert not Project.objects.visible_to(cast.ada).exists()


def test_a_role_that_begins_tomorrow_shows_nothing_today(cast: Cast) -> None:
    newcomer = factories.UserFactory.create()
    factories.RoleAssignmentFactory.create(
        user=newcomer, role=Role.AUDITOR, valid_from=clock.now() + timedelta(days=1)
    )
    assert not Project.objects.visible_to(newcomer).exists()


@pytest.mark.parametrize("name", ["ada", "ben", "cleo", "ann"])
def test_a_leaver_sees_nothing(cast: Cast, name: str) -> None:
    person = getattr(cast, name)
    person.is_active = False
    person.save()
    assert not Project.objects.visible_to(person).exists()
    assert not Department.objects.visible_to(person).exists()


def test_keys_may_be_asked_for_in_open_projects_of_teams_that_one_works_in(cast: Cast) -> None:
    assert list(Project.objects.workable_by(cast.ada)) == [cast.ranking]
    assert not Project.objects.workable_by(cast.cleo).exists()
    Project.objects.filter(pk=cast.ranking.pk).update(archived_at=clock.now())
    assert not Project.objects.workable_by(cast.ada).exists()


def test_a_lead_works_in_his_team_without_a_membership(cast: Cast) -> None:
    Membership.objects.filter(user=cast.ben).delete()
    assert list(Project.objects.workable_by(cast.ben)) == [cast.ranking]
