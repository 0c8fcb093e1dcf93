"""How the organisation grows: departments, teams, projects, and who answers for a project."""

from collections.abc import Mapping

from django.db import transaction

from core import audit
from core.errors import InvalidInputError
from core.reasons import LONGEST, checked_reason
from teams.models import Department, Project, Team, User
from teams.selectors import require_admin, require_oversight, works_in
from teams.services.changes import locked_project, locked_team, require_open
from teams.services.members import locked_person
from teams.services.naming import checked_cost_centre, create_coded


@transaction.atomic
def create_department(*, actor: User | None, code: str, name: str) -> Department:
    """Open a department; administrators may. Raises InvalidInputError, also for a code that is taken."""
    if actor is not None:
        require_admin(actor, "open departments")
    department = create_coded(Department, code=code, name=name)
    after = {"code": code, "name": department.name}
    audit.record(
        actor=actor, action="department.created", subject=department, after=after, department_id=department.pk
    )
    return department


@transaction.atomic
def create_team(*, actor: User | None, department: Department, code: str, name: str) -> Team:
    """Open a team in a department; administrators may.

    Raises InvalidInputError, also for a code that is taken, and AlreadyDoneError for a department that is
    archived.
    """
    if actor is not None:
        require_admin(actor, "open teams")
    home = Department.objects.select_for_update(no_key=True).order_by("pk").get(pk=department.pk)
    require_open(home, f"Department {home}", field="department")
    team = create_coded(Team, code=code, name=name, department=home)
    after = {"code": code, "name": team.name, "department": home.code}
    _record(actor, "team.created", team, team, after=after)
    return team


@transaction.atomic
def create_project(
    *, actor: User | None, team: Team, code: str, name: str, owner: User, cost_centre: str
) -> Project:
    """Open a project of a team, owned by somebody who works there; its lead, director and administrators may.

    Raises InvalidInputError, also for a code that is taken, and AlreadyDoneError for a team that is archived.
    """
    home = locked_team(team)
    require_oversight(actor, home)
    require_open(home, f"Team {home}", field="team")
    answers = _owner(home, owner)
    centre = checked_cost_centre(cost_centre)
    project = create_coded(Project, code=code, name=name, team=home, owner=answers, cost_centre=centre)
    after = {"code": code, "name": project.name, "team": home.code, "owner": answers, "cost_centre": centre}
    _record(actor, "project.created", project, home, after=after)
    return project


@transaction.atomic
def hand_over_project(*, actor: User | None, project: Project, owner: User, reason: str) -> Project:
    """Let somebody else who works in its team own a project; its lead, director and administrators may.

    Raises InvalidInputError, also for who owns it already, and AlreadyDoneError for one that is archived.
    """
    text = checked_reason(reason, most=LONGEST)
    mine = locked_project(project)
    require_oversight(actor, mine.team)
    require_open(mine, f"Project {mine}")
    answers, before = _owner(mine.team, owner), mine.owner
    if answers == before:
        raise InvalidInputError(f"{before} owns {mine} already. Choose somebody else.", field="owner")
    mine.owner = answers
    mine.save(update_fields=["owner"])
    _record(
        actor,
        "project.handed_over",
        mine,
        mine.team,
        before={"owner": before},
        after={"owner": answers},
        reason=text,
    )
    return mine


def _owner(team: Team, person: User) -> User:
    """Return somebody who works in a team, locked. Raises InvalidInputError for who does not."""
    mine = locked_person(person)
    if not works_in(mine, team):
        raise InvalidInputError(
            f"{mine} does not work in team {team} now. Choose one of its people.", field="owner"
        )
    return mine


def _record(
    actor: User | None,
    action: str,
    subject: Project | Team,
    team: Team,
    *,
    after: Mapping[str, object],
    before: Mapping[str, object] | None = None,
    reason: str = "",
) -> None:
    audit.record(
        actor=actor,
        action=action,
        subject=subject,
        before=before,
        after=after,
        reason=reason,
        team_id=team.pk,
        department_id=team.department_id,
    )
