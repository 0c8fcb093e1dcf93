"""Who works where and who holds which role now. Scoping of objects stands at their querysets in models.py."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import BigIntegerField, CharField, Prefetch, Q, QuerySet, Value

from core.errors import AlreadyDoneError
from teams.errors import RoleNeededError
from teams.models import (
    ORGANISATION_WIDE,
    Department,
    FormerName,
    Membership,
    NamedKind,
    Project,
    Role,
    RoleAssignment,
    Team,
    User,
)
from teams.ports import STANDS_IN, Consequence, Leaving, lent_roles

_Key = TypeVar("_Key", int, str)
MEMBER = "member"  # works in a team; not a role that anybody assigns


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesHeld:
    """What one person is at one moment; the numbers are ids of teams and departments.

    `stands_in` says that somebody else lent him a role, which is not one of his own.
    """

    member_of: frozenset[int]
    leads: frozenset[int]
    directs: frozenset[int]
    organisation_wide: frozenset[Role]
    stands_in: bool = False

    @property
    def works_in(self) -> frozenset[int]:
        """Return the teams in which the person may ask for keys."""
        return self.member_of | self.leads

    @property
    def sees_everything(self) -> bool:
        """Whether a role shows the whole organisation to this person."""
        return bool(self.organisation_wide)

    def only(self, role: Role) -> "RolesHeld":
        """Return what is left of this when one role counts alone, as it does for whoever was lent it."""
        return RolesHeld(
            member_of=frozenset(),
            leads=self.leads if role == Role.LEAD else frozenset(),
            directs=self.directs if role == Role.DIRECTOR else frozenset(),
            organisation_wide=self.organisation_wide & {role},
        )

    def oversees(self, team: Team) -> bool:
        """Whether the person answers for the team: as its lead, its director or an administrator."""
        return (
            team.pk in self.leads
            or team.department_id in self.directs
            or Role.ADMIN in self.organisation_wide
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleHolders:
    """Who holds each role now: leads by team id, directors by department id, the others for everything.

    `names` are those of everybody in here.
    """

    leads: Mapping[int, frozenset[int]] = field(default_factory=dict)
    directors: Mapping[int, frozenset[int]] = field(default_factory=dict)
    organisation_wide: Mapping[str, frozenset[int]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)

    def for_project(self, project: Project) -> dict[str, frozenset[int]]:
        """Return the ids of the people who hold each role for this project (its team must be loaded)."""
        return self.for_place(project.team_id, project.team.department_id)

    def for_place(self, team_id: int | None, department_id: int | None) -> dict[str, frozenset[int]]:
        """Return the ids of the people who hold each role for a team and a department, where there is one."""
        nobody: frozenset[int] = frozenset()
        return {
            Role.LEAD.value: nobody if team_id is None else self.leads.get(team_id, nobody),
            Role.DIRECTOR.value: nobody
            if department_id is None
            else self.directors.get(department_id, nobody),
            **{role.value: self.organisation_wide.get(role.value, nobody) for role in ORGANISATION_WIDE},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerNames:
    """What things were called, each with the moment until which it was."""

    names: Mapping[tuple[str, int], Sequence[tuple[datetime, str]]] = field(default_factory=dict)

    def at(self, moment: datetime, kind: NamedKind, object_id: int, name_now: str) -> str:
        """Return what a thing was called at a moment; `name_now` when it has kept that name since."""
        known = self.names.get((kind.value, object_id), ())
        return next((name for used_until, name in known if used_until > moment), name_now)


def former_names(since: datetime) -> FormerNames:
    """Return the names that were given up after a moment. One query; renames are few."""
    return former_names_of(former_name_rows(since))


def former_name_rows(since: datetime) -> QuerySet[Any, Any]:
    """Return the rows of names that were given up after a moment."""
    rows = FormerName.objects.filter(used_until__gt=since).order_by("used_until", "pk")
    return rows.values("kind", "object_id", "used_until", "name")


def former_names_of(rows: Iterable[Mapping[str, Any]]) -> FormerNames:
    """Return what rows of `former_name_rows` say that things were called."""
    found: dict[tuple[str, int], list[tuple[datetime, str]]] = {}
    for row in rows:
        found.setdefault((row["kind"], row["object_id"]), []).append((row["used_until"], row["name"]))
    return FormerNames(names=found)


def roles_of(user: User, at: datetime | None = None) -> RolesHeld:
    """Return what the user is now, or was at `at`. Nobody inactive is anything. One query."""
    teams = Membership.objects.live(at).filter(user=user, user__is_active=True).order_by()
    roles = RoleAssignment.objects.live(at).filter(user=user, user__is_active=True).order_by()
    works = teams.values_list(Value(MEMBER), "team_id", Value(None, output_field=BigIntegerField()))
    lent: list[Any] = [rows for _, rows in lent_roles.send(RolesHeld, user=user, at=at)]
    rows = list(roles.values_list("role", "team_id", "department_id").union(works, *lent))
    return RolesHeld(
        member_of=frozenset(team for role, team, _ in rows if role == MEMBER),
        leads=frozenset(team for role, team, _ in rows if role == Role.LEAD),
        directs=frozenset(home for role, _, home in rows if role == Role.DIRECTOR),
        organisation_wide=frozenset(Role(role) for role, _, _ in rows if role in ORGANISATION_WIDE),
        stands_in=any(role == STANDS_IN for role, _, _ in rows),
    )


def has_role(
    user: User,
    role: Role,
    *,
    team: Team | None = None,
    department: Department | None = None,
    at: datetime | None = None,
) -> bool:
    """Whether the user, active, holds the role for exactly this scope now or at `at`. One query."""
    found = RoleAssignment.objects.live(at).filter(
        user=user, role=role, team=team, department=department, user__is_active=True
    )
    return found.exists()


def works_in(user: User, team: Team) -> bool:
    """Whether the user, active, is a member or a lead of the team now. One query."""
    if not user.is_active:
        return False
    members = Membership.objects.live().filter(user=user, team=team).values("user_id")
    leads = RoleAssignment.objects.live().filter(user=user, team=team, role=Role.LEAD).values("user_id")
    return members.union(leads).exists()


def open_in(department: Department) -> list[str]:
    """Return what of a department is open, by name: its teams, and projects of teams that were archived."""
    teams = Team.objects.filter(department=department)
    projects = Project.objects.filter(team__in=teams.exclude(archived_at__isnull=True))
    return [
        *(f"team {team}" for team in teams.filter(archived_at__isnull=True)),
        *(f"project {project}" for project in projects.filter(archived_at__isnull=True)),
    ]


def role_holders(project: Project | None = None) -> RoleHolders:
    """Return the active people who hold each role now: for one project, or for everything. One query."""
    rows = RoleAssignment.objects.live().filter(user__is_active=True)
    if project is not None:
        rows = rows.filter(_scope_covers(project))
    leads: dict[int, set[int]] = {}
    directors: dict[int, set[int]] = {}
    others: dict[str, set[int]] = {}
    names: dict[int, str] = {}
    for row in rows.select_related("user"):
        if row.team_id is not None:
            leads.setdefault(row.team_id, set()).add(row.user_id)
        elif row.department_id is not None:
            directors.setdefault(row.department_id, set()).add(row.user_id)
        else:
            others.setdefault(row.role, set()).add(row.user_id)
        names[row.user_id] = str(row.user)
    return RoleHolders(
        leads=_frozen(leads), directors=_frozen(directors), organisation_wide=_frozen(others), names=names
    )


def approvers_for(role: Role, project: Project) -> list[User]:
    """Return the active people who hold the role now for the project's team or department, by name.

    Who decides a request that one of them made himself is `approvals.policy`'s matter.
    """
    assignments = RoleAssignment.objects.live().filter(_scope_covers(project), role=role)
    return list(User.objects.filter(pk__in=assignments.values("user"), is_active=True))


def require_admin(user: User, act: str = "do this") -> None:
    """Raise RoleNeededError that names the administrators, unless the user is one of them. One query."""
    if Role.ADMIN in roles_of(user).organisation_wide:
        return
    raise RoleNeededError(f"Only an administrator may {act}. Ask {administrators()}.")


def require_oversight(user: User | None, team: Team) -> None:
    """Raise RoleNeededError for who neither leads a team nor directs its department nor administers.

    None is the system itself. One query.
    """
    if user is not None and not roles_of(user).oversees(team):
        raise RoleNeededError(
            f"Only the lead of {team}, its director or an administrator may do this. Ask {administrators()}."
        )


def administrators() -> str:
    """Name the administrators, for a sentence. One query."""
    admins = RoleAssignment.objects.live().filter(role=Role.ADMIN).values("user")
    return names_of(User.objects.filter(pk__in=admins, is_active=True))


def people_visible_to(user: User) -> QuerySet[User]:
    """Return whom the user may know of: who works in a team that he sees, and himself. One query and its own.

    Organisation-wide roles see everybody, those who have left too.
    """
    if roles_of(user).sees_everything:
        return User.objects.all()
    return User.objects.filter(working_in(Team.objects.visible_to(user)) | Q(pk=user.pk))


def people_listed(user: User, *, active: bool, query: str) -> QuerySet[User]:
    """Return whom the user may know of, by name, with their live teams and roles loaded. Three queries."""
    teams: QuerySet[Membership] = Membership.objects.live().select_related("team")
    roles: QuerySet[RoleAssignment] = RoleAssignment.objects.live().select_related("team", "department")
    people = people_visible_to(user).filter(is_active=active)
    if query:
        people = people.filter(Q(name__icontains=query) | Q(email__icontains=query))
    return people.order_by("name", "pk").prefetch_related(
        Prefetch("memberships", teams, to_attr="live_memberships"),
        Prefetch("role_assignments", roles, to_attr="live_roles"),
    )


def what_ends(user: User, person: User, leaving: Leaving) -> Sequence[Consequence]:
    """Return what ends when a person leaves; administrators may see it.

    Raises RoleNeededError, and AlreadyDoneError when he has left.
    """
    require_admin(user, "let people leave")
    if not person.is_active:
        raise AlreadyDoneError(f"{person} has left already. Nothing needs to be done.")
    return leaving.consequences(person)


def working_in(teams: QuerySet[Team]) -> Q:
    """Return the condition on people that they work in or lead one of these teams now."""
    members = Membership.objects.live().filter(team__in=teams).values("user")
    leads = RoleAssignment.objects.live().filter(team__in=teams, role=Role.LEAD).values("user")
    return Q(pk__in=members) | Q(pk__in=leads)


def names_of(people: Iterable[object]) -> str:
    """Write people for a sentence: `Ben Okafor, Cleo Hart or Ann Keller`; `nobody` for none."""
    *most, last = [str(person) for person in people] or ["nobody"]
    return f"{', '.join(most)} or {last}" if most else last


def _scope_covers(project: Project) -> Q:
    everything = Q(team__isnull=True, department__isnull=True)
    return Q(team=project.team_id) | Q(department=project.team.department_id) | everything


def _frozen(sets: dict[_Key, set[int]]) -> dict[_Key, frozenset[int]]:
    return {key: frozenset(people) for key, people in sets.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamPerson:
    """Somebody who works in a team, leads it or directs its department, from when to when; no end is None."""

    person_id: int
    public_id: str
    name: str
    role: str
    since: datetime
    until: datetime | None

    @property
    def role_in_words(self) -> str:
        """Return what the person is to the team."""
        return "Member" if self.role == MEMBER else Role(self.role).label


def owners_of(team: Team) -> list[TeamPerson]:
    """Return who may own a project of a team: who works in it, by name. One query."""
    return [person for person in people_of_team(team) if person.role in {MEMBER, Role.LEAD.value}]


def members_of(team: Team) -> QuerySet[Membership]:
    """Return the times that run now of the people who work in a team, by name, with the people."""
    members: QuerySet[Membership] = Membership.objects.live().filter(team=team, user__is_active=True)
    return members.select_related("user").order_by("user__name", "pk")


def people_of_team(team: Team) -> list[TeamPerson]:
    """Return the active people of a team by name: its members, leads, and its department's directors, now.

    Who leads a team and is in it is listed as both. One query.
    """
    columns = ("user_id", "user__public_id", "user__name", "role", "valid_from", "valid_until")
    members = Membership.objects.live().filter(team=team, user__is_active=True).order_by()
    roles = RoleAssignment.objects.live().filter(
        Q(team=team) | Q(department=team.department_id), user__is_active=True
    )
    rows = roles.order_by().values_list(*columns)
    found = rows.union(
        members.annotate(role=Value(MEMBER, output_field=CharField())).values_list(*columns), all=True
    )
    people = [
        TeamPerson(person_id=person, public_id=public, name=name, role=role, since=since, until=until)
        for person, public, name, role, since, until in found
    ]
    return sorted(people, key=lambda each: (each.name, each.person_id, each.role))
