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
    on_behalf_of: User | None = None,
    by_rule: bool = False,
) -> Grant:
    """Let a key call a tier for `days` from now on, with a cap of US dollars a month; `actor` approved it.

    The cap is set with the right of `on_behalf_of`, for whom the actor decided, or with his own; `by_rule`
    with nobody's, as who approved the grant before may hold no role any more: the budgets above bind it. One
    that supersedes another begins where that ends. No grant outlives its key: it ends with the key when
    that comes first. An empty `model_ids` means every model of the tier. Raises KeyEndedError when the key is
    revoked or expired.
    """
    return _grant(
        actor=actor,
        key=key,
        tier=tier,
        model_ids=model_ids,
        monthly_cap_usd=monthly_cap_usd,
        lasts=timedelta(days=days),
        source_request=source_request,
        cap_by=None if by_rule else on_behalf_of or actor,
        supersedes=supersedes,
    )


@transaction.atomic
def grant_for_hours(
    *,
    actor: User,
    key: ApiKey,
    tier: Tier,
    model_ids: Sequence[int],
    monthly_cap_usd: Decimal,
    hours: int,
    source_request: str,
) -> Grant:
    """Let a key call a tier for some hours, because the glass was broken; the policy sets the cap.

    Raises as grant() does.
    """
    return _grant(
        actor=actor,
        key=key,
        tier=tier,
        model_ids=model_ids,
        monthly_cap_usd=monthly_cap_usd,
        lasts=timedelta(hours=hours),
        source_request=source_request,
        cap_by=None,
    )


def _grant(
    *,
    actor: User,
    key: ApiKey,
    tier: Tier,
    model_ids: Sequence[int],
    monthly_cap_usd: Decimal | None,
    lasts: timedelta,
    source_request: str,
    cap_by: User | None,
    supersedes: Grant | None = None,
) -> Grant:
    mine = locked(key)
    require_usable(mine)
    now = clock.now()
    starts_at = supersedes.expires_at if supersedes else now
    given = Grant.objects.create(
        key=mine,
        tier=tier,
        model_ids=sorted(model_ids),
        monthly_cap_usd=monthly_cap_usd,
        starts_at=starts_at,
        expires_at=min(starts_at + lasts, mine.expires_at),
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
    follow_grants(actor=cap_by, key=mine, tier=tier, reason=f"Approved request {source_request}")
    return given
