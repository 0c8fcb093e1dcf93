"""Refused calls of known keys, and why."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import F, Max, Sum

from core import clock
from usage.models import BlockedHour
from usage.selectors.periods import day_starts_at, organisation_today
from usage.types import Blocked, Scope

REASONS = {
    "budget_exhausted": "over its budget",
    "budget_held": "budget held by calls in flight",
    "tier_not_granted": "without access to the tier",
    "model_unpriced": "for a model without a price",
    "model_unknown": "for a model that is not known",
    "project_mismatch": "with another project's key",
    "route_not_allowed": "on a route that is not served",
    "key_suspended": "with a suspended key",
    "rate_limited": "too fast",
}


def blocked_since(scope: Scope, since: datetime) -> list[Blocked]:
    """Return refused calls by project and reason, the most first. One query."""
    rows = (
        BlockedHour.objects.filter(scope.rows, hour__gte=since)
        .values("project_id", "code")
        .annotate(name=F("project__name"), all_calls=Sum("calls"), last=Max("last_at"))
        .order_by("-all_calls", "project_id", "code")
    )
    return [
        Blocked(
            project_id=row["project_id"],
            project_name=row["name"] or "",
            code=row["code"],
            calls=row["all_calls"],
            last_at=row["last"],
        )
        for row in rows
    ]


def blocked_today(scope: Scope, *, at: datetime | None = None) -> list[Blocked]:
    """Return the calls refused since the organisation's midnight. One query."""
    return blocked_since(scope, day_starts_at(organisation_today(at or clock.now())))


def in_words(blocked: Sequence[Blocked]) -> str:
    """Say what the refused calls have in common: `All Invoice OCR, over its budget`."""
    if not blocked:
        return "No call was refused"
    worst = blocked[0]
    share = "All" if len(blocked) == 1 else "Most"
    return f"{share} {worst.project_name}, {REASONS.get(worst.code, worst.code)}"
