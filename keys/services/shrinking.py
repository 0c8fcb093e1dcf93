"""Takes back what a grant gave, or a part of it. It may only shrink: more needs a new approval (trigger)."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.urls import reverse

from core import clock, outbox
from core.errors import AlreadyDoneError, InvalidInputError
from core.locks import lock_first
from core.money import format_usd
from keys.errors import GrantEndedError
from keys.models import ApiKey, Grant, GrantState
from keys.ports import access_ended
from keys.services.capping import follow_grants
from keys.services.common import clean_reason, locked, record, require_authority
from teams.models import User


@transaction.atomic
def revoke_grant(*, actor: User | None, grant: Grant, reason: str) -> Grant:
    """End a grant now and leave the key and its other grants as they are; those who may revoke the key may.

    `actor` None is Purser itself, as a consequence of what somebody else did.

    Raises RoleNeededError for others, and AlreadyDoneError the second time, saying who did it and when.
    """
    text = clean_reason(reason)
    mine = locked(grant.key)
    if actor is not None:
        require_authority(actor, mine)
    given = _locked(grant)
    if given.revoked_at:
        raise AlreadyDoneError(
            f"{given.revoked_by or 'Purser'} ended {given} on {given.revoked_at:%d %B %Y at %H:%M} UTC:"
            f" {given.revoked_reason}",
            by=str(given.revoked_by or "Purser"),
            at=given.revoked_at.isoformat(),
            what="revoked",
        )
    end_grant(actor=actor, key=mine, given=given, reason=text)
    if actor is None or actor.pk != mine.owner_id:
        _tell_owner(mine, given, "grant.revoked", f"{actor or 'Purser'} ended the {given.tier} access", text)
    return given


@transaction.atomic
def shrink_grant(
    *,
    actor: User,
    grant: Grant,
    reason: str,
    expires_at: datetime | None = None,
    model_ids: Sequence[int] | None = None,
    monthly_cap_usd: Decimal | None = None,
) -> Grant:
    """Let a grant end sooner, for fewer models, or with a lower cap of US dollars a month, from now on.

    What is None stays. Those who may revoke the key may; the same again changes nothing. Raises
    RoleNeededError, GrantEndedError for one that is over, and InvalidInputError for what would widen it.
    """
    text = clean_reason(reason)
    mine = locked(grant.key)
    require_authority(actor, mine)
    given = _locked(grant)
    if given.state in {GrantState.EXPIRED, GrantState.REVOKED}:
        raise GrantEndedError(f"{given} has ended. For more, ask for access.")
    asked: dict[str, Any] = {
        "expires_at": expires_at,
        "model_ids": None if model_ids is None else sorted(model_ids),
        "monthly_cap_usd": monthly_cap_usd,
    }
    wanted = {name: value for name, value in asked.items() if value not in (None, getattr(given, name))}
    if not wanted:
        return given
    _require_smaller(given, wanted)
    before = {name: getattr(given, name) for name in wanted}
    for name, value in wanted.items():
        setattr(given, name, value)
    given.save(update_fields=list(wanted))
    record(actor, "grant.shrunk", given, mine, before=before, after=wanted, reason=text)
    follow_grants(actor=None, key=mine, tier=given.tier, reason=f"Shrunk grant {given.public_id}")
    if actor.pk != mine.owner_id:
        _tell_owner(mine, given, "grant.shrunk", f"{actor} narrowed the {given.tier} access", text)
    return given


def end_grant(*, actor: User | None, key: ApiKey, given: Grant, reason: str) -> None:
    """Revoke a grant that the caller locked with its key, and let the key's limit follow the others."""
    before = {"state": given.state}
    given.revoked_at, given.revoked_by, given.revoked_reason = clock.now(), actor, reason
    given.save(update_fields=["revoked_at", "revoked_by", "revoked_reason"])
    record(actor, "grant.revoked", given, key, before=before, after={"state": given.state}, reason=reason)
    # A consequence, not a wish of the actor: an owner may give up access without the right to set limits.
    follow_grants(actor=None, key=key, tier=given.tier, reason=f"Ended grant {given.public_id}")
    access_ended.send(Grant, key=key, grant=given)


def _locked(grant: Grant) -> Grant:
    return lock_first(Grant.objects.select_related("tier", "revoked_by"), grant.pk)


def _require_smaller(given: Grant, wanted: dict[str, Any]) -> None:
    """Raise InvalidInputError for the first thing that would grow: the trigger's rules as sentences."""
    ends, models, cap = (wanted.get(name) for name in ("expires_at", "model_ids", "monthly_cap_usd"))
    if ends is not None and not max(clock.now(), given.starts_at) < ends <= given.expires_at:
        raise InvalidInputError(
            f"Choose an end from now to {given.expires_at:%d %B %Y at %H:%M} UTC. To end it now, revoke it.",
            field="expires_at",
        )
    if models is not None and not (models and (not given.model_ids or set(models) <= set(given.model_ids))):
        raise InvalidInputError("Choose one or more of the models that are granted.", field="models")
    if cap is not None and (cap < 0 or (given.monthly_cap_usd is not None and cap > given.monthly_cap_usd)):
        most = format_usd(given.monthly_cap_usd)
        raise InvalidInputError(
            f"Enter a cap of 0 to {most}: a grant may only shrink.", field="monthly_cap_usd"
        )


def _tell_owner(key: ApiKey, given: Grant, topic: str, what: str, reason: str) -> None:
    ended = given.state is GrantState.REVOKED
    outbox.put_mail(
        topic=topic,
        recipient=key.owner.email,
        dedupe_key=f"{topic}:{given.public_id}" + ("" if ended else f":{clock.now().isoformat()}"),
        subject=f"Your access to {given.tier} has ended" if ended else f"Your access to {given.tier} changed",
        body=f"{what} of your key {key.name}: {reason}",
        link=reverse("keys:list"),
    )
