"""Calls a key something else; what is past keeps the name it had then."""

from django.db import transaction

from core import clock
from keys.models import ApiKey
from keys.services.common import clean_name, locked, record, require_authority, require_usable
from teams.models import FormerName, NamedKind, User


@transaction.atomic
def rename_key(*, actor: User, key: ApiKey, name: str) -> ApiKey:
    """Give a key another name, of up to 80 characters; those who may revoke it may. The same is no change.

    Raises RoleNeededError, KeyEndedError, and InvalidInputError for an empty or a too long name.
    """
    wanted = clean_name(name)
    mine = locked(key)
    require_authority(actor, mine)
    require_usable(mine)
    before = mine.name
    if wanted == before:
        return mine
    FormerName.objects.create(kind=NamedKind.KEY, object_id=mine.pk, name=before, used_until=clock.now())
    mine.name = wanted
    mine.save(update_fields=["name"])
    record(actor, "key.renamed", mine, mine, before={"name": before}, after={"name": wanted})
    return mine
