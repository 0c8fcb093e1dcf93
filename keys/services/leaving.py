"""What a leaver's keys do: nothing any more."""

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from core import clock
from core.locks import lock_all_first
from keys.models import ApiKey, ApiToken, Grant
from keys.services.common import clean_reason, locked
from keys.services.revoking import end_key
from keys.services.shrinking import end_grant
from keys.services.tokens import end_token
from teams.models import Team, User


@transaction.atomic
def revoke_keys_of(*, actor: User | None, person: User, reason: str) -> list[ApiKey]:
    """Revoke every key and API token of a person who leaves, with the grants, and return the keys; the caller
    decides whether he leaves. Tokens of services that he answered for end too: he knows them.

    Keys that have ended already stay as they are. Locks the keys in the order of their ids. Again changes
    nothing.
    """
    text = clean_reason(reason)
    now = clock.now()
    ended = _end_keys(actor, ApiKey.objects.filter(owner=person), now, text)
    tokens = ApiToken.objects.visible_to(person).filter(revoked_at__isnull=True, expires_at__gt=now)
    for token in lock_all_first(tokens):
        end_token(actor=actor, token=token, reason=text)
    return ended


@transaction.atomic
def revoke_keys_in_team(*, actor: User | None, person: User, team: Team, reason: str) -> list[ApiKey]:
    """Revoke every key of a person for projects of a team that he leaves, with the grants, and return the
    keys; the caller decides whether he leaves it. Again changes nothing.
    """
    owned = ApiKey.objects.filter(owner=person, project__team=team)
    return _end_keys(actor, owned, clock.now(), clean_reason(reason))


def _end_keys(actor: User | None, owned: QuerySet[ApiKey], now: datetime, reason: str) -> list[ApiKey]:
    keys = [locked(key) for key in owned.filter(revoked_at__isnull=True).order_by("pk")]
    ended = [key for key in keys if key.revoked_at is None and key.expires_at > now]
    for key in ended:
        live = Grant.objects.filter(key=key, revoked_at__isnull=True, expires_at__gt=now)
        for given in lock_all_first(live.select_related("tier")):
            end_grant(actor=actor, key=key, given=given, reason=reason)
        end_key(actor=actor, key=key, reason=reason)
    return ended
