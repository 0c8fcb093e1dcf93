"""Shows a secret, once: it is made here, returned, and only its digest is kept."""

from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from core import clock
from core.errors import NotAllowedError
from keys import secrets
from keys.errors import AlreadyRevealedError
from keys.models import ApiKey
from keys.services.common import locked, record, require_usable
from teams.models import User

WRITTEN = ("pepper_id", "secret_hmac", "prefix", "last4", "revealed_at")
SET_ASIDE = (
    "previous_hmac",
    "previous_pepper_id",
    "previous_masked",
    "previous_until",
    "rotation_asked_at",
    "rotation_overlap_hours",
)
SHOWN_CHARACTERS = len(secrets.PREFIX) + 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """A key with its secret, for one response; the secret is no part of the representation."""

    key: ApiKey
    token: str = field(repr=False)


@sensitive_variables("token")
@transaction.atomic
def reveal(*, actor: User, key: ApiKey) -> Revealed:
    """Make the secret of a key and return it; only its owner may, exactly once, and once after a rotation.

    After a rotation the secret before starts its overlap in the same transaction. Raises AlreadyRevealedError
    the second time, with the key's metadata and without its secret, KeyEndedError when it is revoked or
    expired, NotAllowedError for anybody but the owner.
    """
    mine = locked(key)
    if actor.pk != mine.owner_id or not actor.is_active:
        raise NotAllowedError(
            f"Only {mine.owner}, who owns this key, may reveal it. Issue a key of your own."
        )
    require_usable(mine)
    if mine.revealed_at is not None and not mine.awaits_successor:
        raise AlreadyRevealedError(
            f"The secret of {mine.name} was shown on {mine.revealed_at:%d %B %Y at %H:%M} UTC"
            " and was not kept. If it is lost, revoke this key and issue another.",
            key=mine.public_id,
            masked=mine.masked,
            revealed_at=mine.revealed_at.isoformat(),
        )
    token = secrets.new_token()
    before = _put_aside(mine) if mine.awaits_successor else {}
    mine.pepper_id, mine.secret_hmac = secrets.sign(token)
    mine.prefix, mine.last4, mine.revealed_at = token[:SHOWN_CHARACTERS], token[-4:], clock.now()
    mine.save(update_fields=[*WRITTEN, *(SET_ASIDE if before else ())])
    after = {"masked": mine.masked, **({"previous_until": mine.previous_until} if before else {})}
    record(actor, "key.rotated" if before else "key.revealed", mine, mine, before=before, after=after)
    return Revealed(key=mine, token=token)


def _put_aside(key: ApiKey) -> dict[str, str]:
    """Let the present secret become the one before, until its overlap ends; say what it was."""
    assert key.rotation_overlap_hours is not None
    key.previous_hmac, key.previous_pepper_id = key.secret_hmac, key.pepper_id
    key.previous_masked = key.masked
    key.previous_until = clock.now() + timedelta(hours=key.rotation_overlap_hours)
    key.rotation_asked_at = key.rotation_overlap_hours = None
    return {"masked": key.previous_masked}
