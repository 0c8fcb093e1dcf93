"""Keys as pages of other apps need them: what they may call, and what people call them."""

from collections.abc import Collection

from catalog.ports import GrantedTier
from core import clock
from keys.models import ApiKey, Grant
from teams.models import User


def granted_tiers(user: User) -> list[GrantedTier]:
    """Return what the person's own usable keys may call now beyond Tier 1, and until when. One query."""
    now = clock.now()
    found = Grant.objects.filter(
        key__owner=user,
        key__revoked_at__isnull=True,
        key__suspended_at__isnull=True,
        key__expires_at__gt=now,
        revoked_at__isnull=True,
        starts_at__lte=now,
        expires_at__gt=now,
    )
    return [
        GrantedTier(
            tier=grant.tier_id,
            project_id=grant.key.project_id,
            until=min(grant.expires_at, grant.key.expires_at),
        )
        for grant in found.select_related("key")
    ]


def key_labels(user: User, key_ids: Collection[int]) -> dict[int, str]:
    """Return the labels, such as `nightly of Ada Moreno`, of those keys that the user may see. One query."""
    rows = ApiKey.objects.visible_to(user).filter(pk__in=key_ids).values_list("pk", "name", "owner__name")
    return {pk: f"{name} of {owner}" for pk, name, owner in rows}
