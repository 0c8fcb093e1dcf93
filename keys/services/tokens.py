"""Tokens of the management API: made, revealed once, revoked; recognised at every call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, transaction
from django.views.decorators.debug import sensitive_variables

from core import audit, clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError
from core.locks import lock_all_first, lock_first
from keys import secrets
from keys.errors import AlreadyRevealedError, KeyEndedError
from keys.models import ApiToken, KeyState
from keys.scopes import SCOPES
from keys.services.accounts import answers_for
from keys.services.common import ENDED, clean_name, clean_reason
from teams.models import User

log = structlog.get_logger(__name__)

DEFAULT_TOKEN_DAYS = 90
MAX_TOKEN_DAYS = 365
SHOWN_CHARACTERS = len(secrets.API_PREFIX) + 4
USE_IS_WRITTEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealedToken:
    """A token with its secret, for one response; the secret is no part of the representation."""

    token: ApiToken
    secret: str = field(repr=False)


@transaction.atomic
def make_token(
    *,
    actor: User,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    owner: User | None = None,
) -> ApiToken:
    """Make a token for the actor himself, or for a service that he answers for, awaiting its reveal; it ends
    after 90 days unless said otherwise.

    A second one with a name that still waits is that one. Raises NotAllowedError for somebody else's owner,
    InvalidInputError for an empty name, no scope, an unknown one, or an end that is past or more than a year
    away.
    """
    mine = owner or actor
    # One token at a time, and none while who asks leaves: whether he is here is read behind the lock.
    people = lock_all_first(User.objects.filter(pk__in=(actor.pk, mine.pk)))
    here = next(person for person in people if person.pk == actor.pk)
    if not answers_for(here, mine):
        raise NotAllowedError("Make tokens for yourself and for services that you answer for.")
    label, now = clean_name(name), clock.now()
    wanted = sorted(set(scopes))
    if not wanted or not set(wanted) <= SCOPES.keys():
        raise InvalidInputError("Choose what the token is good for.", field="scopes")
    ends_at = expires_at or now + timedelta(days=DEFAULT_TOKEN_DAYS)
    if not now < ends_at <= now + timedelta(days=MAX_TOKEN_DAYS):
        raise InvalidInputError(f"Choose an end within the next {MAX_TOKEN_DAYS} days.", field="expires_at")
    waiting = ApiToken.objects.filter(
        owner=mine, name=label, scopes=wanted, revealed_at__isnull=True, revoked_at__isnull=True
    )
    same = waiting.filter(expires_at__gt=now).order_by("pk").first()
    if same is not None:
        return same
    token = ApiToken.objects.create(name=label, owner=mine, scopes=wanted, created_at=now, expires_at=ends_at)
    after = {"name": label, "owner": mine, "scopes": wanted, "expires_at": ends_at}
    audit.record(actor=actor, action="token.made", subject=token, after=after)
    return token


@sensitive_variables("secret")
@transaction.atomic
def reveal_token(*, actor: User, token: ApiToken) -> RevealedToken:
    """Make the secret of a token and return it; only its owner may, or who answers for it, exactly once.

    Raises NotAllowedError, KeyEndedError, and AlreadyRevealedError the second time.
    """
    mine = _locked(token)
    if not answers_for(actor, mine.owner):
        raise NotAllowedError(f"Only {mine.owner}, who owns this token, may reveal it.")
    if mine.state in ENDED:
        raise KeyEndedError(f"The token {mine.name} has ended. Make another.")
    if mine.revealed_at is not None:
        raise AlreadyRevealedError(
            f"The secret of {mine.name} was shown on {mine.revealed_at:%d %B %Y at %H:%M} UTC"
            " and was not kept. If it is lost, revoke this token and make another.",
            token=mine.public_id,
            masked=mine.masked,
        )
    secret = secrets.new_token(secrets.API_PREFIX)
    mine.pepper_id, mine.secret_hmac = secrets.sign(secret)
    mine.masked_secret = f"{secret[:SHOWN_CHARACTERS]}…{secret[-4:]}"
    mine.revealed_at = clock.now()
    mine.save(update_fields=["pepper_id", "secret_hmac", "masked_secret", "revealed_at"])
    audit.record(actor=actor, action="token.revealed", subject=mine, after={"masked": mine.masked})
    return RevealedToken(token=mine, secret=secret)


@transaction.atomic
def revoke_token(*, actor: User, token: ApiToken, reason: str) -> ApiToken:
    """End a token for good; only its owner may, or who answers for it. In force on the next call.

    Raises NotAllowedError, InvalidInputError without a reason, and AlreadyDoneError the second time.
    """
    text = clean_reason(reason)
    mine = _locked(token)
    if not answers_for(actor, mine.owner):
        raise NotAllowedError(f"Only {mine.owner}, who owns this token, may revoke it.")
    if mine.revoked_at:
        raise AlreadyDoneError(f"{mine.name} was revoked on {mine.revoked_at:%d %B %Y at %H:%M} UTC.")
    end_token(actor=actor, token=mine, reason=text)
    return mine


def end_token(*, actor: User | None, token: ApiToken, reason: str) -> None:
    """Revoke a token that the caller locked; the record says who, or that Purser did."""
    before = {"state": token.state}
    token.revoked_at, token.revoked_by, token.revoked_reason = clock.now(), actor, reason
    token.save(update_fields=["revoked_at", "revoked_by", "revoked_reason"])
    after = {"state": token.state}
    audit.record(
        actor=actor, action="token.revoked", subject=token, before=before, after=after, reason=reason
    )


def live_token(secret: str) -> ApiToken | None:
    """Return the token of a secret with its owner, if both are good now, and note its use. Two queries.

    Garbage is told by its checksum, before the database is asked. A use that cannot be noted stops nobody.
    """
    if not secrets.is_wellformed_api_token(secret):
        return None
    found = ApiToken.objects.filter(secret_hmac__in=secrets.digests(secret), owner__is_active=True)
    token = found.select_related("owner").first()
    if token is None or token.state is not KeyState.LIVE:
        return None
    now = clock.now()
    if token.last_used_at is None or token.last_used_at < now - USE_IS_WRITTEN_EVERY:
        try:
            with transaction.atomic():
                ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        except DatabaseError as error:
            log.warning("token.not_marked_as_used", error=type(error).__name__)
    return token


def _locked(token: ApiToken) -> ApiToken:
    return lock_first(ApiToken.objects.select_related("owner"), token.pk)
