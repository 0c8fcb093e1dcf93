"""Whose figures the Overview shows: `?scope=` names a department, a team or a project of the person's."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import BooleanField, CharField, ExpressionWrapper, Q, Value
from django.urls import reverse

from budgets.models import ScopeKind
from core.errors import NotFoundError
from teams.models import Department, Project, Team, User
from teams.selectors import RolesHeld
from usage.selectors import department_scope, home_scope, organisation_scope, project_scope, team_scope
from usage.types import Scope

ORGANISATION = "organisation"
DEPARTMENT, TEAM, PROJECT = "department", "team", "project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One scope that the person may look at; `value` is what the address says."""

    value: str
    scope: Scope
    current: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The page of one team or project."""

    text: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The scope of the page, all that the person may switch to, and the scope's own page if it has one."""

    scope: Scope
    choices: tuple[Choice, ...]
    place: Place | None


def choose(user: User, roles: RolesHeld, wanted: str) -> Chosen:
    """Return the scope that the address asks for, or the person's own, and all that he may switch to.

    What is closed is offered no more, and keeps its address: its past does not change. One query. Raises
    NotFoundError for a scope that does not exist or that he may not see.
    """
    rows = _rows(user, wanted)
    departments = [Department(pk=pk, name=name) for kind, pk, _, name, _ in rows if kind == DEPARTMENT]
    teams = [Team(pk=pk, name=name) for kind, pk, _, name, _ in rows if kind == TEAM]
    home = home_scope(roles, departments, teams)
    known = [(ORGANISATION, organisation_scope())] if roles.sees_everything else []
    known += [
        (public_id, _scope(kind, pk, name))
        for kind, pk, public_id, name, is_open in rows
        if is_open or public_id == wanted
    ]
    scope = home if not wanted else dict(known).get(wanted)
    if scope is None:
        raise NotFoundError("There is no such team or project, or it is not one of yours.")
    return Chosen(scope=scope, choices=tuple(_choices(known, scope, home)), place=_place(known, scope))


def _rows(user: User, wanted: str) -> list[tuple[str, int, str, str, bool]]:
    """Read what the person may see: all departments and teams, and the wanted project; and what is open."""
    is_open = ExpressionWrapper(Q(archived_at__isnull=True), output_field=BooleanField())
    querysets = (
        (DEPARTMENT, Department.objects.visible_to(user)),
        (TEAM, Team.objects.visible_to(user)),
        (PROJECT, Project.objects.visible_to(user).filter(public_id=wanted if wanted.isidentifier() else "")),
    )
    columns = [
        found.order_by().values_list(
            Value(kind, output_field=CharField()), "pk", "public_id", "name", is_open
        )
        for kind, found in querysets
    ]
    order = {DEPARTMENT: 0, TEAM: 1, PROJECT: 2}
    return sorted(columns[0].union(*columns[1:]), key=lambda row: (order[row[0]], row[3], row[1]))


def _scope(kind: str, pk: int, name: str) -> Scope:
    match kind:
        case "department":
            return department_scope(Department(pk=pk, name=name))
        case "team":
            return team_scope(Team(pk=pk, name=name))
        case _:
            return project_scope(Project(pk=pk, name=name))


def _place(known: Sequence[tuple[str, Scope]], scope: Scope) -> Place | None:
    kind = scope.budget[0] if scope.budget else None
    public_id = next((value for value, other in known if other == scope), "")
    if not public_id:  # archived: it has figures, and no page
        return None
    match kind:
        case ScopeKind.TEAM:
            return Place(text="People and budget of the team", url=reverse("team", args=[public_id]))
        case ScopeKind.PROJECT:
            return Place(text="The project", url=reverse("project", args=[public_id]))
        case _:
            return None


def _choices(known: Sequence[tuple[str, Scope]], scope: Scope, home: Scope) -> list[Choice]:
    """List the scopes, the person's own first; a single one is no choice."""
    own = [] if any(home == other for _, other in known) else [("", home)]
    choices = [Choice(value=value, scope=other, current=other == scope) for value, other in [*own, *known]]
    return choices if len(choices) > 1 else []
