"""What begins has a code, a name and an owner that can be; who leaves a team leaves nothing behind in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from core import clock
from core.errors import AlreadyDoneError, InvalidInputError
from core.models import AuditEvent
from keys.models import ApiKey
from keys.services import issue_key
from portal.leaving import TEAM_ENDINGS
from teams import services
from teams.errors import RoleNeededError
from teams.models import Department, Membership, Project, Role, Team
from teams.selectors import works_in
from tests import factories
from tests.cast import Cast

WHY = "The organisation changes."
Create = Callable[..., Any]


@pytest.fixture(params=["department", "team", "project"])
def create(cast: Cast, request: pytest.FixtureRequest) -> Create:
    """Return how a department, team or project is opened, given its code and name."""
    more: dict[str, dict[str, Any]] = {
        "department": {},
        "team": {"department": cast.product},
        "project": {"team": cast.search, "owner": cast.ada, "cost_centre": "CC-9"},
    }
    act = getattr(services, f"create_{request.param}")
    return partial(act, actor=cast.ann, **more[request.param])


@pytest.mark.parametrize("code", ["", "x", "-ab", "Ab", "a b", "a_b", "ab\n", " ab", "é1", "x" * 64])
def test_a_code_has_its_shape(create: Create, code: str) -> None:
    with pytest.raises(InvalidInputError, match="2 to 63 small letters") as refusal:
        create(code=code, name="New")
    assert refusal.value.field == "code"
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize("code", ["ab", "0-", "x" * 63])
def test_a_code_at_its_borders_is_taken_once(create: Create, code: str) -> None:
    made = create(code=code, name="New")

    with pytest.raises(InvalidInputError, match=f"The code {code} is taken") as refusal:
        create(code=code, name="Newer")
    assert refusal.value.field == "code"
    assert list(type(made).objects.filter(code=code)) == [made]


def test_a_code_stays_taken_when_its_bearer_is_archived(cast: Cast) -> None:
    services.archive_project(actor=cast.ann, project=cast.ranking, reason=WHY)
    with pytest.raises(InvalidInputError, match="The code ranking is taken"):
        new_project(cast, code="ranking")


@pytest.mark.parametrize("name", ["", "  \t", "x" * 121])
def test_a_name_is_one(create: Create, name: str) -> None:
    with pytest.raises(InvalidInputError, match="1 to 120 characters") as refusal:
        create(code="new", name=name)
    assert refusal.value.field == "name"


def test_a_name_is_kept_without_the_space_around_it(create: Create) -> None:
    assert create(code="new", name=f" {'x' * 120} ").name == "x" * 120
    assert AuditEvent.objects.get().after["name"] == "x" * 120


@pytest.mark.parametrize("centre", ["", " ", "x" * 41])
def test_a_project_has_a_cost_centre(cast: Cast, centre: str) -> None:
    with pytest.raises(InvalidInputError, match="1 to 40 characters") as refusal:
        new_project(cast, cost_centre=centre)
    assert refusal.value.field == "cost_centre"


def new_project(cast: Cast, **other: Any) -> Project:
    """Let Ben open a project that Ada owns, unless said otherwise."""
    usual: dict[str, Any] = {"code": "new", "name": "New", "owner": cast.ada, "cost_centre": " CC-9 "}
    return services.create_project(actor=cast.ben, team=cast.search, **(usual | other))


def test_lead_opens_a_project_that_a_member_owns(cast: Cast) -> None:
    project = new_project(cast)
    assert (project.owner, project.cost_centre, project.team) == (cast.ada, "CC-9", cast.search)


@pytest.mark.parametrize("name", ["ada", "dan", "eve", "olga", "fay", "audrey"])
def test_only_who_answers_for_a_team_opens_projects_and_hands_them_over(cast: Cast, name: str) -> None:
    other, actor = factories.ProjectFactory.create(team=cast.search, owner=cast.ben), getattr(cast, name)
    for act in (
        lambda who: services.create_project(
            actor=who, team=cast.search, code="new", name="New", owner=cast.ada, cost_centre="CC-9"
        ),
        lambda who: services.hand_over_project(actor=who, project=other, owner=cast.ada, reason=WHY),
    ):
        with pytest.raises(RoleNeededError, match="Ask Ann Keller"):
            act(actor)
        assert act(cast.cleo).owner == cast.ada


def test_an_owner_works_in_the_team_now(cast: Cast) -> None:
    left = factories.MembershipFactory.create(
        team=cast.search, user=factories.UserFactory.create(is_active=False)
    )
    for person in (cast.dan, cast.cleo, left.user):
        with pytest.raises(InvalidInputError, match="does not work in team Search now") as refusal:
            new_project(cast, owner=person)
        assert refusal.value.field == "owner"
        with pytest.raises(InvalidInputError, match="does not work in team Search now"):
            services.hand_over_project(actor=cast.ben, project=cast.ranking, owner=person, reason=WHY)
    assert Project.objects.filter(team=cast.search).count() == 1


def test_a_project_is_handed_over_with_a_reason(cast: Cast) -> None:
    services.hand_over_project(actor=cast.ben, project=cast.ranking, owner=cast.ada, reason=f" {WHY} ")

    cast.ranking.refresh_from_db()
    event = AuditEvent.objects.get()
    assert cast.ranking.owner == cast.ada
    assert (event.action, event.reason) == ("project.handed_over", WHY)
    assert (event.before, event.after) == ({"owner": cast.ben.public_id}, {"owner": cast.ada.public_id})
    with pytest.raises(InvalidInputError, match="Ada Moreno owns Ranking already"):
        services.hand_over_project(actor=cast.ben, project=cast.ranking, owner=cast.ada, reason=WHY)
    with pytest.raises(InvalidInputError, match="Enter a reason"):
        services.hand_over_project(actor=cast.ben, project=cast.ranking, owner=cast.ben, reason=" ")
    services.archive_project(actor=cast.cleo, project=cast.ranking, reason=WHY)
    with pytest.raises(AlreadyDoneError, match="Project Ranking was closed on"):
        services.hand_over_project(actor=cast.ben, project=cast.ranking, owner=cast.ben, reason=WHY)


def test_nothing_begins_in_what_is_archived(cast: Cast) -> None:
    Department.objects.filter(pk=cast.product.pk).update(archived_at=clock.now())
    services.archive_team(actor=cast.ann, team=cast.search, reason=WHY)
    for field, what, act in (
        (
            "department",
            "Department Product",
            lambda: services.create_team(actor=cast.ann, department=cast.product, code="new", name="New"),
        ),
        ("team", "Team Search", lambda: new_project(cast)),
        (
            "team",
            "Team Search",
            lambda: services.add_member(actor=cast.ann, team=cast.search, user=cast.dan),
        ),
    ):
        with pytest.raises(AlreadyDoneError, match=f"{what} was closed on") as refusal:
            act()
        assert refusal.value.field == field
    assert not Team.objects.filter(code="new").exists()
    assert not works_in(cast.dan, cast.search)


def test_who_has_left_is_not_added(cast: Cast) -> None:
    services.deactivate_person(actor=cast.ann, user=cast.dan, reason=WHY, endings=())
    with pytest.raises(InvalidInputError, match="Dan Fischer has left") as refusal:
        services.add_member(actor=cast.ben, team=cast.search, user=cast.dan)
    assert refusal.value.field == "person"
    assert not Membership.objects.filter(team=cast.search, user=cast.dan).exists()


def end(cast: Cast, user: Any, reason: str = WHY) -> Membership:
    return services.end_membership(
        actor=cast.cleo, team=cast.search, user=user, reason=reason, endings=TEAM_ENDINGS
    )


def test_who_leads_or_owns_hands_that_over_before_he_leaves_the_team(cast: Cast) -> None:
    with pytest.raises(InvalidInputError, match=r"Ben Okafor leads team Search\. Ask Ann Keller") as refusal:
        end(cast, cast.ben)
    assert refusal.value.field == "person"
    services.end_role(actor=cast.ann, assignment=cast.ben.role_assignments.get(), reason=WHY)
    with pytest.raises(InvalidInputError, match=r"Ben Okafor owns Ranking\. Hand that over"):
        end(cast, cast.ben)
    assert works_in(cast.ben, cast.search)

    services.hand_over_project(actor=cast.cleo, project=cast.ranking, owner=cast.ada, reason=WHY)
    end(cast, cast.ben)

    assert not works_in(cast.ben, cast.search)


def test_an_archived_project_or_one_elsewhere_keeps_nobody(cast: Cast) -> None:
    factories.ProjectFactory.create(team=cast.search, owner=cast.ada, archived_at=clock.now())
    factories.ProjectFactory.create(team=cast.cards, owner=cast.ada)
    factories.RoleAssignmentFactory.create(user=cast.ada, role=Role.LEAD, team=cast.cards)
    end(cast, cast.ada)
    assert not works_in(cast.ada, cast.search)


def test_keys_of_the_team_end_with_the_membership_and_no_others(cast: Cast) -> None:
    factories.MembershipFactory.create(user=cast.ada, team=cast.cards)
    ours = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
    kept = {
        issue_key(actor=cast.ada, project=cast.fraud, name="laptop"),
        issue_key(actor=cast.ben, project=cast.ranking, name="laptop"),
    }

    end(cast, cast.ada, "Moved to Cards.")

    ours.refresh_from_db()
    assert ours.revoked_reason == "Ada Moreno has left team Search: Moved to Cards."
    assert set(ApiKey.objects.filter(revoked_at__isnull=True)) == kept
    event = AuditEvent.objects.get(action="team.member_left")
    assert event.after == {"member": cast.ada.public_id, "requests": 0, "increases": 0, "keys": 1}
    assert event.actor_id == cast.cleo.pk


@pytest.mark.parametrize("reason", ["", "  ", "x" * 2_001])
def test_a_membership_ends_with_a_reason(cast: Cast, reason: str) -> None:
    with pytest.raises(InvalidInputError, match="Enter a reason"):
        end(cast, cast.ada, reason)
    assert works_in(cast.ada, cast.search)
