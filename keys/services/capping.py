"""Keeps a key's monthly limit for a tier equal to the largest cap of the grants in force, at every moment.

Access is the OR of the grants, so the largest cap rules. When a grant starts or lapses by time nobody runs:
the limit of that moment was written, dated, when the grant was. A decision reads both by one clock.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from budgets.models import Budget, Mode, ScopeKind, Window
from budgets.services import limits
from budgets.services.common import lock_limits
from catalog.models import Tier
from core import clock
from keys.models import ApiKey, Grant
from teams.models import User


def follow_grants(*, actor: User | None, key: ApiKey, tier: Tier, reason: str) -> None:
    """Set the limit that rules now, by `actor`, and plan those of the moments when a grant starts or ends.

    With no grant in force the limit stays as it was: the key may not call the tier at all. The caller holds
    the key's lock. Raises what `budgets` raises for a cap that does not fit the budgets above.
    """
    now = max(clock.now(), lock_limits(Window.MONTH))
    grants = list(Grant.objects.filter(key=key, tier=tier, expires_at__gt=now))
    budget = _budget(key, tier)
    rules_now, amount_usd = _cap_at(grants, now)
    if budget is None:
        if not any(each.monthly_cap_usd is not None for each in grants if each.revoked_at is None):
            return
        budget = limits.open_budget(
            actor=actor,
            scope_kind=ScopeKind.KEY,
            scope_id=key.pk,
            department=key.project.team.department,
            window=Window.MONTH,
            mode=Mode.HARD,
            amount_usd=amount_usd,
            reason=reason,
            only_tier=tier,
        )
    elif rules_now:
        limits.change_limit(actor=actor, budget=budget, amount_usd=amount_usd, reason=reason, confirm=True)
    _plan(budget, grants, after=now)


def _plan(budget: Budget, grants: Iterable[Grant], *, after: datetime) -> None:
    """Write the limit of every coming moment at which a grant starts or ends, those of ended grants too:
    what was planned with them no longer holds.
    """
    edges = {edge for each in grants for edge in (each.starts_at, each.expires_at) if edge > after}
    for edge in sorted(edges):
        rules, amount_usd = _cap_at(grants, edge)
        if rules:
            limits.change_limit(
                actor=None,
                budget=budget,
                amount_usd=amount_usd,
                reason="The grants in force from this moment on",
                valid_from=edge,
                confirm=True,
            )


def _cap_at(grants: Iterable[Grant], at: datetime) -> tuple[bool, Decimal | None]:
    """Return whether a grant is in force at a moment, and the largest cap; None is no cap."""
    caps = [
        each.monthly_cap_usd
        for each in grants
        if each.revoked_at is None and each.starts_at <= at < each.expires_at
    ]
    return bool(caps), None if None in caps else max((cap for cap in caps if cap is not None), default=None)


def _budget(key: ApiKey, tier: Tier) -> Budget | None:
    return Budget.objects.filter(
        scope_kind=ScopeKind.KEY,
        scope_id=key.pk,
        window=Window.MONTH,
        mode=Mode.HARD,
        only_tier=tier,
        closed_at__isnull=True,
    ).first()
