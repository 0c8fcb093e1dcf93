"""The pages on which an organisation begins and grows: departments, teams, projects, members."""

from __future__ import annotations

import pytest

from core.models import AuditEvent
from teams.models import Department, Membership, Project, Role, Team
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.factories import (
    DepartmentFactory,
    MembershipFactory,
    ProjectFactory,
    RoleAssignmentFactory,
    TeamFactory,
    UserFactory,
)
from tests.portal.test_once import name_of_form

DEPARTMENT, TEAM = "/teams/departments/add/", "/teams/add/"


def project_path(cast: Cast) -> str:
    return f"/teams/{cast.search.public_id}/projects/add/"


def member_path(cast: Cast) -> str:
    return f"/teams/{cast.search.public_id}/members/add/"


def add_project(cast: Cast, **changes: str) -> Page:
    entered = {"name": "Maps", "code": "", "owner": cast.ada.public_id, "cost_centre": "CC-1"}
    return Visitor(cast.ben).post(project_path(cast), **{**entered, **changes})


def test_department_gets_the_code_of_its_name(cast: Cast) -> None:
    page = Visitor(cast.ann).post(DEPARTMENT, name="Customer Care", code="")

    assert (page.status, page.response["Location"]) == (302, "/teams/")
    assert Department.objects.get(name="Customer Care").code == "customer-care"


def test_code_that_is_entered_is_kept(cast: Cast) -> None:
    Visitor(cast.ann).post(DEPARTMENT, name="Customer Care", code="care")
    assert Department.objects.get(name="Customer Care").code == "care"


@pytest.mark.parametrize(
    ("entered", "sentence"),
    [
        ({"name": "", "code": ""}, "Enter a name"),
        ({"name": "Care", "code": "Care!"}, "Use 2 to 63 small letters, digits and hyphens."),
        ({"name": "支払い", "code": ""}, "Enter a code: none can be made from this name"),
        ({"name": "Another", "code": "product"}, "The code product is taken. Choose another one."),
        ({"name": "Product", "code": ""}, "The code product is taken. Choose another one."),
        ({"name": "x" * 121, "code": "x"}, "at most 120 characters"),
    ],
)
def test_what_cannot_be_a_department_is_said_at_its_field(
    cast: Cast, entered: dict[str, str], sentence: str
) -> None:
    page = Visitor(cast.ann).post(DEPARTMENT, **entered)

    assert page.status == 422
    assert sentence in page.words
    assert Department.objects.count() == 2


def test_second_click_adds_one_department(cast: Cast) -> None:
    ann = Visitor(cast.ann)
    sent = {"name": "Care", "code": "", "once": name_of_form(ann, DEPARTMENT)}

    assert [ann.post(DEPARTMENT, **sent).status for _ in range(2)] == [302, 302]

    assert AuditEvent.objects.filter(action="department.created").count() == 1


def test_team_lands_on_its_page_which_says_what_is_next(cast: Cast) -> None:
    ann = Visitor(cast.ann)

    page = ann.post(TEAM, name="Maps", code="", department=cast.product.public_id)

    team = Team.objects.get(code="maps")
    assert (team.department, page.response["Location"]) == (cast.product, f"/teams/{team.public_id}/")
    landed = ann.get(page.response["Location"])
    assert "Maps team is there." in landed.words
    assert "What is next" in landed.words
    for path in (
        f"/teams/{team.public_id}/members/add/",
        f"/teams/{team.public_id}/projects/add/",
        f"/budgets/open/?scope=team%3A{team.public_id}",
    ):
        assert path in landed.links


@pytest.mark.parametrize(
    ("entered", "sentence"),
    [
        ({"department": ""}, "Choose a department"),
        ({"department": "dep_0000"}, "Choose a department"),
        ({"code": "search"}, "The code search is taken. Choose another one."),
    ],
)
def test_what_cannot_be_a_team_is_said_at_its_field(
    cast: Cast, entered: dict[str, str], sentence: str
) -> None:
    good = {"name": "Maps", "code": "", "department": cast.product.public_id}

    page = Visitor(cast.ann).post(TEAM, **{**good, **entered})

    assert page.status == 422
    assert sentence in page.words
    assert Team.objects.count() == 2


def test_without_a_department_a_team_leads_to_adding_one(db: None) -> None:
    ann = Visitor(RoleAssignmentFactory.create(role=Role.ADMIN).user)
    assert ann.get(TEAM).response["Location"] == DEPARTMENT
    page = ann.get("/teams/")
    assert "Add a department first" in page.words
    assert DEPARTMENT in page.links
    assert TEAM not in page.links


def test_lead_adds_a_project_and_lands_on_it(cast: Cast) -> None:
    page = add_project(cast)

    project = Project.objects.get(code="maps")
    assert (project.team, project.owner, project.cost_centre) == (cast.search, cast.ada, "CC-1")
    assert page.response["Location"] == f"/projects/{project.public_id}/"
    landed = Visitor(cast.ben).get(page.response["Location"])
    assert "What is next" in landed.words
    assert f"/budgets/open/?scope=project%3A{project.public_id}" in landed.links
    assert "/approvals/ask/?project=maps" in landed.links


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"code": "ranking"}, "The code ranking is taken. Choose another one."),
        ({"owner": ""}, "Choose an owner"),
        ({"owner": "dan"}, "Choose an owner"),
        ({"owner": "cleo"}, "Choose an owner"),
        ({"cost_centre": " "}, "Enter a cost centre"),
        ({"cost_centre": "C" * 41}, "at most 40 characters"),
    ],
)
def test_what_cannot_be_a_project_is_said_at_its_field(
    cast: Cast, changes: dict[str, str], sentence: str
) -> None:
    named = {
        key: getattr(cast, each).public_id if each in {"dan", "cleo"} else each
        for key, each in changes.items()
    }

    page = add_project(cast, **named)

    assert page.status == 422
    assert sentence in page.words
    assert Project.objects.count() == 2


