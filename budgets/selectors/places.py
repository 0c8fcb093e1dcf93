"""Reads where budgets stand: scopes, what is above and below them, what a person may see."""

from collections.abc import Iterable
from typing import Any

from django.db import connection
from django.db.models import Case, CharField, OuterRef, Q, QuerySet, Subquery, Value, When

from budgets.expressions import ScopePart
from budgets.models import Budget, ScopeKind
from budgets.types import ScopePlace
from teams.models import Department, Project, Team, User
from teams.selectors import RolesHeld, roles_of

WIDEST_FIRST = tuple(ScopeKind)
PARTS = ("project_id", "team_id", "department_id")


def seen_by(user: User, *, key_ids: Iterable[int] = (), roles: RolesHeld | None = None) -> Q:
    """Return the condition that the user may see a budget's scope; of keys those that the caller says he may.

    Whose role shows him the whole organisation sees every one. `key_ids` may be a queryset, which is not read
    by itself. `roles`, when they are known, save a query.
    """
    if (roles or roles_of(user)).sees_everything:
        return Q(pk__isnull=False)
    return (
        of_scopes(ScopeKind.TEAM, Team.objects.visible_to(user).values("pk"))
        | of_scopes(ScopeKind.PROJECT, Project.objects.visible_to(user).values("pk"))
        | of_scopes(ScopeKind.DEPARTMENT, Department.objects.visible_to(user).values("pk"))
        | of_scopes(ScopeKind.KEY, key_ids)
    )


def open_budgets_above(place: ScopePlace) -> QuerySet[Budget]:
    """Return the open budgets of a scope and of every scope it is part of."""
    return Budget.objects.filter(above(place), closed_at__isnull=True)


def open_budgets_below(place: ScopePlace) -> QuerySet[Budget]:
    """Return the open budgets of the narrower scopes inside a scope."""
    narrower = WIDEST_FIRST[WIDEST_FIRST.index(place.kind) + 1 :]
    found = Budget.objects.filter(scope_kind__in=narrower, closed_at__isnull=True)
    if place.kind is ScopeKind.ORGANISATION:
        return found
    return found.annotate(home=ScopePart(f"{place.kind.value}_id")).filter(home=place.id)


def scope_place(kind: ScopeKind, scope_id: int) -> ScopePlace:
    """Return where a scope stands; all parts are None when it does not exist. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT project_id, team_id, department_id FROM budgets_scope_of(%s, %s)", [kind.value, scope_id]
        )
        project_id, team_id, department_id = cursor.fetchone()
    return ScopePlace(
        kind=kind, id=scope_id, project_id=project_id, team_id=team_id, department_id=department_id
    )


def with_places(budgets: QuerySet[Budget]) -> QuerySet[Any]:
    """Return budgets with the name of their scope and what it is part of, for `place_of`."""
    parts: dict[str, Any] = {f"home_{part}": ScopePart(part) for part in PARTS}
    return budgets.annotate(scope_name=scope_name(), **parts)


def place_of(budget: Any) -> ScopePlace:
    """Return where a budget of `with_places` stands."""
    return ScopePlace(
        kind=ScopeKind(budget.scope_kind),
        id=budget.scope_id,
        project_id=budget.home_project_id,
        team_id=budget.home_team_id,
        department_id=budget.home_department_id,
    )


def of_scopes(kind: ScopeKind, ids: object) -> Q:
    """Match the budgets of these scopes of one kind."""
    return Q(scope_kind=kind, scope_id__in=ids)


def above(place: ScopePlace) -> Q:
    """Match the budgets of a scope and of all scopes it is part of."""
    wanted = Q(pk__in=[])
    for kind, scope_id in place.chain:
        wanted |= Q(scope_kind=kind, scope_id=scope_id)
    return wanted


def scope_name() -> Case:
    """Give the name of a budget's scope in SQL; empty for the organisation and for a key."""
    by_kind: dict[ScopeKind, QuerySet[Any]] = {
        ScopeKind.DEPARTMENT: Department.objects.all(),
        ScopeKind.TEAM: Team.objects.all(),
        ScopeKind.PROJECT: Project.objects.all(),
    }
    names = [
        When(scope_kind=kind, then=Subquery(named.filter(pk=OuterRef("scope_id")).values("name")))
        for kind, named in by_kind.items()
    ]
    return Case(*names, default=Value(""), output_field=CharField())
