"""People and their roles over the API: by administrators, by the services of the pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core import clock
from core.models import AuditEvent
from portal.leaving import consequences
from teams.models import Role, RoleAssignment, User
from teams.selectors import has_role, works_in
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Caller, World
from tests.cast import Cast

KEY = {"Idempotency-Key": "a-7c1"}
WHY = {"reason": "The team is reorganised."}


def test_somebody_new_comes_once_however_often_the_call_is_sent(ann: Caller, cast: Cast) -> None:
    body = {"name": " Nia  Obi ", "email": "Nia@Example.com"}

    first, again = (ann.post("people/", body, headers=KEY) for _ in range(2))

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json() == ann.get(first["Location"]).json()
    assert (first.json()["name"], first.json()["email"]) == ("Nia Obi", "nia@example.com")
    assert AuditEvent.objects.get(action="person.created").actor_label == cast.ann.label
    refused = problem(ann.post("people/", body), 409, "address_taken")
    assert list(refused["errors"]) == ["email"]


@pytest.mark.parametrize(
    ("fields", "status", "name"),
    [
        ({"name": " "}, 422, "name"),
        ({"name": "x" * 151}, 400, "name"),
        ({"email": "nobody"}, 422, "email"),
        ({"password": "secret"}, 400, "password"),
    ],
)
def test_somebody_who_cannot_be_is_refused_by_the_field(
    ann: Caller, fields: dict[str, str], status: int, name: str
) -> None:
    before = User.objects.count()
    answer = ann.post("people/", {"name": "Nia Obi", "email": "nia@example.com", **fields})
    assert (answer.status_code, list(answer.json()["errors"])) == (status, [name])
    assert User.objects.count() == before


def test_who_leaves_loses_all_at_once_and_comes_back_with_nothing(ann: Caller, world: World) -> None:
    ada = Caller(world.cast.ada)
    path = f"people/{world.cast.ada.public_id}/"

    left = ann.post(f"{path}leave/", WHY)

    assert (left.status_code, left.json()["active"]) == (200, False)
    problem(ada.get("keys/"), 401, "not_authenticated")
    world.key.refresh_from_db()
    world.request.refresh_from_db()
    assert world.key.revoked_at is not None
    assert world.request.status != "pending"
    problem(ann.post(f"{path}leave/", WHY), 409, "already_done")
    problem(ann.post(f"{path}return/", {"reason": " "}), 422, "invalid_input")
    assert ann.post(f"{path}return/", WHY).json()["active"] is True
    problem(ann.post(f"{path}return/", WHY), 409, "already_done")
    assert not works_in(User.objects.get(pk=world.cast.ada.pk), world.cast.search)


def test_nobody_lets_himself_leave(ann: Caller, cast: Cast) -> None:
    problem(ann.post(f"people/{cast.ann.public_id}/leave/", WHY), 403, "not_allowed")
    problem(ann.post(f"people/{cast.ann.public_id}/reset-factors/", WHY), 403, "not_allowed")
    assert User.objects.get(pk=cast.ann.pk).is_active


def test_a_role_is_in_force_from_the_answer_to_its_end(ann: Caller, cast: Cast) -> None:
    body = {"person": cast.ada.public_id, "role": "lead", "team": cast.search.public_id}
    until = clock.now() + timedelta(days=30)

    given = ann.post("roles/", {**body, "valid_until": until.isoformat()}, headers=KEY)

    role = given.json()
    assert given.status_code == 201
    assert ann.get(given["Location"]).json() == role
    assert (role["person"]["name"], role["team"]["code"]) == ("Ada Moreno", "search")
    assert (role["given_by"]["name"], role["source"]) == ("Ann Keller", "portal")
    assert has_role(cast.ada, Role.LEAD, team=cast.search)
    problem(ann.post("roles/", body), 409, "already_held")
    assert ann.post("roles/", {**body, "valid_until": until.isoformat()}, headers=KEY).json() == role

    problem(ann.post(f"roles/{role['id']}/end/", {"reason": ""}), 422, "invalid_input")
    ended = ann.post(f"roles/{role['id']}/end/", WHY).json()
    assert ended["valid_until"] is not None
    assert not has_role(cast.ada, Role.LEAD, team=cast.search)
    problem(ann.post(f"roles/{role['id']}/end/", WHY), 422, "invalid_input")
    actions = AuditEvent.objects.filter(action__startswith="role.").order_by("pk")
    assert list(actions.values_list("action", "reason")) == [
        ("role.assigned", ""),
        ("role.ended", WHY["reason"]),
    ]


def bad_roles(cast: Cast) -> dict[str, tuple[dict[str, Any], str]]:
    """Return what is wrong with a role, and the field at which it is told."""
    left = factories.UserFactory.create(is_active=False)
    closed = factories.TeamFactory.create(archived_at=clock.now())
    lead = {"role": "lead", "team": cast.search.public_id}
    return {
        "a lead of nothing": ({"role": "lead"}, "team"),
        "a director of nothing": ({"role": "director"}, "department"),
        "a lead of a department": ({**lead, "department": cast.product.public_id}, "department"),
        "finance of a team": ({**lead, "role": "finance"}, "team"),
        "a lead of a closed team": ({"role": "lead", "team": closed.public_id}, "team"),
        "a lead of no team": ({"role": "lead", "team": f"tem_{0:018}"}, "team"),
        "until yesterday": (
            {**lead, "valid_until": (clock.now() - timedelta(days=1)).isoformat()},
            "valid_until",
        ),
        "somebody unknown": ({**lead, "person": f"usr_{0:018}"}, "person"),
        "somebody who left": ({**lead, "person": left.public_id}, ""),
    }


def test_a_role_that_cannot_be_is_refused_by_the_field(ann: Caller, cast: Cast) -> None:
    before = RoleAssignment.objects.count()
    for what, (fields, name) in bad_roles(cast).items():
        answer = ann.post("roles/", {"person": cast.ada.public_id, **fields})
        refused = problem(answer, 422, "invalid_input")
        assert list(refused.get("errors", {})) == ([name] if name else []), what
    assert RoleAssignment.objects.count() == before


def test_nobody_gives_himself_a_role(ann: Caller, cast: Cast) -> None:
    body = {"person": cast.ann.public_id, "role": "finance"}
    problem(ann.post("roles/", body), 403, "not_allowed")


def test_roles_are_narrowed_down(ann: Caller, cast: Cast) -> None:
    gone = factories.RoleAssignmentFactory.create(
        user=cast.ben, role=Role.FINANCE, valid_until=clock.now() - timedelta(days=1)
    )
    ours = cast.ben.role_assignments.get(role=Role.LEAD)

    def ids(**query: str) -> set[str]:
        return {row["id"] for row in ann.get("roles/", **query).json()["results"]}

    assert ids(person=cast.ben.public_id) == {gone.public_id, ours.public_id}
    assert ids(person=cast.ben.public_id, in_force="yes") == {ours.public_id}
    assert ids(team=cast.search.public_id) == {ours.public_id}
    assert ids(role="finance", in_force="yes") == {cast.fay.role_assignments.get().public_id}
    assert ids(department=cast.product.public_id) == {cast.cleo.role_assignments.get().public_id}


def test_what_ends_is_said_before_a_person_leaves(ann: Caller, world: World) -> None:
    ada, path = world.cast.ada, f"people/{world.cast.ada.public_id}/leaving/"

    shown = ann.get(path).json()

    assert shown["person"] == {"id": ada.public_id, "name": "Ada Moreno"}
    ends = {(each["kind"], each["id"]) for each in shown["consequences"]}
    assert {("key", world.key.public_id), ("key", world.fresh_key.public_id), ("grants", None)} <= ends
    assert {("requests", None), ("sessions", None)} <= ends
    assert shown["consequences"][0]["kind"] == "key"
    assert [each["text"] for each in shown["consequences"]] == [each.text for each in consequences(ada)]
    ada.refresh_from_db()
    assert ada.is_active
    assert ann.post(f"people/{ada.public_id}/leave/", WHY).status_code == 200
    problem(ann.get(path), 409, "already_done")
