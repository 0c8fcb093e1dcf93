"""Reads how fast scopes may call."""

from collections.abc import Iterable

from django.db.models import Q, QuerySet

from budgets.models import RateLimit, ScopeKind
from budgets.selectors.places import seen_by
from budgets.types import Rate
from teams.models import User
from teams.selectors import RolesHeld

LIMITS_NOTHING = Q(
    requests_per_minute__isnull=True, tokens_per_minute__isnull=True, parallel_calls__isnull=True
)


def rate_here(kind: ScopeKind, scope_id: int) -> Rate:
    """Return how fast a scope may call by its own limit. One query."""
    rows = RateLimit.objects.filter(scope_kind=kind, scope_id=scope_id)
    numbers = rows.values("requests_per_minute", "tokens_per_minute", "parallel_calls").first()
    return Rate(**numbers) if numbers else Rate()


def visible_rate_limits(
    user: User, *, key_ids: Iterable[int] = (), roles: RolesHeld | None = None
) -> QuerySet[RateLimit]:
    """Return the rate limits of scopes that the user may see; those that limit nothing are none."""
    return RateLimit.objects.filter(seen_by(user, key_ids=key_ids, roles=roles)).exclude(LIMITS_NOTHING)
