"""Whose usage a page is about."""

from collections.abc import Iterable

from budgets.models import ScopeKind
from teams.models import Department, Project, Team, User
from teams.selectors import RolesHeld, roles_of
from usage.types import Scope


def organisation_scope() -> Scope:
    """Return everything."""
    return Scope(label="Organisation", everything=True, budget=(ScopeKind.ORGANISATION, 0))


def department_scope(department: Department) -> Scope:
    """Return what was attributed to a department."""
    return Scope(
        label=f"{department.name} department",
        department_ids=(department.pk,),
        budget=(ScopeKind.DEPARTMENT, department.pk),
    )


def team_scope(team: Team) -> Scope:
    """Return what was attributed to a team."""
    return Scope(label=f"{team.name} team", team_ids=(team.pk,), budget=(ScopeKind.TEAM, team.pk))


def project_scope(project: Project) -> Scope:
    """Return what was attributed to a project."""
    return Scope(label=project.name, project_ids=(project.pk,), budget=(ScopeKind.PROJECT, project.pk))


def scope_for(user: User) -> Scope:
    """Return what the Overview is about for this person, as `home_scope` says. Three queries."""
    roles = roles_of(user)
    return home_scope(
        roles, Department.objects.filter(pk__in=roles.directs), Team.objects.filter(pk__in=roles.works_in)
    )


def home_scope(roles: RolesHeld, departments: Iterable[Department], teams: Iterable[Team]) -> Scope:
    """Return a person's own scope: the widest that one budget covers, else all his teams together.

    `departments` and `teams` contain those that he directs or works in, and maybe others.
    """
    if roles.sees_everything:
        return organisation_scope()
    directed = [department for department in departments if department.pk in roles.directs]
    own = [team for team in teams if team.pk in roles.works_in]
    if len(directed) == 1:
        return department_scope(directed[0])
    if not directed and len(own) == 1:
        return team_scope(own[0])
    return Scope(
        label="Your teams",
        department_ids=tuple(sorted(department.pk for department in directed)),
        team_ids=tuple(sorted(team.pk for team in own)),
    )
