"""Renames, moves and ends. They bear on what comes: usage keeps the place and the name of its time."""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from django.db import transaction

from core import audit, clock
from core.errors import AlreadyDoneError, InvalidInputError
from core.locks import lock_first
from core.reasons import LONGEST, checked_reason
from teams.errors import RoleNeededError
from teams.models import (
    Department,
    FormerName,
    NamedKind,
    Project,
    Role,
    Team,
    User,
)
from teams.selectors import names_of, open_in, require_admin, role_holders, roles_of
from teams.services.naming import checked_name

_Named = TypeVar("_Named", Department, Team, Project)


@transaction.atomic
def rename_department(*, actor: User | None, department: Department, name: str, reason: str) -> Department:
    """Give a department another name; administrators may. Its code stays."""
    if actor is not None:
        require_admin(actor, "rename departments")
    mine = Department.objects.select_for_update(no_key=True).order_by("pk").get(pk=department.pk)
    return _rename(actor, mine, NamedKind.DEPARTMENT, name, reason, department_id=mine.pk)


@transaction.atomic
def rename_team(*, actor: User | None, team: Team, name: str, reason: str) -> Team:
    """Give a team another name; its director and administrators may. Its code stays."""
    mine = locked_team(team)
    require_director(actor, mine.department_id)
    return _rename(
        actor, mine, NamedKind.TEAM, name, reason, team_id=mine.pk, department_id=mine.department_id
    )


@transaction.atomic
def rename_project(*, actor: User | None, project: Project, name: str, reason: str) -> Project:
    """Give a project another name; its director and administrators may. Its code stays."""
    mine = locked_project(project)
    home = mine.team.department_id
    require_director(actor, home)
    return _rename(actor, mine, NamedKind.PROJECT, name, reason, team_id=mine.team_id, department_id=home)


@transaction.atomic
def move_project(*, actor: User | None, project: Project, team: Team, reason: str) -> Project:
    """Let a project belong to another team from now on; who directs both and administrators may.

    What it used before stays with the team of then. Its keys and budgets go with it, and nothing here asks
    whether there is room for them: `budgets.services.moves` does. Raises InvalidInputError for a team that
    has it already, and AlreadyDoneError for one that is archived.
    """
    require_reason(reason)
    mine = locked_project(project)
    target = locked_team(team)
    before = mine.team
    for home in (before.department_id, target.department_id):
        require_director(actor, home)
    require_open(mine, f"Project {mine}")
    require_open(target, f"Team {target}")
    if before.pk == target.pk:
        raise InvalidInputError(f"{mine} belongs to team {target} already.", field="team")
    mine.team = target
    mine.save(update_fields=["team"])
    _record(
        actor,
        "project.moved",
        mine,
        before={"team": before.code},
        after={"team": target.code},
        reason=reason,
        team_id=target.pk,
        department_id=target.department_id,
    )
    return mine


@transaction.atomic
def move_team(*, actor: User | None, team: Team, department: Department, reason: str) -> Team:
    """Let a team belong to another department from now on; who directs both and administrators may.

    What it used before stays with the department of then. Its projects, keys and budgets go with it. Raises
    InvalidInputError for a department that is archived or has it already.
    """
    require_reason(reason)
    mine = locked_team(team)
    target = Department.objects.select_for_update(no_key=True).order_by("pk").get(pk=department.pk)
    before = mine.department
    for home in (before.pk, target.pk):
        require_director(actor, home)
    require_open(mine, f"Team {mine}")
    require_open(target, f"Department {target}")
    if before.pk == target.pk:
        raise InvalidInputError(f"{mine} belongs to department {target} already.", field="department")
    mine.department = target
    mine.save(update_fields=["department"])
    _record(
        actor,
        "team.moved",
        mine,
        before={"department": before.code},
        after={"department": target.code},
        reason=reason,
        team_id=mine.pk,
        department_id=target.pk,
    )
    return mine


@transaction.atomic
def archive_project(*, actor: User | None, project: Project, reason: str) -> Project:
    """Close a project: its keys are refused from now on; its director and administrators may.

    Raises AlreadyDoneError when it is closed.
    """
    require_reason(reason)
    mine = locked_project(project)
    require_director(actor, mine.team.department_id)
    require_open(mine, f"Project {mine}")
    return _archive_project(actor, mine, clock.now(), reason)


