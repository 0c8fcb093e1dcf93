"""Raises what a key may call for a time. A trigger asks for the approved request."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from django.db import transaction

from catalog.models import Tier
from core import clock
from keys.models import ApiKey, Grant
from keys.services.capping import follow_grants
from keys.services.common import locked, record, require_usable
from teams.models import User


@transaction.atomic
def grant(
    *,
    actor: User,
    key: ApiKey,
    tier: Tier,
    model_ids: Sequence[int],
    monthly_cap_usd: Decimal | None,
    days: int,
    source_request: str,
    supersedes: Grant | None = None,
) -> Grant:
    """Let a key call a tier for `days` from now on, with a cap of US dollars a month; `actor` approved it.

    No grant outlives its key: it ends with the key when that comes first. An empty `model_ids` means every
    model of the tier. Raises KeyEndedError when the key is revoked or expired.
    """
    mine = locked(key)
    require_usable(mine)
    now = clock.now()
    given = Grant.objects.create(
        key=mine,
        tier=tier,
        model_ids=sorted(model_ids),
        monthly_cap_usd=monthly_cap_usd,
        starts_at=now,
        expires_at=min(now + timedelta(days=days), mine.expires_at),
        source_request=source_request,
        granted_by=actor,
        supersedes=supersedes,
        created_at=now,
    )
    after = {
        "key": mine,
        "tier": tier.number,
        "model_ids": given.model_ids,
        "monthly_cap_usd": monthly_cap_usd,
        "expires_at": given.expires_at,
        "source_request": source_request,
    }
    record(actor, "grant.given", given, mine, after=after)
    follow_grants(actor=actor, key=mine, tier=tier, reason=f"Approved request {source_request}")
    return given
