"""Who holds which role: given by administrators from now on, ended by them with a reason."""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from core import audit, clock
from core.errors import InvalidInputError, NotAllowedError
from core.reasons import LONGEST, checked_reason
from teams.errors import AlreadyHeldError
from teams.models import Department, Role, RoleAssignment, Team, User
from teams.selectors import require_admin
from teams.services.members import locked_person


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
    if actor is not None:
        require_admin(actor)
    _require_other_person(actor, user)
    _require_place(role, team, department)
    if valid_until is not None and valid_until <= clock.now():
        raise InvalidInputError("Choose an end that is still to come.", field="valid_until")
    if not locked_person(user).is_active:
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
    if actor is not None:
        require_admin(actor)
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