@transaction.atomic
def archive_team(*, actor: User | None, team: Team, reason: str) -> Team:
    """Close a team with all its projects; its director and administrators may.

    Raises AlreadyDoneError when it is closed.
    """
    require_reason(reason)
    mine = locked_team(team)
    require_director(actor, mine.department_id)
    require_open(mine, f"Team {mine}")
    at = clock.now()
    open_projects = Project.objects.filter(team=mine, archived_at__isnull=True)
    for project in open_projects.select_for_update(no_key=True).order_by("pk"):
        project.team = mine
        _archive_project(actor, project, at, reason)
    mine.archived_at = at
    mine.save(update_fields=["archived_at"])
    _record(
        actor,
        "team.archived",
        mine,
        after={"archived_at": at},
        reason=reason,
        team_id=mine.pk,
        department_id=mine.department_id,
    )
    return mine


@transaction.atomic
def archive_department(*, actor: User | None, department: Department, reason: str) -> Department:
    """Close a department in which nothing is open any more; administrators may.

    Budgets, roles and records stay as they are. Raises AlreadyDoneError when it is closed, and
    InvalidInputError naming the teams and projects of it that are open.
    """
    if actor is not None:
        require_admin(actor, "archive departments")
    require_reason(reason)
    # The lock keeps teams from being opened in it or moved to it until this is over.
    mine = Department.objects.select_for_update(no_key=True).order_by("pk").get(pk=department.pk)
    require_open(mine, f"Department {mine}")
    if found := open_in(mine):
        raise InvalidInputError(
            f"{mine} still has {', '.join(found)}. Archive that, or move it to another department, first."
        )
    mine.archived_at = clock.now()
    mine.save(update_fields=["archived_at"])
    _record(
        actor,
        "department.archived",
        mine,
        after={"archived_at": mine.archived_at},
        reason=reason,
        department_id=mine.pk,
    )
    return mine


def locked_project(project: Project) -> Project:
    """Return a project as it is now, with its team and department, locked to the end of the transaction."""
    return lock_first(Project.objects.select_related("team__department"), project.pk)


def locked_team(team: Team) -> Team:
    """Return a team as it is now, with its department, locked to the end of the transaction."""
    return lock_first(Team.objects.select_related("department"), team.pk)


def require_director(actor: User | None, department_id: int) -> None:
    """Raise RoleNeededError, naming whom to ask, for who neither directs a department nor administers."""
    if actor is None:
        return
    roles = roles_of(actor)
    if department_id in roles.directs or Role.ADMIN in roles.organisation_wide:
        return
    holders = role_holders()
    who = holders.directors.get(department_id, frozenset()) | holders.organisation_wide.get(
        Role.ADMIN, frozenset()
    )
    name = Department.objects.values_list("name", flat=True).get(pk=department_id)
    raise RoleNeededError(
        f"Only the director of {name} or an administrator may do this."
        f" Ask {names_of(sorted(holders.names[person] for person in who))}."
    )


def require_reason(reason: str) -> None:
    checked_reason(reason, most=LONGEST)


def require_open(row: Department | Team | Project, what: str, *, field: str | None = None) -> None:
    """Raise AlreadyDoneError, about a field where one names it, for what is archived."""
    if row.archived_at is not None:
        raise AlreadyDoneError(f"{what} was closed on {row.archived_at:%d %B %Y}.", field=field)


def _rename(actor: User | None, row: _Named, kind: NamedKind, name: str, reason: str, **home: int) -> _Named:
    require_reason(reason)
    wanted, before = checked_name(name), row.name
    if wanted == before:
        return row
    FormerName.objects.create(kind=kind, object_id=row.pk, name=before, used_until=clock.now())
    row.name = wanted
    row.save(update_fields=["name"])
    action = f"{kind.value}.renamed"
    _record(actor, action, row, before={"name": before}, after={"name": wanted}, reason=reason, **home)
    return row


def _archive_project(actor: User | None, project: Project, at: datetime, reason: str) -> Project:
    project.archived_at = at
    project.save(update_fields=["archived_at"])
    _record(
        actor,
        "project.archived",
        project,
        after={"archived_at": at},
        reason=reason,
        team_id=project.team_id,
        department_id=project.team.department_id,
    )
    return project


def _record(
    actor: User | None,
    action: str,
    subject: Department | Team | Project,
    *,
    after: Mapping[str, object],
    reason: str,
    department_id: int,
    before: Mapping[str, object] | None = None,
    team_id: int | None = None,
) -> None:
    audit.record(
        actor=actor,
        action=action,
        subject=subject,
        before=before,
        after=after,
        reason=reason.strip(),
        department_id=department_id,
        team_id=team_id,
    )
