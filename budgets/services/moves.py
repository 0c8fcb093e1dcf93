"""Lets projects and teams move, as far as the budgets where they go have room for their own."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Q

import teams.services
from budgets import selectors
from budgets.allocation import Node, Pressure, pressures
from budgets.errors import HeadroomError
from budgets.models import ScopeKind, Window
from budgets.services.common import lock_limits
from budgets.types import ScopePlace
from core.money import ZERO, wire_usd
from teams.models import Department, Project, Team, User

Neighbourhoods = Mapping[Window, Sequence[Node]]


@transaction.atomic
def move_project(*, actor: User | None, project: Project, team: Team, reason: str) -> Project:
    """Let a project with its keys and their budgets belong to another team from now on.

    The budgets of the new team and its department bind the next call; leases opened before are recalled.
    What was used before stays with the team of then. Raises HeadroomError with the numbers when the
    project's limits, now or as planned, do not fit those above it there, and what `teams.move_project`
    raises.
    """
    now = _lock_every_window()
    before = _neighbourhoods(ScopeKind.PROJECT, project.pk)
    moved = teams.services.move_project(actor=actor, project=project, team=team, reason=reason)
    _require_room(ScopeKind.PROJECT, project.pk, before, now, field="team")
    return moved


@transaction.atomic
def move_team(*, actor: User | None, team: Team, department: Department, reason: str) -> Team:
    """Let a team with its projects, keys and all their budgets belong to another department from now on.

    The budgets of the new department bind the next call; leases opened before are recalled. What was used
    before stays with the department of then. Raises HeadroomError with the numbers when the limits of the
    team, its projects and keys, now or as planned, do not fit those above it there, and what
    `teams.move_team` raises.
    """
    now = _lock_every_window()
    before = _neighbourhoods(ScopeKind.TEAM, team.pk)
    moved = teams.services.move_team(actor=actor, team=team, department=department, reason=reason)
    _require_room(ScopeKind.TEAM, team.pk, before, now, field="department")
    return moved


def _lock_every_window() -> datetime:
    return max(lock_limits(window) for window in Window)


def _neighbourhoods(kind: ScopeKind, scope_id: int) -> Neighbourhoods:
    """Return what a scope's limits and those inside it are checked against where it stands, by window."""
    place = selectors.scope_place(kind, scope_id)
    own = Q(scope_kind=kind, scope_id=scope_id)
    here = selectors.open_budgets_above(place).filter(own)
    kinds = {*here.values_list("window"), *selectors.open_budgets_below(place).values_list("window")}
    return {Window(window): selectors.neighbourhood(place, Window(window)) for (window,) in sorted(kinds)}


def _require_room(
    kind: ScopeKind, scope_id: int, before: Neighbourhoods, now: datetime, *, field: str
) -> None:
    """Raise HeadroomError where a scope that moved presses more on a limit than it did `before`."""
    place = selectors.scope_place(kind, scope_id)
    after = _neighbourhoods(kind, scope_id)
    for at in _moments(now, (*before.values(), *after.values())):
        was = {each.of: each.excess_usd for each in _pressures(place, before, at)}
        for each in _pressures(place, after, at):
            if each.excess_usd > max(was.get(each.of, ZERO), ZERO):
                raise _no_room(place, each, at, now, field=field)


def _pressures(place: ScopePlace, around: Neighbourhoods, at: datetime) -> Iterable[Pressure]:
    return (each for nodes in around.values() for each in pressures(place.scope, nodes, at))


def _moments(now: datetime, around: Iterable[Sequence[Node]]) -> list[datetime]:
    """Return now and every later moment at which one of the limits may change."""
    return sorted({now}.union(*(node.schedule.changes_after(now) for nodes in around for node in nodes)))


def _no_room(
    place: ScopePlace, pressure: Pressure, at: datetime, now: datetime, *, field: str
) -> HeadroomError:
    when = "" if at == now else f"from {at:%-d %B %Y, %H:%M} UTC on, "
    return HeadroomError(
        f"The {place.kind.value}'s budgets do not fit there: {when}{pressure.why}. Lower them first, or have"
        f" more given to the {field}.",
        field=field,
        excess_usd=wire_usd(pressure.excess_usd),
    )
