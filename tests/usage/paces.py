"""Keys that spend at a pace of their own, as of one Friday evening."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from budgets.models import Budget, ScopeKind, Window
from keys.models import ApiKey, PlannedActivity
from teams.models import Department, Project, Team
from tests import factories
from tests.cast import Cast
from usage.models import KeyHour, KeyMinute

FRIDAY = datetime(2026, 3, 13, 18, 7, 20, tzinfo=UTC)
WEEKS_AGO = range(7 * 24, 28 * 24)  # hours before


def spend(key: ApiKey, usd_by_minutes_ago: Mapping[int, str | Decimal], at: datetime = FRIDAY) -> None:
    """Let calls of the key have cost so much in whole minutes before."""
    minute = at.replace(second=0)
    KeyMinute.objects.bulk_create(
        KeyMinute(key_id=key.pk, minute=minute - timedelta(minutes=ago), cost_usd=Decimal(usd))
        for ago, usd in usd_by_minutes_ago.items()
    )


def history(key: ApiKey, usd_by_hours_ago: dict[int, str], at: datetime = FRIDAY) -> None:
    hour = at.replace(minute=0, second=0)
    KeyHour.objects.bulk_create(
        KeyHour(key_id=key.pk, hour=hour - timedelta(hours=ago), cost_usd=Decimal(usd))
        for ago, usd in usd_by_hours_ago.items()
    )


def budget(cast: Cast, scope: Any, limit: str, *, window: Window = Window.MONTH, **changes: Any) -> Budget:
    kind = {Team: ScopeKind.TEAM, Project: ScopeKind.PROJECT, Department: ScopeKind.DEPARTMENT}
    made = factories.BudgetFactory.create(
        scope_kind=kind.get(type(scope), ScopeKind.KEY),
        scope_id=scope.pk,
        department=cast.payments if scope == cast.cards else cast.product,
        window=window,
        **changes,
    )
    factories.BudgetLimitFactory.create(
        budget=made, amount_usd=Decimal(limit), valid_from=FRIDAY - timedelta(days=60)
    )
    return made


def plan(cast: Cast, key: ApiKey, *, most: str, hours: tuple[float, float]) -> PlannedActivity:
    """Plan activity from so many hours before FRIDAY to so many."""
    return PlannedActivity.objects.create(
        key=key,
        starts_at=FRIDAY - timedelta(hours=hours[0]),
        ends_at=FRIDAY - timedelta(hours=hours[1]),
        most_usd_an_hour=Decimal(most),
        reason="Backfill.",
        planned_by=cast.ben,
    )
