"""Lends a role for a time. The delegate acts in his own name, and the decision says for whom."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, Q

from approvals.eligibility import LENDABLE
from approvals.models import LONGEST_DELEGATION, Delegation
from core import audit, clock, outbox
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError
from core.locks import lock_all_first, lock_first
from core.models import AuditEvent
from core.reasons import checked_remark
from teams.models import Department, Role, RoleAssignment, Team, User

MAX_REASON_CHARACTERS = 240


@transaction.atomic
def delegate(
    *,
    actor: User,
    taker: User,
    role: Role,
    valid_from: datetime,
    valid_until: datetime,
    team: Team | None = None,
    department: Department | None = None,
    reason: str = "",
) -> Delegation:
    """Let `taker` decide as `actor` would in a role that the actor himself holds there, for at most 30 days.

    It begins now where `valid_from` is over: nothing was lent before somebody lent it. What was lent cannot
    be lent on. Raises InvalidInputError, NotAllowedError when he does not hold the role, and AlreadyDoneError
    when he lends it to the same person at that time already.
    """
    # One of a person at a time, and none while either of them leaves.
    people = lock_all_first(User.objects.filter(pk__in=(actor.pk, taker.pk)))
    place: dict[str, Any] = {"role": role, "team": team, "department": department}
    _require_held(actor, place)
    _require_taker(actor, next(person for person in people if person.pk == taker.pk))
    begins = max(clock.now(), valid_from)
    _require_span(begins, valid_until)
    text = checked_remark(reason, most=MAX_REASON_CHARACTERS)
    same = Delegation.objects.filter(giver=actor, taker=taker, **place)
    if same.filter(valid_from__lt=valid_until, valid_until__gt=begins).exists():
        raise AlreadyDoneError(f"{taker} is your delegate there at that time already.")
    lent = Delegation.objects.create(
        giver=actor,
        taker=taker,
        valid_from=begins,
        valid_until=valid_until,
        reason=text,
        created_at=clock.now(),
        **place,
    )
    after = {"taker": taker, "valid_from": begins, "valid_until": valid_until, **place}
    _record(actor, "delegation.given", lent, after=after, reason=text)
    _tell(lent)
    return lent


@transaction.atomic
def end_delegation(*, actor: User, delegation: Delegation) -> Delegation:
    """End a delegation now; who gave it, who has it and administrators may. The second time changes nothing.

    Raises NotAllowedError.
    """
    rows = Delegation.objects.select_related("giver", "taker", "team", "department")
    mine = lock_first(rows, delegation.pk)
    admins = RoleAssignment.objects.live().filter(role=Role.ADMIN, user=actor)
    if not actor.is_active or (actor.pk not in (mine.giver_id, mine.taker_id) and not admins.exists()):
        raise NotAllowedError(f"Only {mine.giver}, {mine.taker} or an administrator may end this.")
    now = clock.now()
    if mine.valid_until <= now or mine.valid_until == mine.valid_from:
        return mine
    _cut_short(mine, actor)
    return mine


def end_delegations_of(person: User) -> int:
    """End what a leaver lent and what was lent to him; return how many."""
    rows = Delegation.objects.filter(Q(giver=person) | Q(taker=person), valid_until__gt=clock.now())
    mine = rows.exclude(valid_until=F("valid_from")).select_related("giver", "taker", "team", "department")
    lent = lock_all_first(mine)
    for each in lent:
        _cut_short(each, None)
    return len(lent)


def _cut_short(lent: Delegation, actor: User | None) -> None:
    """End a locked delegation now, or before it begins."""
    before = {"valid_until": lent.valid_until}
    lent.valid_until, lent.ended_by = max(clock.now(), lent.valid_from), actor
    lent.save(update_fields=["valid_until", "ended_by"])
    _record(actor, "delegation.ended", lent, before=before, after={"valid_until": lent.valid_until})


def _require_held(actor: User, place: Mapping[str, Any]) -> None:
    """Refuse a role that the actor does not hold himself, such as one that was lent to him."""
    if place["role"] not in LENDABLE:
        raise InvalidInputError("Only the roles of leads, directors and administrators decide requests.")
    held = RoleAssignment.objects.live().filter(Q(**place), user=actor, user__is_active=True)
    if not held.exists():
        raise NotAllowedError("You do not hold that role there yourself, so you cannot lend it.")


def _require_taker(actor: User, taker: User) -> None:
    if actor.pk == taker.pk:
        raise InvalidInputError("Choose somebody else: you can decide yourself already.", field="taker")
    if not taker.is_active:
        raise InvalidInputError(f"{taker} has left. Choose somebody else.", field="taker")


def _require_span(valid_from: datetime, valid_until: datetime) -> None:
    if valid_until <= valid_from:
        raise InvalidInputError("Enter a last day that is still to come.", field="valid_until")
    if valid_until - valid_from > LONGEST_DELEGATION:
        raise InvalidInputError(
            f"A delegation lasts {LONGEST_DELEGATION.days} days at most. Choose an earlier last day.",
            field="valid_until",
        )


def _record(actor: User | None, action: str, lent: Delegation, **values: Any) -> AuditEvent:
    team, department = lent.team, lent.department
    return audit.record(
        actor=actor,
        action=action,
        subject=lent,
        team_id=team.pk if team else None,
        department_id=team.department_id if team else department.pk if department else None,
        **values,
    )


def _tell(lent: Delegation) -> None:
    where = f" of {lent.team or lent.department}" if lent.team or lent.department else ""
    outbox.put_mail(
        topic="delegation.given",
        recipient=lent.taker.email,
        dedupe_key=f"delegation:{lent.public_id}",
        subject=f"You decide for {lent.giver} until {lent.valid_until:%d %B %Y}",
        body=(
            f"{lent.giver} lets you decide requests as {Role(lent.role).label.lower()}{where}, from"
            f" {lent.valid_from:%d %B %Y} until {lent.valid_until:%d %B %Y at %H:%M} UTC."
            " Your decisions carry your own name. You cannot lend this on."
        ),
        link="/approvals/delegations/",
    )
