"""Roles that follow the groups of the identity provider: given with the group, ended with it."""

from collections.abc import Collection
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import transaction

from core import audit, clock
from core.locks import lock_all_first
from teams.errors import GroupTakenError
from teams.models import Department, DirectoryGroup, Role, RoleAssignment, RoleSource, Team, User

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
def save_group(
    *, group: DirectoryGroup | None, name: str, external_id: str, members: Collection[User]
) -> DirectoryGroup:
    """Write down a group of the directory with all its members, and let their roles follow.

    None makes a new one. Raises GroupTakenError when another group has this name.
    """
    others = DirectoryGroup.objects.filter(name=name)
    if group is not None:
        group = DirectoryGroup.objects.select_for_update(no_key=True).order_by("pk").get(pk=group.pk)
        others = others.exclude(pk=group.pk)
    if others.exists():
        raise GroupTakenError(f"There is a group {name} already.", field="displayName")
    before = set(group.members.all()) if group else set()
    saved = group or DirectoryGroup()
    renamed = saved.name != name
    saved.name, saved.external_id = name, external_id
    saved.save()
    now_in = set(members)
    saved.members.set(now_in)
    came, went = now_in - before, before - now_in
    if group is None or renamed or came or went:
        _record_group("group.changed" if group else "group.created", saved, came=came, went=went)
    _let_roles_follow(now_in | went if renamed else came | went)
    return saved


@transaction.atomic
def remove_group(*, group: DirectoryGroup) -> None:
    """Forget a group that the directory dropped, and end the roles that it stood for."""
    members = set(group.members.all())
    _record_group("group.removed", group, came=set(), went=members)
    group.delete()
    _let_roles_follow(members)


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
    for row in lock_all_first(held):
        key = (row.role, row.team_id, row.department_id)
        if row.source == source and key not in wanted:
            _end(row)
        else:
            kept.add(key)
    for key, place in wanted.items():
        if key not in kept:
            _give(mine, place, source)


def _let_roles_follow(people: Collection[User]) -> None:
    """Hold the roles of people against all groups that they are in now; in one order, as every lock."""
    for person in sorted(people, key=lambda one: one.pk):
        names = list(person.directory_groups.values_list("name", flat=True))
        follow_groups(user=person, source=RoleSource.DIRECTORY, groups=names)


def _record_group(action: str, group: DirectoryGroup, *, came: set[User], went: set[User]) -> None:
    after = {
        "name": group.name,
        "came": sorted(person.public_id for person in came),
        "went": sorted(person.public_id for person in went),
    }
    audit.record(actor=None, action=action, subject=group, after=after, reason="By the directory.")


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
