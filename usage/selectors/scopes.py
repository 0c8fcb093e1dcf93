"""Whose usage a page is about."""

from budgets.models import ScopeKind
from teams.models import Department, Project, Team, User
from teams.selectors import roles_of
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
    """Return what the Overview is about for this person: the widest that one budget covers, else all his teams.

    Three queries.
    """
    roles = roles_of(user)
    if roles.sees_everything:
        return organisation_scope()
    if len(roles.directs) == 1:
        return department_scope(Department.objects.get(pk=next(iter(roles.directs))))
    if not roles.directs and len(roles.works_in) == 1:
        return team_scope(Team.objects.get(pk=next(iter(roles.works_in))))
    return Scope(
        label="Your teams",
        department_ids=tuple(sorted(roles.directs)),
        team_ids=tuple(sorted(roles.works_in)),
    )