def test_team_of_nobody_leads_from_its_first_project_to_its_first_member(cast: Cast) -> None:
    team = TeamFactory.create(department=cast.product)
    page = Visitor(cast.ann).get(f"/teams/{team.public_id}/projects/add/")
    assert page.response["Location"] == f"/teams/{team.public_id}/members/add/"


def test_lead_takes_in_a_person_by_the_address(cast: Cast) -> None:
    page = Visitor(cast.ben).post(member_path(cast), person="Dan@Example.com")

    assert page.response["Location"] == f"/teams/{cast.search.public_id}/"
    assert Membership.objects.live().filter(team=cast.search, user=cast.dan).exists()
    again = Visitor(cast.ben).post(member_path(cast), person="dan@example.com")
    assert again.status == 422
    assert "works in team Search already" in again.words


def test_whom_nobody_knows_is_added_as_a_person_first(cast: Cast) -> None:
    left = UserFactory.create(email="left@example.com", is_active=False)
    for address in ("nia@example.com", left.email):
        of_ann = Visitor(cast.ann).post(member_path(cast), person=address)
        of_ben = Visitor(cast.ben).post(member_path(cast), person=address)
        assert (of_ann.status, of_ben.status) == (422, 422)
        assert "Add the person under People first." in of_ann.words
        assert "Ask an administrator to add the person." in of_ben.words


def test_offered_are_those_whom_the_reader_may_know_of(cast: Cast) -> None:
    of_ann = Visitor(cast.ann).get(member_path(cast)).response.content.decode()
    of_ben = Visitor(cast.ben).get(member_path(cast)).response.content.decode()
    assert ("dan@example.com" in of_ann, "dan@example.com" in of_ben) == (True, False)
    assert 'value="ada@example.com"' not in of_ann


def test_nothing_is_added_to_what_was_archived(cast: Cast) -> None:
    cast.search.archived_at = cast.ranking.created_at
    cast.search.save()
    for path in (project_path(cast), member_path(cast)):
        assert Visitor(cast.ann).get(path).status == 409
    links = Visitor(cast.ann).get(f"/teams/{cast.search.public_id}/").links
    assert not [
        link
        for link in links
        if link.startswith(f"/teams/{cast.search.public_id}/")
        and "?" not in link  # an order of a table
        and link != f"/teams/{cast.search.public_id}/?format=csv"
    ]


def test_page_of_a_team_helps_to_a_lead(cast: Cast) -> None:
    team = TeamFactory.create(name="Maps", department=DepartmentFactory.create())
    path = f"/teams/{team.public_id}/"
    ann = Visitor(cast.ann)
    assert "Add a member first, then make that person the lead." in ann.get(path).words

    MembershipFactory.create(team=team, user=cast.dan)
    page = ann.get(path)

    [give] = [link for link in page.links if "/role/" in link]
    assert give == f"/people/{cast.dan.public_id}/role/?role=lead&team={team.public_id}"
    form = ann.get(give).response.content.decode()
    assert f'<option value="{team.public_id}" selected>' in form
    assert "Make lead" not in Visitor(cast.dan).get(path).words


def test_teams_shows_what_the_reader_may_see_and_add(cast: Cast) -> None:
    assert [row[:4] for row in Visitor(cast.ann).get("/teams/").rows(cast.product.public_id)] == [
        ["Search", "Ben Okafor", "2", "Ranking"]
    ]
    shown = {who: Visitor(getattr(cast, who)).get("/teams/") for who in ("ada", "ben", "cleo", "fay", "ann")}
    assert {who: "Cards" in page.words for who, page in shown.items()} == {
        "ada": False, "ben": False, "cleo": False, "fay": True, "ann": True,
    }  # fmt: skip
    assert {who: project_path(cast) in page.links for who, page in shown.items()} == {
        "ada": False, "ben": True, "cleo": True, "fay": False, "ann": True,
    }  # fmt: skip
    assert [who for who, page in shown.items() if DEPARTMENT in page.links or TEAM in page.links] == ["ann"]


def test_teams_folds_what_was_archived(cast: Cast) -> None:
    ProjectFactory.create(name="Old", team=cast.search, archived_at=cast.ranking.created_at)
    TeamFactory.create(name="Gone", department=cast.product, archived_at=cast.ranking.created_at)

    page = Visitor(cast.ann).get("/teams/")

    assert page.rows("archived-h") == [["Gone team", "Product department"], ["Old", "Search team"]]
    assert [row[0] for row in page.rows(cast.product.public_id)] == ["Search"]


def test_teams_asks_the_database_as_often_for_many_teams_as_for_few(cast: Cast) -> None:
    def grow(number: int) -> None:
        for _ in range(number):
            team = TeamFactory.create(department=DepartmentFactory.create())
            ProjectFactory.create(team=team)
            MembershipFactory.create(team=team)
            RoleAssignmentFactory.create(role=Role.LEAD, team=team)

    grow(3)
    few = Visitor(cast.ann).queries("/teams/")
    grow(45)
    many = Visitor(cast.ann).queries("/teams/")
    assert len(many) == len(few) <= 8
