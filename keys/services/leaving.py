"""What a leaver's keys do: nothing any more."""

from django.db import transaction

from core import clock
from keys.models import ApiKey, Grant
from keys.services.common import clean_reason, locked, record
from teams.models import User


@transaction.atomic
def revoke_keys_of(*, actor: User | None, person: User, reason: str) -> list[ApiKey]:
    """Revoke every key of a person who leaves, with the grants, and return the keys.

    Keys that have ended already stay as they are. Locks the keys in the order of their ids. Again changes
    nothing.
    """
    text = clean_reason(reason)
    now = clock.now()
    owned = ApiKey.objects.filter(owner=person, revoked_at__isnull=True)
    keys = [locked(key) for key in owned.order_by("pk")]
    ended = [key for key in keys if key.revoked_at is None and key.expires_at > now]
    for key in ended:
        live = Grant.objects.filter(key=key, revoked_at__isnull=True, expires_at__gt=now)
        for given in live.select_related("tier").select_for_update(no_key=True, of=("self",)).order_by("pk"):
            was = {"state": given.state}
            given.revoked_at, given.revoked_by, given.revoked_reason = now, actor, text
            given.save(update_fields=["revoked_at", "revoked_by", "revoked_reason"])
            record(actor, "grant.revoked", given, key, before=was, after={"state": given.state}, reason=text)
        before = {"state": key.state}
        key.revoked_at, key.revoked_by, key.revoked_reason = now, actor, text
        key.save(update_fields=["revoked_at", "revoked_by", "revoked_reason"])
        record(actor, "key.revoked", key, key, before=before, after={"state": key.state}, reason=text)
    return ended
