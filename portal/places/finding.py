"""Finds the place that an address names, for who may change it, and where it may go."""

from django.db.models import QuerySet

from core.errors import NotFoundError
from teams.models import Department, Project, Role, Team, User
from teams.selectors import RolesHeld, require_admin, require_oversight
from teams.services.changes import require_director, require_open


def administered_department(user: User, public_id: str, act: str) -> Department:
    """Return a department, for who administers. Raises RoleNeededError, NotFoundError."""
    require_admin(user, act)
    department = Department.objects.filter(public_id=public_id).first()
    if department is None:
        raise NotFoundError("There is no such department.")
    return department


def overseen_team(user: User, public_id: str) -> Team:
    """Return an open team that the user leads, directs or administers.

    Raises NotFoundError for one that he may not see, RoleNeededError for one that he does not answer for, and
    AlreadyDoneError for one that was archived.
    """
    team = _team(user, public_id)
    require_oversight(user, team)
    require_open(team, f"Team {team}")
    return team


def directed_team(user: User, public_id: str) -> Team:
    """Return an open team whose department the user directs or administers; raises as `overseen_team`."""
    team = _team(user, public_id)
    require_director(user, team.department_id)
    require_open(team, f"Team {team}")
    return team


def directed_project(user: User, public_id: str) -> Project:
    """Return an open project whose department the user directs or administers; raises as `overseen_team`."""
    project = _project(user, public_id)
    require_director(user, project.team.department_id)
    require_open(project, f"Project {project}")
    return project


def overseen_project(user: User, public_id: str) -> Project:
    """Return an open project whose team the user answers for; raises as `overseen_team`."""
    project = _project(user, public_id)
    require_oversight(user, project.team)
    require_open(project, f"Project {project}")
    return project


def teams_for(roles: RolesHeld) -> QuerySet[Team]:
    """Return the open teams to which somebody with these roles may move a project, by name."""
    teams = Team.objects.filter(archived_at__isnull=True, department__archived_at__isnull=True)
    if Role.ADMIN not in roles.organisation_wide:
        teams = teams.filter(department_id__in=roles.directs)
    return teams.select_related("department").order_by("name", "pk")


def departments_for(roles: RolesHeld) -> QuerySet[Department]:
    """Return the open departments to which somebody with these roles may move a team, by name."""
    departments = Department.objects.filter(archived_at__isnull=True)
    if Role.ADMIN not in roles.organisation_wide:
        departments = departments.filter(pk__in=roles.directs)
    return departments.order_by("name", "pk")


def _team(user: User, public_id: str) -> Team:
    team = Team.objects.visible_to(user).filter(public_id=public_id).select_related("department").first()
    if team is None:
        raise NotFoundError("There is no such team, or it is not one of yours.")
    return team


def _project(user: User, public_id: str) -> Project:
    found = Project.objects.visible_to(user).filter(public_id=public_id)
    project = found.select_related("team__department", "owner").first()
    if project is None:
        raise NotFoundError("There is no such project, or it is not one of your teams'.")
    return project
