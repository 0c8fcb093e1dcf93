"""What the templates of people show."""

from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from core.shapes import Tone
from teams.models import Membership, Role, RoleAssignment, RoleSource, User


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRow:
    """One line of the list."""

    name: str
    email: str
    public_id: str
    url: str
    state: Tone
    since: datetime
    teams: str
    roles: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRow:
    """A role of a person with its time; the address is empty where it cannot be ended here."""

    text: str
    since: datetime
    until: datetime | None
    source: str
    granted_by: str
    end_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamRow:
    """A person's time in a team."""

    name: str
    since: datetime
    until: datetime | None


def state_of(person: User) -> Tone:
    """Return whether the person is here, in words."""
    return Tone(tone="ok", text="Active") if person.is_active else Tone(tone="empty", text="Left")


def role_in_words(held: RoleAssignment) -> str:
    """Write a role: `Team lead of Search`, `Finance`."""
    place = held.team or held.department
    label = Role(held.role).label
    return f"{label} of {place}" if place else label


def person_row(person: User) -> PersonRow:
    """Return a person whose live memberships and roles are loaded (`people_listed`)."""
    memberships: list[Membership] = vars(person)["live_memberships"]
    roles: list[RoleAssignment] = vars(person)["live_roles"]
    return PersonRow(
        name=person.name,
        email=person.email,
        public_id=person.public_id,
        since=person.date_joined,
        url=reverse("people:detail", args=[person.public_id]),
        state=state_of(person),
        teams=", ".join(sorted(membership.team.name for membership in memberships)),
        roles=", ".join(sorted(role_in_words(role) for role in roles)),
    )


def role_row(held: RoleAssignment, *, may_end: bool) -> RoleRow:
    """Return a role that a person holds or held; one that follows a group is ended there."""
    ends_here = may_end and held.source == RoleSource.PORTAL
    return RoleRow(
        text=role_in_words(held),
        since=held.valid_from,
        until=held.valid_until,
        source=RoleSource(held.source).label,
        granted_by=str(held.granted_by or ""),
        end_url=reverse("people:end_role", args=[held.public_id]) if ends_here else "",
    )
