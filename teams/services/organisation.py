"""How the organisation grows: departments, teams, projects, who works in them and who holds which role."""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from core import audit, clock
from core.errors import InvalidInputError, NotAllowedError
from core.reasons import LONGEST, checked_reason
from teams.errors import AlreadyHeldError, RoleNeededError
from teams.models import Department, Membership, Project, Role, RoleAssignment, Team, User
from teams.selectors import names_of, require_admin, roles_of


@transaction.atomic
def create_department(*, actor: User | None, code: str, name: str) -> Department:
    """Open a department; administrators may. Raises InvalidInputError when the code is taken."""
    _require_admin(actor)
    _require_free(Department.objects.filter(code=code).exists(), code)
    department = Department.objects.create(code=code, name=name)
    after = {"code": code, "name": name}
    audit.record(
        actor=actor, action="department.created", subject=department, after=after, department_id=department.pk
    )
    return department


@transaction.atomic
def create_team(*, actor: User | None, department: Department, code: str, name: str) -> Team:
    """Open a team in a department; administrators may. Raises InvalidInputError when the code is taken."""
    _require_admin(actor)
    _require_free(Team.objects.filter(code=code).exists(), code)
    team = Team.objects.create(code=code, name=name, department=department)
    after = {"code": code, "name": name, "department": department.code}
    _record(actor, "team.created", team, team, after)
    return team


@transaction.atomic
def create_project(
    *, actor: User | None, team: Team, code: str, name: str, owner: User, cost_centre: str
) -> Project:
    """Open a project of a team; its lead, director and administrators may.

    Raises InvalidInputError when the code is taken.
    """
    require_oversight(actor, team)
    _require_free(Project.objects.filter(code=code).exists(), code)
    project = Project.objects.create(code=code, name=name, team=team, owner=owner, cost_centre=cost_centre)
    after = {"code": code, "name": name, "team": team.code, "owner": owner, "cost_centre": cost_centre}
    _record(actor, "project.created", project, team, after)
    return project


@transaction.atomic
def add_member(*, actor: User | None, team: Team, user: User) -> Membership:
    """Let a person work in a team from now on; its lead, director and administrators may.

    Raises AlreadyHeldError when he works there already.
    """
    require_oversight(actor, team)
    _lock(user)
    if Membership.objects.live().filter(team=team, user=user).exists():
        raise AlreadyHeldError(f"{user} works in team {team} already. Nothing needs to be done.")
    membership = Membership.objects.create(team=team, user=user, valid_from=clock.now())
    _record(actor, "team.member_added", team, team, {"member": user})
    return membership


@transaction.atomic
def end_membership(*, actor: User | None, team: Team, user: User, reason: str) -> Membership:
    """End a person's time in a team now; its lead, director and administrators may.

    Raises InvalidInputError when he does not work there.
    """
    require_oversight(actor, team)
    membership = (
        Membership.objects.live()
        .filter(team=team, user=user)
        .select_for_update(no_key=True)
        .order_by("pk")
        .first()
    )
    if membership is None:
        raise InvalidInputError(f"{user} does not work in team {team} now. Choose one of its members.")
    membership.valid_until = clock.now()
    membership.save(update_fields=["valid_until"])
    _record(actor, "team.member_left", team, team, {"member": user}, reason=reason)
    return membership


