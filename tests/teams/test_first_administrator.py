"""An installation in which there is nobody gets its first administrator, who can then let others in."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client

from core.models import AuditEvent
from teams import services
from teams.models import Role, RoleAssignment, User
from teams.selectors import has_role
from tests.cast import Cast
from tests.racing import at_once, losers, winners

PASSWORD = "a password of the tests, 2026"
NIA = "nia@example.com"


def add(*more: str, email: str = NIA, name: str = "Nia Obi") -> str:
    """Run the command and return what it prints."""
    printed = StringIO()
    call_command("add_administrator", email, "--name", name, *more, stdout=printed)
    return printed.getvalue()


def link_in(printed: str) -> str:
    """Return the path of the one link that was printed."""
    (link,) = re.findall(r"https?://\S+", printed)
    root, _, path = str(link).partition("/accounts/")
    assert root == settings.BASE_URL
    return f"/accounts/{path}"


def set_password(path: str, password: str) -> bool:
    """Follow the link as a browser does; return whether it let a password be set."""
    client = Client()
    form = client.get(path)
    if form.status_code != 302:
        return False
    answer = client.post(form["Location"], {"password1": password, "password2": password})
    assert answer.status_code == 302, answer.content.decode()
    return True


def signs_in(password: str) -> bool:
    client = Client()
    client.post("/accounts/login/", {"login": NIA, "password": password})
    return client.get("/").status_code == 200


@pytest.mark.django_db
def test_first_administrator_sets_a_password_by_the_link_once_and_signs_in() -> None:
    path = link_in(add(email=" Nia@Example.com"))

    nia = User.objects.get()
    assert (nia.email, nia.name, nia.has_usable_password(), nia.is_superuser) == (
        NIA,
        "Nia Obi",
        False,
        False,
    )
    assert has_role(nia, Role.ADMIN)
    assert not signs_in(PASSWORD)
    assert set_password(path, PASSWORD)
    assert signs_in(PASSWORD)
    assert not set_password(path, "another password, 2026")
    assert signs_in(PASSWORD)


@pytest.mark.django_db
def test_first_administrator_is_in_the_audit() -> None:
    add()
    events = AuditEvent.objects.filter(action__in=("person.created", "role.assigned")).order_by("pk")
    assert [(event.action, event.actor_label) for event in events] == [
        ("person.created", "purser"),
        ("role.assigned", "purser"),
    ]
    assert events[1].after["holder"] == User.objects.get().public_id


@pytest.mark.django_db
def test_an_empty_installation_grows_from_its_first_administrator() -> None:
    add()
    nia = User.objects.get()
    lead = services.create_person(actor=nia, email="lea@example.com", name="Lea Roth")
    home = services.create_department(actor=nia, code="product", name="Product")
    team = services.create_team(actor=nia, department=home, code="search", name="Search")
    services.assign_role(actor=nia, user=lead, role=Role.LEAD, team=team)
    project = services.create_project(
        actor=lead, team=team, code="ranking", name="Ranking", owner=lead, cost_centre="CC-1"
    )
    assert project.owner == lead


def test_where_somebody_administers_it_is_refused_unless_that_is_no_matter(cast: Cast) -> None:
    with pytest.raises(CommandError, match="Somebody administers the organisation already"):
        add()
    assert not User.objects.filter(email=NIA).exists()

    add("--even-if-there-are-some")

    assert has_role(User.objects.get(email=NIA), Role.ADMIN)


def test_an_administrator_who_has_left_does_not_count(cast: Cast) -> None:
    User.objects.filter(pk=cast.ann.pk).update(is_active=False)
    add()
    assert has_role(User.objects.get(email=NIA), Role.ADMIN)


def test_a_person_who_is_known_gets_the_role_and_keeps_the_name(cast: Cast) -> None:
    RoleAssignment.objects.filter(user=cast.ann).delete()
    printed = add(email="ADA@example.com", name="Somebody else")
    assert "Ada Moreno <ada@example.com> administers" in printed
    assert has_role(cast.ada, Role.ADMIN)


@pytest.mark.parametrize(
    ("email", "name", "told"),
    [("nobody", "Nia", "Enter an e-mail address"), (NIA, " ", "Enter a name"), ("dan@", "Dan", "e-mail")],
)
@pytest.mark.django_db
def test_who_cannot_be_is_refused_in_words(email: str, name: str, told: str) -> None:
    with pytest.raises(CommandError, match=told):
        add(email=email, name=name)
    assert not User.objects.exists()


def test_who_has_left_is_not_let_in_by_it(cast: Cast) -> None:
    User.objects.filter(pk__in=(cast.ann.pk, cast.ada.pk)).update(is_active=False)
    with pytest.raises(CommandError, match="Ada Moreno has left"):
        add(email=cast.ada.email)
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.race
def test_of_two_who_begin_at_once_one_finds_the_other() -> None:
    outcomes = at_once(
        lambda: add(email="one@example.com"),
        lambda: add(email="two@example.com"),
        lambda: add(email="three@example.com"),
    )
    assert len(winners(outcomes)) == 1
    assert [type(error) for error in losers(outcomes)] == [CommandError] * 2
    assert RoleAssignment.objects.filter(role=Role.ADMIN).count() == 1
