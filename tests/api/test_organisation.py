"""Departments, teams, projects and members over the API: opened, renamed, handed over, closed."""

from __future__ import annotations

from typing import Any

import pytest

from core import clock
from core.models import AuditEvent
from keys.models import ApiKey
from teams.models import Department, Project, Team
from teams.selectors import works_in
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Caller, World
from tests.cast import Cast

KEY = {"Idempotency-Key": "a-7c1"}
WHY = {"reason": "The organisation changes."}


def test_an_administrator_builds_an_organisation_and_its_lead_goes_on(ann: Caller, cast: Cast) -> None:
    home = ann.post("departments/", {"code": "research", "name": " Research "}, headers=KEY)
    again = ann.post("departments/", {"code": "research", "name": " Research "}, headers=KEY)
    assert (home.status_code, again.status_code) == (201, 201)
    assert home.json() == again.json() == ann.get(home["Location"]).json()
    assert (home.json()["code"], home.json()["name"]) == ("research", "Research")

    team = ann.post("teams/", {"department": home.json()["id"], "code": "vision", "name": "Vision"})
    assert team.status_code == 201
    assert team.json() == ann.get(team["Location"]).json()
    assert team.json()["department"]["code"] == "research"

    members = f"teams/{team.json()['id']}/members/"
    added = ann.post(members, {"person": " Dan@Example.com "})
    assert (added.status_code, added.json()["person"]["name"]) == (201, "Dan Fischer")
    problem(ann.post(members, {"person": "dan@example.com"}), 409, "already_held")
    lead = {"person": cast.dan.public_id, "role": "lead", "team": team.json()["id"]}
    assert ann.post("roles/", lead).status_code == 201

    dan = Caller(cast.dan)
    owned = {"team": team.json()["id"], "owner": cast.dan.public_id}
    project = dan.post("projects/", {"code": "ocr", "name": "OCR", "cost_centre": "CC-9", **owned})
    assert project.status_code == 201
    assert project.json() == dan.get(project["Location"]).json()
    assert (project.json()["owner"]["name"], project.json()["cost_centre"]) == ("Dan Fischer", "CC-9")
    key = dan.post("keys/", {"project": project.json()["id"], "name": "laptop"})
    assert key.status_code == 201


# What is wrong with a body, by noun; each is told at its one field.
WRONG: dict[str, list[tuple[dict[str, Any], int]]] = {
    "departments": [
        ({"code": "product"}, 422),
        ({"code": "Research"}, 422),
        ({"code": "x" * 64}, 400),
        ({"name": " "}, 422),
        ({"name": "x" * 121}, 400),
        ({"archived_at": None}, 400),
    ],
    "teams": [({"code": "search"}, 422), ({"department": f"dep_{0:018}"}, 422)],
    "projects": [
        ({"code": "ranking"}, 422),
        ({"code": "a b"}, 422),
        ({"cost_centre": " "}, 422),
        ({"cost_centre": "x" * 41}, 400),
        ({"team": f"tem_{0:018}"}, 422),
        ({"owner": f"usr_{0:018}"}, 422),
    ],
}


@pytest.mark.parametrize("noun", WRONG)
def test_what_cannot_begin_is_refused_by_the_field(ann: Caller, cast: Cast, noun: str) -> None:
    usual = {"code": "new", "name": "New"}
    owned = {"team": cast.search.public_id, "owner": cast.ada.public_id, "cost_centre": "CC-9"}
    bodies = {
        "departments": usual,
        "teams": usual | {"department": cast.product.public_id},
        "projects": usual | owned,
    }
    for fields, status in WRONG[noun]:
        answer = ann.post(f"{noun}/", bodies[noun] | fields)
        assert (answer.status_code, list(answer.json()["errors"])) == (status, list(fields))
    assert not AuditEvent.objects.exists()
    assert ann.post(f"{noun}/", bodies[noun]).status_code == 201


def test_nothing_begins_in_what_is_closed(ann: Caller, cast: Cast) -> None:
    Department.objects.filter(pk=cast.product.pk).update(archived_at=clock.now())
    Team.objects.filter(pk=cast.search.pk).update(archived_at=clock.now())
    team = {"department": cast.product.public_id, "code": "new", "name": "New"}
    owned = {"team": cast.search.public_id, "owner": cast.ada.public_id}
    project = {"code": "new", "name": "New", "cost_centre": "CC-9", **owned}
    members = f"teams/{cast.search.public_id}/members/"
    for path, body, field in (
        ("teams/", team, "department"),
        ("projects/", project, "team"),
        (members, {"person": cast.dan.email}, "team"),
    ):
        refused = problem(ann.post(path, body), 409, "already_done")
        assert list(refused["errors"]) == [field]


