"""The people of a team's page: who is in it and spends, and who may approve."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.urls import reverse

from approvals.models import Delegation
from core import clock
from core.money import ZERO
from core.shapes import Tone
from teams.models import Role
from teams.selectors import MEMBER, TeamPerson
from usage.types import Spend

OUTSIDE = "Not in the team now"
DECIDING = (Role.LEAD.value, Role.DIRECTOR.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRow:
    """A person of the team, or one who spends on it and is not in it now.

    Spend in US dollars and keys are None where they are not for the reader's eyes.
    """

    name: str
    url: str
    public_id: str
    role: str
    since: datetime | None
    spent_usd: Decimal | None
    keys: int | None
    is_member: bool
    leads: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeciderRow:
    """Who may approve, as what, and from when to when."""

    name: str
    role: str
    state: Tone
    since: datetime
    until: datetime | None


def member_rows(
    people: Sequence[TeamPerson],
    spent: Sequence[Spend],
    keys: Mapping[int, int],
    *,
    seen: Collection[int] | None,
) -> tuple[MemberRow, ...]:
    """Return the team's people by name, then others who spent on it, the dearest first.

    `seen` are the people whose spend and keys the reader may see; None is everybody.
    """
    roles: dict[int, list[TeamPerson]] = {}
    for each in people:
        if each.role in {MEMBER, Role.LEAD.value}:
            roles.setdefault(each.person_id, []).append(each)
    costs = {each.id: each.cost_usd for each in spent}

    def row(
        person_id: int, name: str, role: str, since: datetime | None, held: Sequence[TeamPerson] = ()
    ) -> MemberRow:
        shown = seen is None or person_id in seen
        public_id = held[0].public_id if held else ""
        return MemberRow(
            name=name,
            url=reverse("people:detail", args=[public_id]) if held else "",
            public_id=public_id,
            role=role,
            since=since,
            spent_usd=costs.get(person_id, ZERO) if shown else None,
            keys=keys.get(person_id, 0) if shown else None,
            is_member=any(each.role == MEMBER for each in held),
            leads=any(each.role == Role.LEAD for each in held),
        )

    inside = [
        row(person, held[0].name, _roles(held), min(each.since for each in held), held)
        for person, held in roles.items()
    ]
    outside = [
        row(each.id, each.name, OUTSIDE, None)
        for each in spent
        if each.id not in roles and (seen is None or each.id in seen)
    ]
    return (*inside, *outside)


def decider_rows(people: Sequence[TeamPerson], lent: Sequence[Delegation]) -> tuple[DeciderRow, ...]:
    """Return the lead, the director, and who stands in for them, in force or to come."""
    held = [
        DeciderRow(
            name=each.name,
            role=each.role_in_words,
            state=Tone(tone="ok", text="In office"),
            since=each.since,
            until=each.until,
        )
        for each in sorted(people, key=lambda each: (each.role != Role.LEAD, each.name))
        if each.role in DECIDING
    ]
    now = clock.now()
    delegates = [
        DeciderRow(
            name=str(each.taker),
            role=f"{each.get_role_display()} for {each.giver}",
            state=Tone(tone="info", text="Delegate" if each.valid_from <= now else "Delegate to come"),
            since=each.valid_from,
            until=each.valid_until,
        )
        for each in lent
    ]
    return (*held, *delegates)


def _roles(held: Sequence[TeamPerson]) -> str:
    leads = [each for each in held if each.role == Role.LEAD]
    return leads[0].role_in_words if leads else "Member"
