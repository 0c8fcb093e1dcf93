"""Writes down when the demo's budgets passed shares of their limits, and a warning of unusual spend.

A job would find them all passed at once, now; here each was passed by the call that passed it.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from budgets import selectors
from budgets.models import AlertKind, Budget, BudgetAlert
from budgets.thresholds import Passed
from budgets.types import BudgetRow
from core.money import ZERO, quantise
from portal.demo.calls import Call
from teams.models import Project
from usage.models import SpendWarning
from usage.selectors.periods import organisation_today
from usage.services import tell_of_forecasts

MOST_BUDGETS = 1_000
UNUSUAL_PROJECT, UNUSUAL_SINCE = "search-rank", timedelta(hours=48)
USUAL_SHARE = Decimal("0.35")


def write_alerts(calls: Sequence[Call], now: datetime) -> None:
    """Write down what was passed up to now, by calls in the order of time, and tell of what is forecast."""
    passed = selectors.newly_passed(at=now, most=MOST_BUDGETS)
    found = selectors.budget_rows(Budget.objects.filter(pk__in=[each.budget_id for each in passed]), at=now)
    rows = {row.id: row for row in found}
    BudgetAlert.objects.bulk_create(
        sorted(
            (alert for each in passed for alert in _alerts(each, rows[each.budget_id], calls)),
            key=lambda alert: (alert.passed_at, alert.percent),
        )
    )
    tell_of_forecasts(at=now)


def warn_of_one(project: Project, calls: Sequence[Call], now: datetime) -> None:
    """Warn of a project, by what it spent lately; that less is usual there is made up."""
    since = now - UNUSUAL_SINCE
    spent = sum((call.cost_usd for call in calls if call.at >= since), ZERO)
    if spent:
        SpendWarning.objects.create(
            project=project,
            day=organisation_today(now),
            since=since,
            warned_at=now,
            spent_usd=spent,
            usual_usd=quantise(spent * USUAL_SHARE),
        )


def _alerts(passed: Passed, row: BudgetRow, calls: Sequence[Call]) -> Iterator[BudgetAlert]:
    """Give an alert for each share; of those passed as the limit came into force, the highest is told."""
    at_once = [percent for percent, at, _ in _moments(passed, row, calls) if at <= passed.limit_since]
    for percent, at, spent_usd in _moments(passed, row, calls):
        yield BudgetAlert(
            budget_id=passed.budget_id,
            window_start=passed.window_start,
            window_end=passed.window_end,
            kind=AlertKind.SPENT,
            percent=percent,
            limit_since=passed.limit_since,
            limit_usd=passed.limit_usd,
            spent_usd=spent_usd,
            held_usd=ZERO,
            is_told=percent not in at_once[:-1],
            passed_at=max(at, passed.limit_since),
        )


def _moments(
    passed: Passed, row: BudgetRow, calls: Sequence[Call]
) -> Iterator[tuple[int, datetime, Decimal]]:
    """Give each share that was passed, when, and what was spent then."""
    left = list(passed.percents)
    spent_usd = ZERO
    for call in calls:
        if call.at < passed.window_start or not _counts(row, call):
            continue
        spent_usd += call.cost_usd
        while left and spent_usd * 100 >= passed.limit_usd * left[0]:
            yield left.pop(0), call.at, spent_usd


def _counts(row: BudgetRow, call: Call) -> bool:
    """Whether a budget counts a call."""
    project = call.key.project
    parts = {
        "organisation": 0,
        "department": project.team.department_id,
        "team": project.team_id,
        "project": project.pk,
        "key": call.key.pk,
    }
    is_filtered_out = row.only_tier not in {None, call.model.tier_id}
    return parts[row.scope_kind.value] == row.scope_id and not is_filtered_out
