"""Shows a secret, once: it is made here, returned, and only its digest is kept."""

from dataclasses import dataclass, field

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from core import clock
from core.errors import NotAllowedError
from keys import secrets
from keys.errors import AlreadyRevealedError
from keys.models import ApiKey
from keys.services.common import locked, record, require_usable
from teams.models import User

SHOWN_CHARACTERS = len(secrets.PREFIX) + 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """A key with its secret, for one response; the secret is no part of the representation."""

    key: ApiKey
    token: str = field(repr=False)


@sensitive_variables("token")
@transaction.atomic
def reveal(*, actor: User, key: ApiKey) -> Revealed:
    """Make the secret of a key and return it; only its owner may, exactly once.

    Raises AlreadyRevealedError the second time, with the key's metadata and without its secret, KeyEndedError
    when it is revoked or expired, NotAllowedError for anybody but the owner.
    """
    mine = locked(key)
    if actor.pk != mine.owner_id or not actor.is_active:
        raise NotAllowedError(
            f"Only {mine.owner}, who owns this key, may reveal it. Issue a key of your own."
        )
    require_usable(mine)
    if mine.revealed_at is not None:
        raise AlreadyRevealedError(
            f"The secret of {mine.name} was shown on {mine.revealed_at:%d %B %Y at %H:%M} UTC"
            " and was not kept. If it is lost, revoke this key and issue another.",
            key=mine.public_id,
            masked=mine.masked,
            revealed_at=mine.revealed_at.isoformat(),
        )
    token = secrets.new_token()
    mine.pepper_id, mine.secret_hmac = secrets.sign(token)
    mine.prefix, mine.last4, mine.revealed_at = token[:SHOWN_CHARACTERS], token[-4:], clock.now()
    mine.save(update_fields=["pepper_id", "secret_hmac", "prefix", "last4", "revealed_at"])
    record(actor, "key.revealed", mine, mine, after={"masked": mine.masked})
    return Revealed(key=mine, token=token)
