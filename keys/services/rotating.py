"""Gives a key another secret. The one before goes on for an overlap, so that nothing stops meanwhile.

Somebody asks; the owner reveals the new secret, and only then does the overlap start. Name, grants, budgets
and spend stay: it is one key with two secrets, never more (trigger).
"""

from django.db import transaction
from django.urls import reverse

from core import clock, outbox
from core.errors import InvalidInputError
from core.words import counted
from keys.errors import NotRevealedError, RotationRunningError
from keys.models import MAX_OVERLAP_HOURS, ApiKey
from keys.services.common import locked, record, require_authority, require_usable
from teams.models import User

DEFAULT_OVERLAP_HOURS = 24


@transaction.atomic
def rotate(*, actor: User, key: ApiKey, overlap_hours: int = DEFAULT_OVERLAP_HOURS) -> ApiKey:
    """Let the owner reveal a new secret; the present one then lasts `overlap_hours` more, 0 to 168.

    The owner, the lead, the director and administrators may. The same again changes nothing, another overlap
    replaces the first. Raises RoleNeededError, KeyEndedError, NotRevealedError for a key without a secret,
    RotationRunningError while the secret before the present one is live, and InvalidInputError.
    """
    if not 0 <= overlap_hours <= MAX_OVERLAP_HOURS:
        raise InvalidInputError(
            f"Choose an overlap of 0 to {MAX_OVERLAP_HOURS} hours.", field="overlap_hours"
        )
    mine = locked(key)
    require_authority(actor, mine)
    require_usable(mine)
    if mine.revealed_at is None:
        raise NotRevealedError(f"{mine.name} has no secret yet. Its owner can reveal it.")
    if mine.previous_is_live:
        raise RotationRunningError(
            f"{mine.name} has two live secrets: {mine.masked}, and {mine.previous_masked} until"
            f" {mine.previous_until:%d %B %Y at %H:%M} UTC. End the older one first, or wait.",
            masked=mine.masked,
            previous_masked=mine.previous_masked,
            previous_until=mine.previous_until.isoformat() if mine.previous_until else None,
        )
    if mine.rotation_overlap_hours == overlap_hours:
        return mine
    before = {"overlap_hours": mine.rotation_overlap_hours}
    mine.rotation_asked_at = mine.rotation_asked_at or clock.now()
    mine.rotation_overlap_hours = overlap_hours
    mine.save(update_fields=["rotation_asked_at", "rotation_overlap_hours"])
    record(actor, "key.rotation_asked", mine, mine, before=before, after={"overlap_hours": overlap_hours})
    if actor.pk != mine.owner_id:
        rest = f"goes on for {counted(overlap_hours, 'hour')} from then" if overlap_hours else "ends then"
        outbox.put_mail(
            topic="key.rotation_asked",
            recipient=mine.owner.email,
            dedupe_key=f"key.rotation_asked:{mine.public_id}:{mine.rotation_asked_at.isoformat()}",
            subject=f"Your key {mine.name} is to get a new secret",
            body=f"{actor} asks you to rotate your key {mine.name} of project {mine.project}. Reveal the new"
            f" secret; the present one {rest}.",
            link=reverse("keys:reveal", args=[mine.public_id]),
        )
    return mine


@transaction.atomic
def end_previous_secret(*, actor: User | None, key: ApiKey, reason: str = "") -> ApiKey:
    """End the secret before the present one now; the present one, its successor, goes on.

    Those who may revoke the key may, and the system after a leak (`actor` None). Again changes nothing.
    """
    mine = locked(key)
    if actor is not None:
        require_authority(actor, mine)
    if not mine.previous_is_live:
        return mine
    before = {"previous_until": mine.previous_until}
    mine.previous_until = clock.now()
    mine.save(update_fields=["previous_until"])
    after = {"masked": mine.previous_masked, "previous_until": mine.previous_until}
    record(actor, "key.previous_secret_ended", mine, mine, before=before, after=after, reason=reason)
    return mine
