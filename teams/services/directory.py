"""Roles that follow the groups of the identity provider: given with the group, ended with it."""

from collections.abc import Collection
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import transaction

from core import audit, clock
from teams.models import Department, Role, RoleAssignment, RoleSource, Team, User

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A role and where it is held."""

    role: Role
    team: Team | None = None
    department: Department | None = None

    @property
    def key(self) -> tuple[str, int | None, int | None]:
        """Return what makes it the same role."""
        team, department = self.team, self.department
        return self.role.value, team.pk if team else None, department.pk if department else None


@transaction.atomic
def follow_groups(*, user: User, source: RoleSource, groups: Collection[str]) -> None:
    """Give a person the roles that his groups stand for, and end those of this source whose group he left.

    `groups` are all that he is in, by name; which role each stands for is in DIRECTORY_ROLES. What was given
    here, or by the other source, is left alone. Again changes nothing.
    """
    mine = User.objects.select_for_update(no_key=True).order_by("pk").get(pk=user.pk)
    wanted = {place.key: place for place in _places(groups)} if mine.is_active else {}
    held = RoleAssignment.objects.live().filter(user=mine).select_related("team", "department")
    kept: set[tuple[str, int | None, int | None]] = set()
    for row in held.select_for_update(no_key=True, of=("self",)).order_by("pk"):
        key = (row.role, row.team_id, row.department_id)
        if row.source == source and key not in wanted:
            _end(row)
        else:
            kept.add(key)
    for key, place in wanted.items():
        if key not in kept:
            _give(mine, place, source)


def _places(groups: Collection[str]) -> list[_Place]:
    """Return what the groups stand for; what names an unknown place is logged and left out."""
    found = []
    for group in sorted(set(groups)):
        for role, code in settings.DIRECTORY_ROLES.get(group, ()):
            place = _place(Role(role), code)
            if place is None:
                log.warning("directory.unknown_place", group=group, role=role, code=code)
            else:
                found.append(place)
    return found


def _place(role: Role, code: str) -> _Place | None:
    if role is Role.LEAD:
        team = Team.objects.filter(code=code, archived_at__isnull=True).first()
        return _Place(role=role, team=team) if team else None
    if role is Role.DIRECTOR:
        department = Department.objects.filter(code=code, archived_at__isnull=True).first()
        return _Place(role=role, department=department) if department else None
    return _Place(role=role)


def _give(user: User, place: _Place, source: RoleSource) -> None:
    held = RoleAssignment.objects.create(
        user=user,
        role=place.role,
        team=place.team,
        department=place.department,
        valid_from=clock.now(),
        source=source,
    )
    after = {"holder": user, "role": place.role, "team": place.team, "department": place.department}
    _record("role.assigned", held, {**after, "source": source}, "A group of the identity provider.")


def _end(held: RoleAssignment) -> None:
    held.valid_until = clock.now()
    held.save(update_fields=["valid_until"])
    after = {"holder": held.user, "role": held.role, "source": held.source}
    _record("role.ended", held, after, "No longer in its group of the identity provider.")


def _record(action: str, held: RoleAssignment, after: dict[str, object], reason: str) -> None:
    team, department = held.team, held.department
    audit.record(
        actor=None,
        action=action,
        subject=held,
        after=after,
        reason=reason,
        team_id=team.pk if team else None,
        department_id=team.department_id if team else department.pk if department else None,
    )
