"""Ends a key for good. The decision API reads the same row, so a revocation is in force when it commits."""

from django.db import transaction
from django.urls import reverse

from core import clock, outbox
from core.errors import AlreadyDoneError
from keys.models import ApiKey
from keys.ports import access_ended
from keys.services.common import clean_reason, locked, record, require_authority
from teams.models import User


@transaction.atomic
def revoke(*, actor: User, key: ApiKey, reason: str) -> ApiKey:
    """Revoke a key; its owner, the lead, the director and administrators may.

    Raises RoleNeededError for others, and AlreadyDoneError the second time, saying who did it and when.
    """
    text = clean_reason(reason)
    mine = locked(key)
    require_authority(actor, mine)
    if mine.revoked_at:
        raise AlreadyDoneError(
            f"{mine.revoked_by or 'Purser'} revoked {mine.name} on {mine.revoked_at:%d %B %Y at %H:%M} UTC:"
            f" {mine.revoked_reason}",
            by=str(mine.revoked_by or "Purser"),
            at=mine.revoked_at.isoformat(),
            what="revoked",
        )
    end_key(actor=actor, key=mine, reason=text)
    if actor.pk != mine.owner_id:
        _tell_owner(mine, actor)
    return mine


def end_key(*, actor: User | None, key: ApiKey, reason: str) -> None:
    """Revoke a key that the caller locked; the record says who, or that Purser did."""
    before = {"state": key.state}
    key.revoked_at, key.revoked_by, key.revoked_reason = clock.now(), actor, reason
    key.save(update_fields=["revoked_at", "revoked_by", "revoked_reason"])
    record(actor, "key.revoked", key, key, before=before, after={"state": key.state}, reason=reason)
    access_ended.send(ApiKey, key=key, grant=None)


def _tell_owner(key: ApiKey, actor: User) -> None:
    outbox.put_mail(
        topic="key.revoked",
        recipient=key.owner.email,
        dedupe_key=f"key.revoked:{key.public_id}",
        subject=f"Your key {key.name} was revoked",
        body=f"{actor} revoked your key {key.name} of project {key.project}: {key.revoked_reason}",
        link=reverse("keys:list"),
    )
