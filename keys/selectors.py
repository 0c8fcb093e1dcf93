"""What keys exist and what they may call now. When a key was last used is a matter of `usage`."""

from django.db.models import Prefetch, QuerySet

from keys.models import ApiKey, Grant, GrantState, KeyState
from teams.models import User

DEFAULT_TIER = 1
USABLE = (KeyState.AWAITING_REVEAL, KeyState.LIVE)


def listed(user: User) -> QuerySet[ApiKey]:
    """Return the keys that the user may see, the newest first, with all that a row shows. Two queries."""
    grants = Grant.objects.select_related("tier").order_by("tier_id", "-expires_at", "-id")
    return (
        ApiKey.objects.visible_to(user)
        .select_related("project__team__department", "owner", "revoked_by")
        .prefetch_related(Prefetch("grants", queryset=grants))
    )


def active_grants(key: ApiKey) -> list[Grant]:
    """Return the grants of a key that are active now, using those that `listed()` fetched."""
    return [grant for grant in key.grants.all() if grant.state is GrantState.ACTIVE]


def tiers_now(key: ApiKey) -> list[int]:
    """Return the tiers that the key may call now, or could once revealed; none when it has ended."""
    if key.state not in USABLE:
        return []
    return sorted({DEFAULT_TIER, *(grant.tier_id for grant in active_grants(key))})