@transaction.atomic
def assign_role(
    *,
    actor: User | None,
    user: User,
    role: Role,
    team: Team | None = None,
    department: Department | None = None,
    valid_until: datetime | None = None,
) -> RoleAssignment:
    """Give a person a role from now on; administrators may, but nobody gives one to himself.

    Raises InvalidInputError for a place that the role does not have, an end that has passed or somebody who
    has left, and AlreadyHeldError when he holds it for this scope already.
    """
    _require_admin(actor)
    _require_other_person(actor, user)
    _require_place(role, team, department)
    if valid_until is not None and valid_until <= clock.now():
        raise InvalidInputError("Choose an end that is still to come.", field="valid_until")
    if not _lock(user).is_active:
        raise InvalidInputError(f"{user} has left. Reinstate the person first.")
    scope = {"user": user, "role": role, "team": team, "department": department}
    if RoleAssignment.objects.live().filter(**scope).exists():
        raise AlreadyHeldError(f"{user} is {role.label} there already. Nothing needs to be done.")
    held = RoleAssignment.objects.create(
        **scope, valid_from=clock.now(), valid_until=valid_until, granted_by=actor
    )
    after = {"holder": user, "role": role, "team": team, "department": department, "valid_until": valid_until}
    _record_role(actor, "role.assigned", held, after)
    return held


@transaction.atomic
def end_role(*, actor: User | None, assignment: RoleAssignment, reason: str) -> RoleAssignment:
    """End a role now; administrators may.

    Raises InvalidInputError without a reason, or when it has ended already.
    """
    _require_admin(actor)
    text = checked_reason(reason, most=LONGEST)
    held = (
        RoleAssignment.objects.live()
        .filter(pk=assignment.pk)
        .select_for_update(no_key=True)
        .order_by("pk")
        .first()
    )
    if held is None:
        raise InvalidInputError("This role has ended already. Nothing needs to be done.")
    held.valid_until = clock.now()
    held.save(update_fields=["valid_until"])
    _record_role(actor, "role.ended", held, {"holder": held.user, "role": held.role}, reason=text)
    return held


def _require_admin(actor: User | None) -> None:
    if actor is not None:
        require_admin(actor)


def require_oversight(actor: User | None, team: Team) -> None:
    """Raise RoleNeededError for who neither leads the team, nor directs its department, nor administers."""
    if actor is not None and not roles_of(actor).oversees(team):
        raise RoleNeededError(
            f"Only the lead of {team}, its director or an administrator may do this. Ask {_admins()}."
        )


def _require_other_person(actor: User | None, user: User) -> None:
    if actor is not None and actor.pk == user.pk:
        raise NotAllowedError("Nobody gives himself a role. Ask another administrator.")


def _require_place(role: Role, team: Team | None, department: Department | None) -> None:
    """Ask for exactly the place that the role needs."""
    for field, place, needed, sentence in (
        ("team", team, role is Role.LEAD, "Choose the team to lead"),
        ("department", department, role is Role.DIRECTOR, "Choose the department to direct"),
    ):
        if needed and place is None:
            raise InvalidInputError(f"{sentence}.", field=field)
        if place is not None and not needed:
            raise InvalidInputError(f"{role.label} is not a role in a {field}: name none.", field=field)


def _require_free(taken: bool, code: str) -> None:
    if taken:
        raise InvalidInputError(f"The code {code} is taken. Choose another one.", field="code")


def _admins() -> str:
    admins = RoleAssignment.objects.live().filter(role=Role.ADMIN).values("user")
    return names_of(User.objects.filter(pk__in=admins, is_active=True))


def _lock(user: User) -> User:
    """Let one membership or role of a person be given at a time, and return him as he is now."""
    return User.objects.select_for_update(no_key=True).order_by("pk").get(pk=user.pk)


def _record(
    actor: User | None,
    action: str,
    subject: Project | Team,
    team: Team,
    after: Mapping[str, object],
    *,
    reason: str = "",
) -> None:
    audit.record(
        actor=actor,
        action=action,
        subject=subject,
        after=after,
        reason=reason,
        team_id=team.pk,
        department_id=team.department_id,
    )


def _record_role(
    actor: User | None, action: str, held: RoleAssignment, after: Mapping[str, object], *, reason: str = ""
) -> None:
    team, department = held.team, held.department
    home = team.department_id if team else department.pk if department else None
    audit.record(
        actor=actor,
        action=action,
        subject=held,
        after=after,
        reason=reason,
        team_id=team.pk if team else None,
        department_id=home,
    )
