"""Finds budgets that passed a share of their limit, or are forecast to pass it, and writes each down once.

Both look at the tables as they are, so they may run twice, late, or beside themselves: what somebody else
wrote meanwhile is left to him by the alert's unique constraint, and so is telling of it.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal

import structlog
from django.db import transaction

from budgets import selectors
from budgets.models import AlertKind, Budget, BudgetAlert
from budgets.thresholds import ALL_OF_IT, Passed, share_to_tell
from budgets.types import BudgetRow, BudgetStanding
from core import clock
from usage.selectors.blocked import exhausted_lately
from usage.selectors.outlook import FORECAST_WINDOWS, forecast_budgets, passes_on
from usage.services.alerts.telling import tell
from usage.types import Forecast

log = structlog.get_logger(__name__)

MOST_TOGETHER = 100  # of budgets in one transaction; the next run goes on


@transaction.atomic
def tell_of_spend(*, at: datetime | None = None) -> int:
    """Write down which shares of their limits budgets have passed, tell of each budget's highest that is
    news, and return how many alerts were told.

    Two queries when nothing is new, a fixed number otherwise.
    """
    refused = exhausted_lately(at=at)
    passed = selectors.newly_passed(at=at, most=MOST_TOGETHER, refused=refused)
    if not passed:
        return 0
    before = selectors.passed_before(passed)
    rows = _rows([each.budget_id for each in passed], at)
    forecasts = forecast_budgets(list(rows.values()), at=at)
    alerts = [
        alert
        for each in passed
        for alert in _alerts_of_spend(
            each,
            told=share_to_tell(each, before.get((each.budget_id, each.window_start), ())),
            row=rows[each.budget_id],
            forecast=forecasts.get(each.budget_id),
            at=at,
        )
    ]
    return _write_down(alerts, rows, at)


@transaction.atomic
def tell_of_forecasts(*, at: datetime | None = None) -> int:
    """Write down which budgets are forecast to pass their limit and have not yet, tell of each, and return
    how many there were. A fixed number of queries.
    """
    found = selectors.not_forecast_to_pass(windows=FORECAST_WINDOWS, at=at)
    forecasts = forecast_budgets([standing for standing, _ in found], at=at)
    over = [
        (standing, standing.limit_usd, since)
        for standing, since in found
        if standing.limit_usd is not None
        and standing.id in forecasts
        and forecasts[standing.id].end_usd > standing.limit_usd
    ][:MOST_TOGETHER]
    if not over:
        return 0
    alerts = [
        _alert_of_forecast(standing, limit_usd, since, forecasts[standing.id], at)
        for standing, limit_usd, since in over
    ]
    return _write_down(alerts, _rows([standing.id for standing, *_ in over], at), at)


def _rows(budget_ids: list[int], at: datetime | None) -> dict[int, BudgetRow]:
    found = selectors.budget_rows(Budget.objects.filter(pk__in=budget_ids), at=at)
    return {row.id: row for row in found}


def _alerts_of_spend(
    passed: Passed, *, told: int | None, row: BudgetRow, forecast: Forecast | None, at: datetime | None
) -> Iterator[BudgetAlert]:
    """Give an alert for each share that was passed; only that of `told` is told."""
    for percent in passed.percents:
        yield BudgetAlert(
            budget_id=passed.budget_id,
            window_start=passed.window_start,
            window_end=passed.window_end,
            kind=AlertKind.SPENT,
            percent=percent,
            limit_since=passed.limit_since,
            limit_usd=passed.limit_usd,
            spent_usd=passed.spent_usd,
            held_usd=passed.held_usd,
            forecast_usd=forecast.end_usd if forecast else None,
            passes_on=passes_on(row, forecast, at=at),
            is_told=percent == told,
            passed_at=at or clock.now(),
        )


def _alert_of_forecast(
    standing: BudgetStanding,
    limit_usd: Decimal,
    limit_since: datetime,
    forecast: Forecast,
    at: datetime | None,
) -> BudgetAlert:
    return BudgetAlert(
        budget_id=standing.id,
        window_start=standing.window_starts_at,
        window_end=standing.window_ends_at,
        kind=AlertKind.FORECAST,
        percent=ALL_OF_IT,
        limit_since=limit_since,
        limit_usd=limit_usd,
        spent_usd=standing.spent_usd,
        held_usd=standing.held_usd,
        forecast_usd=forecast.end_usd,
        passes_on=passes_on(standing, forecast, at=at),
        is_told=True,
        passed_at=at or clock.now(),
    )


def _write_down(alerts: list[BudgetAlert], rows: Mapping[int, BudgetRow], at: datetime | None) -> int:
    """Write alerts down and tell of those that nobody wrote before; return how many were told."""
    BudgetAlert.objects.bulk_create(alerts, ignore_conflicts=True)
    written = BudgetAlert.objects.filter(public_id__in=[alert.public_id for alert in alerts])
    mine = list(written.order_by("pk"))
    told = [alert for alert in mine if alert.is_told]
    if told:
        tell(told, mine, rows, at=at)
        log.info("budget.alerts", told=len(told), passed=len(mine))
    return len(told)
