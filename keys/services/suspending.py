"""Stops a key for a time and lets it go on. The breaker stops keys itself, in the statement that settles the
call (usage_stop_runaways); here people do, and are told of what it did.
"""

import structlog
from django.db import transaction
from django.urls import reverse

from core import clock, events, outbox
from core.errors import AlreadyDoneError
from core.models import AuditEvent
from keys.errors import NotRevealedError, NotSuspendedError
from keys.models import ApiKey, Suspension, SuspensionCause
from keys.services.common import (
    clean_reason,
    locked,
    record,
    require_authority,
    require_oversight,
    require_usable,
)
from teams.models import Role, User
from teams.selectors import approvers_for

log = structlog.get_logger(__name__)

TOLD_TOGETHER = 100


@transaction.atomic
def suspend(*, actor: User, key: ApiKey, reason: str) -> Suspension:
    """Refuse calls with a key until somebody resumes it; in force at the commit.

    Its owner, the lead, the director and administrators may. Raises RoleNeededError, KeyEndedError,
    NotRevealedError, and AlreadyDoneError for a key that is suspended, saying since when and why.
    """
    text = clean_reason(reason)
    mine = locked(key)
    require_authority(actor, mine)
    require_usable(mine)
    if mine.revealed_at is None:
        raise NotRevealedError(f"{mine.name} has no secret yet, so nobody can call with it.")
    if mine.suspended_at:
        raise AlreadyDoneError(
            f"{mine.name} is suspended since {mine.suspended_at:%d %B %Y at %H:%M} UTC:"
            f" {mine.suspended_reason}",
            at=mine.suspended_at.isoformat(),
            what="suspended",
        )
    before = {"state": mine.state}
    now = clock.now()
    mine.suspended_at, mine.suspended_reason = now, text
    mine.save(update_fields=["suspended_at", "suspended_reason"])
    made = Suspension.objects.create(
        key=mine,
        cause=SuspensionCause.PERSON,
        reason=text,
        suspended_at=now,
        suspended_by=actor,
        told_at=now,
    )
    after = {"state": mine.state, "cause": made.cause}
    record(actor, "key.suspended", mine, mine, before=before, after=after, reason=text)
    if actor.pk != mine.owner_id:
        body = f"{actor} suspended your key {mine.name} of project {mine.project}: {text}."
        _tell(
            made, mine.owner, "Your key {name} is suspended", f"{body} Calls with it are refused meanwhile."
        )
    return made


@transaction.atomic
def resume(*, actor: User, key: ApiKey, reason: str = "") -> Suspension:
    """Let a suspended key go on; in force at the commit. What it spent before is not held against it.

    Those who oversee its team may, the owner may not. Raises RoleNeededError, KeyEndedError for a key that
    ended meanwhile, and NotSuspendedError.
    """
    text = clean_reason(reason) if reason.strip() else ""
    mine = locked(key)
    require_oversight(actor, mine)
    require_usable(mine)
    held = Suspension.objects.select_for_update(no_key=True).order_by("pk")
    suspension = held.filter(key=mine, resumed_at__isnull=True).first()
    if suspension is None:
        raise NotSuspendedError(f"{mine.name} is not suspended: it was resumed, or never stopped.")
    before = {"state": mine.state}
    mine.suspended_at, mine.suspended_reason = None, ""
    mine.save(update_fields=["suspended_at", "suspended_reason"])
    suspension.resumed_at = max(clock.now(), suspension.suspended_at)  # which is by the database's clock
    suspension.resumed_by, suspension.resumed_reason = actor, text
    suspension.save(update_fields=["resumed_at", "resumed_by", "resumed_reason"])
    record(actor, "key.resumed", mine, mine, before=before, after={"state": mine.state}, reason=text)
    if actor.pk != mine.owner_id:
        outbox.put_mail(
            topic="key.resumed",
            recipient=mine.owner.email,
            dedupe_key=f"key.resumed:{suspension.public_id}",
            subject=f"Your key {mine.name} goes on",
            body=f"{actor} resumed your key {mine.name} of project {mine.project}. Calls with it are let"
            " through again.",
            link=reverse("keys:detail", args=[mine.public_id]),
        )
    return suspension


@transaction.atomic
def tell_of_suspensions() -> int:
    """Tell owners, leads and webhooks of the keys that the breaker suspended, and return how many.

    Another run at the same time tells of others.
    """
    untold = Suspension.objects.filter(told_at=None).select_related("key__project__team", "key__owner")
    rows = untold.select_for_update(no_key=True, skip_locked=True, of=("self",)).order_by("pk")
    found = rows[:TOLD_TOGETHER]
    for suspension in found:
        _tell_of_breaker(suspension)
        suspension.told_at = clock.now()
        suspension.save(update_fields=["told_at"])
    return len(found)


def _tell_of_breaker(suspension: Suspension) -> None:
    key = suspension.key
    log.warning("key.suspended", key=key.public_id, cause=suspension.cause)
    facts = {"action": "key.suspended", "object_id": key.public_id, "at": suspension.suspended_at}
    for event in AuditEvent.objects.filter(**facts):
        events.tell(event)
    body = (
        f"Purser suspended the key {key.name} of {key.owner} in project {key.project} on"
        f" {suspension.suspended_at:%-d %B %Y at %H:%M} UTC: {suspension.reason}. Calls with it are refused."
        " Look at what runs with it. The lead of the team can resume it with one click, and plan such an"
        " activity before it starts."
    )
    people = {key.owner, *approvers_for(Role.LEAD, key.project)}
    for person in sorted(people, key=lambda each: each.pk):
        _tell(suspension, person, "{name} spends too fast and is suspended", body)


def _tell(suspension: Suspension, person: User, subject: str, body: str) -> None:
    outbox.put_mail(
        topic="key.suspended",
        recipient=person.email,
        dedupe_key=f"key.suspended:{suspension.public_id}:{person.pk}",
        subject=subject.format(name=suspension.key.name),
        body=body,
        link=reverse("keys:detail", args=[suspension.key.public_id]),
    )
