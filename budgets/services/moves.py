"""Lets a project move to another team, as far as the budgets there have room for its own."""

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
from core.money import ZERO
from teams.models import Project, Team, User

Neighbourhoods = Mapping[Window, Sequence[Node]]


@transaction.atomic
def move_project(*, actor: User | None, project: Project, team: Team, reason: str) -> Project:
    """Let a project with its keys and their budgets belong to another team from now on.

    The budgets of the new team and its department bind the next call; leases opened before are recalled.
    What was used before stays with the team of then. Raises HeadroomError with the numbers when the
    project's limits, now or as planned, do not fit those above it there, and what `teams.move_project`
    raises.
    """
    now = max(lock_limits(window) for window in Window)
    before = _neighbourhoods(project)
    moved = teams.services.move_project(actor=actor, project=project, team=team, reason=reason)
    after = _neighbourhoods(project)
    for at in _moments(now, (*before.values(), *after.values())):
        was = {each.of: each.excess_usd for each in _pressures(project, before, at)}
        for each in _pressures(project, after, at):
            if each.excess_usd > max(was.get(each.of, ZERO), ZERO):
                raise _no_room(each, at, now)
    return moved


def _neighbourhoods(project: Project) -> Neighbourhoods:
    """Return what the project's own limits are checked against where it stands, by window."""
    place = selectors.scope_place(ScopeKind.PROJECT, project.pk)
    own = Q(scope_kind=ScopeKind.PROJECT, scope_id=project.pk)
    here = selectors.open_budgets_above(place).filter(own)
    kinds = {*here.values_list("window"), *selectors.open_budgets_below(place).values_list("window")}
    return {Window(kind): selectors.neighbourhood(place, Window(kind)) for (kind,) in sorted(kinds)}


def _pressures(project: Project, around: Neighbourhoods, at: datetime) -> Iterable[Pressure]:
    return (each for nodes in around.values() for each in pressures(project.pk, nodes, at))


def _moments(now: datetime, around: Iterable[Sequence[Node]]) -> list[datetime]:
    """Return now and every later moment at which one of the limits may change."""
    return sorted({now}.union(*(node.schedule.changes_after(now) for nodes in around for node in nodes)))


def _no_room(pressure: Pressure, at: datetime, now: datetime) -> HeadroomError:
    when = "" if at == now else f"from {at:%-d %B %Y, %H:%M} UTC on, "
    return HeadroomError(
        f"The project's budgets do not fit there: {when}{pressure.why}. Lower them first, or have more given"
        " to the team.",
        field="team",
        excess_usd=f"{pressure.excess_usd:f}",
    )
