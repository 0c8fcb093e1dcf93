"""People: who is listed to whom, how one is added, renamed, given a role; what the past keeps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from core.errors import InvalidInputError
from core.models import AuditEvent
from teams import services
from teams.errors import AddressTakenError, RoleNeededError
from teams.models import FormerName, Membership, Role, RoleAssignment, RoleSource, User
from tests import factories
from tests.browsing import Visitor
from tests.cast import Cast

WHY = "A test of people."


def names(page_rows: list[list[str]]) -> list[str]:
    """Return who is in a list."""
    return [row[0].split(" ")[0] for row in page_rows]


def test_everybody_sees_his_teams_and_no_others(cast: Cast) -> None:
    assert names(Visitor(cast.ada).get("/people/").rows("People table")) == ["Ada", "Ben"]
    assert names(Visitor(cast.dan).get("/people/").rows("People table")) == ["Dan", "Eve"]
    assert len(Visitor(cast.audrey).get("/people/").rows("People table")) == User.objects.count()


def test_a_row_says_teams_and_roles(cast: Cast) -> None:
    row = Visitor(cast.ada).get("/people/", q="ben@").rows("People table")[0]

    assert row[0].startswith("Ben Okafor")
    assert row[3:] == ["Search", "Team lead of Search"]


def test_who_left_is_on_a_list_of_his_own_for_those_who_see_everything(cast: Cast) -> None:
    services.deactivate_person(actor=cast.ann, user=cast.ada, reason=WHY, endings=())

    assert names(Visitor(cast.ann).get("/people/", tab="left").rows("People table")) == ["Ada"]
    assert names(Visitor(cast.ben).get("/people/", tab="left").rows("People table")) == ["Ben"]


def test_an_empty_list_says_why_it_is_empty(cast: Cast) -> None:
    ann = Visitor(cast.ann)

    assert "Nobody has left Whoever leaves is kept here" in ann.get("/people/", tab="left").words
    assert "Nobody whom you may see is called so." in ann.get("/people/", tab="left", q="zzz").words
    assert "Nobody whom you may see is called so." in ann.get("/people/", q="zzz").words


def test_the_list_costs_the_same_at_5_and_at_50(cast: Cast) -> None:
    few = len(Visitor(cast.ann).queries("/people/"))
    for person in factories.UserFactory.create_batch(45):
        factories.MembershipFactory.create(user=person, team=cast.search)

    assert len(Visitor(cast.ann).queries("/people/")) == few


def test_the_list_has_pages(cast: Cast) -> None:
    factories.UserFactory.create_batch(60)

    first = Visitor(cast.ann).get("/people/")

    assert len(first.rows("People table")) == 50
    assert "/people/?page=1" in first.links


def test_an_administrator_adds_a_person(cast: Cast) -> None:
    page = Visitor(cast.ann).post("/people/add/", name="Nia  Obi", email="Nia@Example.com")

    nia = User.objects.get(email="nia@example.com")
    assert page.response["Location"] == f"/people/{nia.public_id}/"
    assert (nia.name, nia.has_usable_password()) == ("Nia Obi", False)


@pytest.mark.parametrize(
    ("name", "email", "told"),
    [
        ("Nia", "ADA@example.com", "already"),
        ("Nia", "not an address", "Enter an e-mail address"),
        ("", "nia@example.com", "Enter a name"),
    ],
)
def test_a_person_who_cannot_be_added_is_said_so(cast: Cast, name: str, email: str, told: str) -> None:
    page = Visitor(cast.ann).post("/people/add/", name=name, email=email)

    assert page.status == 422
    assert told in page.words


def test_a_rename_changes_no_label_of_the_past(cast: Cast) -> None:
    services.create_department(actor=cast.ann, code="research", name="Research")
    before = AuditEvent.objects.get(action="department.created").actor_label

    page = Visitor(cast.ann).post(f"/people/{cast.ann.public_id}/rename/", name="Ann Weber", reason=WHY)

    assert page.status == 302
    assert User.objects.get(pk=cast.ann.pk).name == "Ann Weber"
    assert AuditEvent.objects.get(action="department.created").actor_label == before
    assert before == "Ann Keller <ann@example.com>"
    former = FormerName.objects.get(kind="person", object_id=cast.ann.pk)
    assert former.name == "Ann Keller"
    assert "Formerly Ann Keller" in Visitor(cast.ann).get(f"/people/{cast.ann.public_id}/").words


def test_the_same_name_is_no_change(cast: Cast) -> None:
    services.rename_person(actor=cast.ann, user=cast.ada, name=" Ada  Moreno ", reason=WHY)

    assert not FormerName.objects.exists()
    assert not AuditEvent.objects.exists()


def test_a_role_is_given_with_a_last_day(cast: Cast) -> None:
    entered = {"role": "lead", "team": cast.search.public_id, "department": "", "valid_until": "2099-12-31"}

    page = Visitor(cast.ann).post(f"/people/{cast.ada.public_id}/role/", **entered)

    held = RoleAssignment.objects.get(user=cast.ada)
    assert page.status == 302
    assert (held.role, held.team, held.granted_by, held.source) == (
        Role.LEAD,
        cast.search,
        cast.ann,
        RoleSource.PORTAL,
    )
    assert held.valid_until == datetime(2100, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("entered", "told"),
    [
        ({"role": "lead"}, "Choose the team to lead"),
        ({"role": "director"}, "Choose the department to direct"),
        ({"role": "finance", "team": "search"}, "Finance is not a role in a team"),
        ({"role": ""}, "Choose a role"),
        ({"role": "admin", "valid_until": "soon"}, "Enter a day such as"),
    ],
)
def test_a_role_needs_its_place(cast: Cast, entered: dict[str, str], told: str) -> None:
    sent = {name: cast.search.public_id if value == "search" else value for name, value in entered.items()}

    page = Visitor(cast.ann).post(f"/people/{cast.ada.public_id}/role/", **sent)

    assert page.status == 422
    assert told in page.words
    assert not RoleAssignment.objects.filter(user=cast.ada).exists()


def test_a_role_ends_at_once_with_a_reason(cast: Cast) -> None:
    held = cast.ben.role_assignments.get()

    page = Visitor(cast.ann).post(f"/people/roles/{held.public_id}/end/", reason=WHY)

    assert page.status == 302
    assert not RoleAssignment.objects.live().filter(user=cast.ben).exists()
    assert "Ended" in Visitor(cast.ann).get(f"/people/{cast.ben.public_id}/").words


def test_a_role_that_follows_a_group_is_not_ended_here(cast: Cast) -> None:
    held = cast.ben.role_assignments.get()
    RoleAssignment.objects.filter(pk=held.pk).update(source=RoleSource.DIRECTORY)

    page = Visitor(cast.ann).get(f"/people/{cast.ben.public_id}/")

    assert f"/people/roles/{held.public_id}/end/" not in page.links
    assert "From the directory" in page.words


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "fay", "audrey"])
def test_only_an_administrator_changes_people(cast: Cast, who: str) -> None:
    actor = getattr(cast, who)
    for act in (
        lambda: services.create_person(actor=actor, email="x@example.com", name="X"),
        lambda: services.rename_person(actor=actor, user=cast.dan, name="X", reason=WHY),
        lambda: services.change_address(actor=actor, user=cast.dan, email="x@example.com", reason=WHY),
        lambda: services.reactivate_person(actor=actor, user=cast.dan, reason=WHY),
    ):
        with pytest.raises(RoleNeededError):
            act()
    assert "Give a role" not in Visitor(actor).get(f"/people/{actor.public_id}/").words


def test_an_address_belongs_to_one_person(cast: Cast) -> None:
    with pytest.raises(AddressTakenError):
        services.change_address(actor=cast.ann, user=cast.dan, email="ADA@example.com", reason=WHY)
    with pytest.raises(InvalidInputError):
        services.change_address(actor=cast.ann, user=cast.dan, email="nowhere", reason=WHY)


def test_a_person_whom_the_directory_dropped_is_not_active(cast: Cast) -> None:
    with pytest.raises(IntegrityError, match="user_removed_is_not_active"), transaction.atomic():
        User.objects.filter(pk=cast.ada.pk).update(removed_at=datetime.now(UTC))


def test_former_names_of_people_are_kept(cast: Cast) -> None:
    services.rename_person(actor=cast.ann, user=cast.ada, name="Ada May", reason=WHY)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        FormerName.objects.filter(kind="person").update(name="Cover-up")


def test_past_and_present_teams_are_on_the_page(cast: Cast) -> None:
    Membership.objects.filter(user=cast.ada).update(valid_until=datetime(2026, 1, 2, tzinfo=UTC))
    factories.MembershipFactory.create(user=cast.ada, team=cast.cards)

    rows = Visitor(cast.ann).get(f"/people/{cast.ada.public_id}/").rows("Teams table")

    assert sorted((row[0], "no end" in row[2]) for row in rows) == [("Cards", True), ("Search", False)]
