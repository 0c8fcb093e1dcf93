"""Who works here, and what one person is: the pages that read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from allauth.mfa.models import Authenticator
from django.db.models.functions import Lower
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from core import addresses, clock
from core.errors import NotFoundError
from core.shapes import Tab, Tone
from core.sorting import Head, SqlColumn, Table
from core.spreadsheets import Cell, csv_stream, in_batches, iso
from teams import selectors
from teams.models import FormerName, NamedKind, Role, RoleAssignment, User
from teams.sign_in import FACTORS
from teams.types import PersonRequest
from teams.views.shapes import PersonRow, RoleRow, TeamRow, person_row, role_row, state_of

PAGE_ROWS = 50
HERE, LEFT = "here", "left"
KEPT = ("tab", "q", "sort")
TABLE = Table(
    usual="name",
    heads=(
        Head(label="Name", sort="name"),
        Head(label="State"),
        Head(label="Since", sort="since", falls=True),
        Head(label="Teams"),
        Head(label="Roles"),
    ),
)
COLUMNS: Mapping[str, SqlColumn] = {"name": Lower("name"), "since": "date_joined"}
CSV_HEAD = ("name", "email", "person_id", "state", "since", "teams", "roles")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFacts:
    """One person on his page; addresses are empty where who looks may not do it."""

    name: str
    email: str
    state: Tone
    since: datetime
    formerly: tuple[str, ...]
    teams: tuple[TeamRow, ...]
    roles: tuple[RoleRow, ...]
    past_roles: tuple[RoleRow, ...]
    factor: Tone | None
    rename_url: str
    give_role_url: str
    leave_url: str
    return_url: str
    reset_url: str


@require_safe
def list_people(request: PersonRequest) -> HttpResponseBase:
    """List whom the person may know of; `?q=` looks for a name or address, `?tab=left` for who has left.

    By `?sort=`; all pages as CSV with `?format=csv`.
    """
    request.roles_held = selectors.roles_of(request.user)
    tab = LEFT if request.GET.get("tab") == LEFT and request.roles_held.sees_everything else HERE
    query = request.GET.get("q", "").replace("\0", "").strip()[:100]
    page = addresses.page_number(request)
    people = selectors.people_listed(request.user, active=tab == HERE, query=query)
    people = people.order_by(*TABLE.order(request).sql(COLUMNS, "pk"))
    if request.GET.get("format") == "csv":
        every = in_batches(people, lambda found: map(person_row, found))
        return csv_stream(request, f"people-{clock.now():%Y-%m-%d}", CSV_HEAD, map(_cells, every))
    found = list(people[PAGE_ROWS * page : PAGE_ROWS * (page + 1) + 1])
    previous_url, next_url = addresses.pages(request, KEPT, has_more=len(found) > PAGE_ROWS)
    context = {
        "rows": [person_row(person) for person in found[:PAGE_ROWS]],
        "columns": TABLE.columns(request, KEPT),
        "csv_url": addresses.link(request, KEPT, format="csv"),
        "query": query,
        "tab": tab,
        "tabs": _tabs(request, tab),
        "previous_url": previous_url,
        "next_url": next_url,
        "add_url": reverse("people:add") if Role.ADMIN in request.roles_held.organisation_wide else "",
    }
    return render(request, "teams/people.html", {"people": context})


@require_safe
def show_person(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show one person: teams, roles with their times, and to an administrator what he may change."""
    request.roles_held = selectors.roles_of(request.user)
    person = find_person(request.user, public_id)
    is_admin = Role.ADMIN in request.roles_held.organisation_wide
    return render(request, "teams/person.html", {"person": _facts(person, request.user, is_admin=is_admin)})


def find_person(user: User, public_id: str) -> User:
    """Return somebody whom the user may know of. Raises NotFoundError, the same for everybody else."""
    person = selectors.people_visible_to(user).filter(public_id=public_id).first()
    if person is None:
        raise NotFoundError("There is no such person, or it is not one whom you may know of.")
    return person


def _cells(row: PersonRow) -> tuple[Cell, ...]:
    return row.name, row.email, row.public_id, row.state.text, iso(row.since), row.teams, row.roles


def _facts(person: User, viewer: User, *, is_admin: bool) -> PersonFacts:
    now = clock.now()
    roles = RoleAssignment.objects.filter(user=person).select_related("team", "department", "granted_by")
    ordered = list(roles.order_by("-valid_from", "-pk"))
    live = [held for held in ordered if held.valid_until is None or held.valid_until > now]
    names = FormerName.objects.filter(kind=NamedKind.PERSON, object_id=person.pk)
    factor = _factor(person) if is_admin or person.pk == viewer.pk else None
    may_act = is_admin and person.pk != viewer.pk
    return PersonFacts(
        name=person.name,
        email=person.email,
        state=state_of(person),
        since=person.date_joined,
        formerly=tuple(names.values_list("name", flat=True)),
        teams=tuple(_teams(person)),
        roles=tuple(role_row(held, may_end=is_admin) for held in live),
        past_roles=tuple(role_row(held, may_end=False) for held in ordered if held not in live),
        factor=factor,
        reset_url=_address("reset_factors", person) if may_act and factor and factor.tone == "ok" else "",
        rename_url=_address("rename", person) if is_admin else "",
        give_role_url=_address("give_role", person) if may_act and person.is_active else "",
        leave_url=_address("leave", person) if may_act and person.is_active else "",
        return_url=_address("return", person) if may_act and not person.is_active else "",
    )


def _teams(person: User) -> list[TeamRow]:
    rows = person.memberships.select_related("team").order_by("-valid_from", "-pk")
    return [TeamRow(name=row.team.name, since=row.valid_from, until=row.valid_until) for row in rows]


def _factor(person: User) -> Tone:
    if Authenticator.objects.filter(user=person, type__in=FACTORS).exists():
        return Tone(tone="ok", text="Second factor set up")
    return Tone(tone="warn", text="No second factor")


def _address(act: str, person: User) -> str:
    return reverse(f"people:{act}", args=[person.public_id])


def _tabs(request: PersonRequest, tab: str) -> tuple[Tab, ...]:
    if not request.roles_held.sees_everything:
        return ()
    return tuple(
        Tab(label=label, url=addresses.link(request, ("q", "sort"), tab=name), current=tab == name)
        for name, label in ((HERE, "Here"), (LEFT, "Left"))
    )
