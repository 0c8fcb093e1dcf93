"""Reads the limits that a budget has had, has and is going to have."""

from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from budgets.expressions import ClockTimestamp
from budgets.models import BudgetLimit, LimitKind
from budgets.types import LimitRow, LimitState

PURSER = "Purser"  # set what no person set


def limit_history(
    budget_id: int, *, at: datetime | None = None, known: datetime | None = None
) -> tuple[LimitRow, ...]:
    """Return every limit of a budget, plans included, the latest first; a base limit lasts until the next.

    States are those at the moment `at`, by what was recorded until `known`; both are now unless given. One
    query.
    """
    limits = BudgetLimit.objects.filter(budget=budget_id).select_related("actor")
    if known is not None:
        limits = limits.filter(recorded_at__lte=known)
    # By the database's clock: a limit that was just set is in force, whatever the clock of a web server says.
    return _history(limits.annotate(read_at=ClockTimestamp()).order_by("-valid_from", "-pk"), at)


def limit_in_force(history: Iterable[LimitRow]) -> Decimal | None:
    """Return the limit that a history has in force: its base and the top-ups. None is no limit."""
    amounts = [row.amount_usd for row in history if row.state == LimitState.IN_FORCE]
    return None if None in amounts or not amounts else sum((a for a in amounts if a is not None), Decimal(0))


def limits_of(budget_ids: Collection[int]) -> dict[int, tuple[LimitRow, ...]]:
    """Return every limit of several budgets, as `limit_history` does of one. One query."""
    found: dict[int, list[Any]] = {budget: [] for budget in budget_ids}
    limits = BudgetLimit.objects.filter(budget__in=budget_ids).select_related("actor")
    for limit in limits.annotate(read_at=ClockTimestamp()).order_by("-valid_from", "-pk"):
        found[limit.budget_id].append(limit)
    return {budget: _history(rows, None) for budget, rows in found.items()}


def _history(limits: Iterable[Any], at: datetime | None) -> tuple[LimitRow, ...]:
    rows: list[LimitRow] = []
    later: BudgetLimit | None = None
    for limit in limits:
        now = at or limit.read_at
        if limit.kind == LimitKind.TOP_UP:
            rows.append(_row(limit, _state(limit.valid_from, limit.valid_until, now), limit.valid_until))
            continue
        if later is not None and later.valid_from == limit.valid_from:
            rows.append(_row(limit, LimitState.REPLACED, None))
            continue
        next_at = later.valid_from if later is not None else None
        rows.append(_row(limit, _state(limit.valid_from, next_at, now), next_at))
        later = limit
    return tuple(rows)


def _state(begins_at: datetime, ends_at: datetime | None, now: datetime) -> LimitState:
    if begins_at > now:
        return LimitState.PLANNED
    return LimitState.PAST if ends_at is not None and ends_at <= now else LimitState.IN_FORCE


def _row(limit: BudgetLimit, state: LimitState, until: datetime | None) -> LimitRow:
    return LimitRow(
        amount_usd=limit.amount_usd,
        kind="" if limit.kind == LimitKind.BASE else LimitKind(limit.kind).label,
        state=state,
        in_force_since=limit.valid_from,
        until=until,
        actor=str(limit.actor or PURSER),
        reason=limit.reason,
        recorded_at=limit.recorded_at,
    )