@pytest.mark.parametrize("noun", ["departments", "teams", "projects"])
def test_a_rename_keeps_the_code_and_needs_a_reason(ann: Caller, cast: Cast, noun: str) -> None:
    rows: dict[str, Department | Team | Project] = {
        "departments": cast.product,
        "teams": cast.search,
        "projects": cast.ranking,
    }
    row = rows[noun]
    path = f"{noun}/{row.public_id}/rename/"
    renamed = ann.post(path, {"name": "Other", **WHY}).json()
    assert (renamed["name"], renamed["code"]) == ("Other", row.code)
    assert AuditEvent.objects.get().reason == WHY["reason"]
    problem(ann.post(path, {"name": "Another", "reason": " "}), 422, "invalid_input")
    refused = problem(ann.post(path, {"name": " ", **WHY}), 422, "invalid_input")
    assert list(refused["errors"]) == ["name"]
    assert ann.get(f"{noun}/{row.public_id}/").json()["name"] == "Other"


def test_a_team_closes_with_its_projects_once(ann: Caller, world: World) -> None:
    team, project = world.cast.search, world.cast.ranking

    closed = ann.post(f"teams/{team.public_id}/archive/", WHY).json()

    assert closed["archived_at"] is not None
    assert ann.get(f"projects/{project.public_id}/").json()["archived_at"] == closed["archived_at"]
    problem(ann.post(f"teams/{team.public_id}/archive/", WHY), 409, "already_done")
    problem(ann.post(f"projects/{project.public_id}/archive/", WHY), 409, "already_done")
    key = {"project": project.public_id, "name": "late"}
    problem(Caller(world.cast.ada).post("keys/", key), 422, "invalid_input")


def test_a_project_is_handed_over_to_somebody_of_its_team(ben: Caller, cast: Cast) -> None:
    path = f"projects/{cast.ranking.public_id}/hand-over/"
    assert ben.post(path, {"owner": cast.ada.public_id, **WHY}).json()["owner"]["name"] == "Ada Moreno"
    for person in (cast.ada, cast.dan):
        refused = problem(ben.post(path, {"owner": person.public_id, **WHY}), 422, "invalid_input")
        assert list(refused["errors"]) == ["owner"]


def test_members_are_listed_by_name_with_their_time(ada: Caller, ben: Caller, cast: Cast) -> None:
    path = f"teams/{cast.search.public_id}/members/"
    left = factories.MembershipFactory.create(team=cast.search, user=cast.dan, valid_until=clock.now())
    gone = factories.UserFactory.create(is_active=False)
    factories.MembershipFactory.create(team=cast.search, user=gone)

    rows = ada.get(path).json()["results"]

    assert [row["person"]["name"] for row in rows] == ["Ada Moreno", "Ben Okafor"]
    assert all(row["valid_until"] is None for row in rows)
    assert left.user.public_id not in str(rows)
    assert ben.post(path, {"person": cast.dan.email}).status_code == 201
    assert [row["person"]["name"] for row in ada.get(path).json()["results"]][-1] == "Dan Fischer"


@pytest.mark.parametrize("address", ["nobody@example.com", "not an address", "left@example.com"])
def test_who_is_not_here_is_not_added(ben: Caller, cast: Cast, address: str) -> None:
    factories.UserFactory.create(email="left@example.com", is_active=False)
    path = f"teams/{cast.search.public_id}/members/"
    refused = problem(ben.post(path, {"person": address}), 422, "invalid_input")
    assert refused["errors"] == {"person": ["There is no such person, or it is not one that you may see."]}


def test_who_may_not_add_learns_of_nobody(ada: Caller, cast: Cast) -> None:
    path = f"teams/{cast.search.public_id}/members/"
    answers = [ada.post(path, {"person": each}) for each in (cast.dan.email, "nobody@example.com")]
    assert [problem(answer, 403, "role_needed")["detail"] for answer in answers] == [
        "Only the lead of Search, its director or an administrator may do this. Ask Ann Keller."
    ] * 2


def test_who_leaves_a_team_loses_the_keys_for_it(ben: Caller, world: World) -> None:
    cast, path = world.cast, f"teams/{world.cast.search.public_id}/members/end/"

    ended = ben.post(path, {"person": cast.ada.public_id, **WHY}, headers=KEY)

    assert ended.status_code == 200
    assert ended.json()["valid_until"] is not None
    assert not works_in(cast.ada, cast.search)
    assert not ApiKey.objects.filter(owner=cast.ada, revoked_at__isnull=True).exists()
    assert AuditEvent.objects.get(action="team.member_left").after["keys"] == 2
    assert ben.post(path, {"person": cast.ada.public_id, **WHY}, headers=KEY).json() == ended.json()


def test_a_lead_and_an_owner_stay_until_somebody_else_answers(ann: Caller, cast: Cast) -> None:
    path, body = f"teams/{cast.search.public_id}/members/end/", {"person": cast.ben.public_id, **WHY}
    assert "leads team Search" in problem(ann.post(path, body), 422, "invalid_input")["detail"]
    ann.post(f"roles/{cast.ben.role_assignments.get().public_id}/end/", WHY)
    assert "owns Ranking" in problem(ann.post(path, body), 422, "invalid_input")["detail"]
    ann.post(f"projects/{cast.ranking.public_id}/hand-over/", {"owner": cast.ada.public_id, **WHY})
    assert ann.post(path, body).status_code == 200
    refused = problem(ann.post(path, body), 422, "invalid_input")
    assert list(refused["errors"]) == ["person"]
