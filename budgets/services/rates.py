"""Sets how fast a key, a project or a team may call: calls and tokens a minute, and calls in flight."""

from dataclasses import asdict

import structlog
from django.db import transaction

from budgets import selectors
from budgets.authority import Powers, powers
from budgets.models import RateLimit, ScopeKind
from budgets.services.common import changed, clean_reason
from budgets.types import Rate, ScopePlace
from core import audit
from core.errors import InvalidInputError
from teams.errors import RoleNeededError
from teams.models import User

log = structlog.get_logger(__name__)

NAMES = ("requests_per_minute", "tokens_per_minute", "parallel_calls")
MOST = {"requests_per_minute": 2**31 - 1, "tokens_per_minute": 2**63 - 1, "parallel_calls": 2**31 - 1}


@transaction.atomic
def set_rate_limit(
    *, actor: User | None, scope_kind: ScopeKind, scope_id: int, rate: Rate, reason: str
) -> RateLimit:
    """Set how fast a scope may call, in force on the next call; None in all three lets everything through.

    Who sets limits sets rates: a lead those of his team's projects and keys, and that of his team itself
    downwards only. The same again writes nothing. The row stays when nothing is limited any more: calls in
    flight count on it. Raises InvalidInputError for a scope without rates or a number below 1, and
    RoleNeededError.
    """
    text = clean_reason(reason)
    _require_numbers(rate)
    place = selectors.scope_place(scope_kind, scope_id)
    if scope_kind not in RateLimit.SCOPES or place.team_id is None:
        raise InvalidInputError("Rates are set on a key, a project or a team that exists.", field="scope")
    may = powers(actor, place)
    if not may.may_change:
        raise RoleNeededError(f"You may not set this rate limit. Ask {may.who_may}.")
    RateLimit.objects.bulk_create(
        [RateLimit(scope_kind=scope_kind, scope_id=scope_id)], ignore_conflicts=True
    )
    limits = RateLimit.objects.filter(scope_kind=scope_kind, scope_id=scope_id)
    mine = limits.select_for_update(no_key=True).order_by("pk").get()
    current = rate_of(mine)
    _require_downwards(place, may, current, rate)
    before, after = changed(asdict(current), asdict(rate), names=NAMES)
    if not after:
        return mine
    for name, value in after.items():
        setattr(mine, name, value)
    # Buckets and calls in flight belong to the decisions, which write them all the time.
    mine.save(update_fields=list(after))
    audit.record(
        actor=actor,
        action="rate_limit.removed" if rate.lets_everything_through else "rate_limit.set",
        subject=mine,
        label=selectors.label_of(mine),
        before=before,
        after=after,
        reason=text,
        department_id=place.department_id,
        team_id=place.team_id,
    )
    log.info("rate_limit.set", rate_limit=mine.public_id, **after)
    return mine


def remove_rate_limit(*, actor: User | None, limit: RateLimit, reason: str) -> RateLimit:
    """Let a scope call as fast as it can. Raises what `set_rate_limit` raises."""
    scope = ScopeKind(limit.scope_kind)
    return set_rate_limit(actor=actor, scope_kind=scope, scope_id=limit.scope_id, rate=Rate(), reason=reason)


def rate_of(limit: RateLimit) -> Rate:
    """Return what a row limits."""
    return Rate(**{name: getattr(limit, name) for name in NAMES})


def _require_numbers(rate: Rate) -> None:
    for name, value in asdict(rate).items():
        if value is not None and not 1 <= value <= MOST[name]:
            raise InvalidInputError("A rate is 1 or more. Leave it out for none.", field=name)


def _require_downwards(place: ScopePlace, may: Powers, current: Rate, wanted: Rate) -> None:
    """Refuse a lead what makes his own team faster."""
    if not may.as_lead or place.kind is not ScopeKind.TEAM:
        return
    for name, was in asdict(current).items():
        new = getattr(wanted, name)
        if was is not None and (new is None or new > was):
            raise RoleNeededError(
                f"A lead does not raise the rates of their own team, {was:,} here. Ask {may.who_may}."
            )
