"""How far forecasts are from the truth, over two years of months of eight teams that are made up but not
unlike real ones: office hours, machines that never rest, batches; growth, noise, launches, quiet weeks.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from statistics import fmean

from usage.forecast import expected_end, linear, since_first_use
from usage.types import Forecast

FIRST, YEARS = date(2025, 1, 1), 2
OFFICE = (1.1, 1.15, 1.15, 1.1, 0.95, 0.15, 0.12)
NEVER_RESTS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.8)
BATCHES = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5)
TEAMS = (
    *((OFFICE, usd) for usd in (120, 40, 300, 75)),
    *((BATCHES, usd) for usd in (60, 20)),
    *((NEVER_RESTS, usd) for usd in (90, 200)),
)
Forecaster = Callable[[Sequence[Decimal], Decimal, Decimal], Forecast | None]


def daily_costs(random: Random, week: Sequence[float], usd: float) -> list[Decimal]:
    """Return what a team spends on each day."""
    costs, launch, quiet = [], 1.0, 0
    for number in range(366 * YEARS + 40):
        day = FIRST + timedelta(days=number)
        launch = random.uniform(2, 4) if random.random() < 0.01 else 1 + (launch - 1) * 0.6
        quiet = 7 if random.random() < 0.004 else quiet - 1
        level = usd * 1.0015**number * launch * (0.4 if quiet > 0 else 1)
        costs.append(Decimal(f"{level * week[day.weekday()] * random.gammavariate(30, 1 / 30):.6f}"))
    return costs


def errors(costs: Sequence[Decimal], day_of_month: int, forecaster: Forecaster) -> Iterator[float]:
    """Return how far the forecasts of a day of the month were from what the months cost, in shares of it."""
    for month in range(2, 12 * YEARS):
        first = date(FIRST.year + month // 12, month % 12 + 1, 1)
        begin, days = (first - FIRST).days, monthrange(first.year, first.month)[1]
        today = begin + day_of_month
        truth = sum(costs[begin : begin + days])
        found = forecaster(
            costs[max(today - 21, 0) : today],
            sum(costs[begin:today], Decimal(0)),
            Decimal(days - day_of_month),
        )
        assert found is not None
        yield abs(float(found.end_usd / truth) - 1)


def by_weekday(known: Sequence[Decimal], spent: Decimal, left: Decimal) -> Forecast | None:
    return expected_end(known, spent_usd=spent, days_left=left)


def by_the_mean(known: Sequence[Decimal], spent: Decimal, left: Decimal) -> Forecast | None:
    return linear(since_first_use(known[-14:]), spent_usd=spent, days_left=left)


def test_the_weekly_pattern_is_nearer_to_the_truth_than_the_mean() -> None:
    random = Random(11)  # noqa: S311  not a secret
    books = [daily_costs(random, *team) for team in TEAMS]
    for day in (5, 10, 20):
        weekly, mean = (
            fmean(error for costs in books for error in errors(costs, day, forecaster))
            for forecaster in (by_weekday, by_the_mean)
        )
        print(f"day {day}: {weekly:.1%} by weekday, {mean:.1%} by the mean")
        assert weekly < mean
