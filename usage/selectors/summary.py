"""The one pass over the roll-up that the Overview is made of, and the moment it is made at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Sum

from core.money import ZERO
from usage.forecast import HISTORY_DAYS, expected_end, since_first_use
from usage.selectors.periods import (
    custom,
    day_starts_at,
    elapsed_share,
    end_of,
    last_month,
    organisation_today,
    this_month,
)
from usage.selectors.planned import Rises, extra_usd, price_rises
from usage.selectors.rollup import days_by_project, days_in, days_of
from usage.types import Forecast, Period, Scope

TREND_WEEKS = 13
Group = tuple[int | None, date | None, int | None, str | None, Decimal]
COLUMNS = ("day", "tier_id", "model_id", "cost_usd")
# One pass by project and day; what is older makes nothing but the trend, so it is summed by week, under its
# first day. A second pass, over the period alone, is summed by all that is asked of it at once: every set of
# groups that a row is counted in costs as much as reading it.
SUMMARY = """
    SELECT project_id, CASE WHEN day >= %s THEN day ELSE day - (day - %s) %% 7 END, NULL::int, NULL::text,
           sum(cost_usd)
    FROM ({by_project}) e WHERE day BETWEEN %s AND %s GROUP BY 1, 2
    UNION ALL
    SELECT NULL, p.day, p.tier_id, CASE WHEN p.day IS NULL THEN coalesce(m.name, '') END, p.usd
    FROM (
      SELECT day, tier_id, model_id, sum(usd) AS usd
      FROM (SELECT day, tier_id, model_id, sum(cost_usd) AS usd
            FROM ({rows}) d WHERE day BETWEEN %s AND %s GROUP BY 1, 2, 3) c
      GROUP BY GROUPING SETS ((day, tier_id), (model_id))
    ) p LEFT JOIN catalog_llmmodel m ON m.id = p.model_id
"""


@dataclass(frozen=True, kw_only=True)  # no slots: what follows from it is asked for every project
class Moment:
    """Now, as the Overview needs it: the organisation's day, its passed share, the period looked at."""

    now: datetime
    today: date
    elapsed: Decimal
    period: Period

    @cached_property
    def month(self) -> Period:
        """Return the running month."""
        return this_month(self.today)

    @cached_property
    def is_running(self) -> bool:
        """Whether the period is the running month, which has a forecast."""
        return self.period.first_day == self.month.first_day and self.period.last_day == self.month.last_day

    @cached_property
    def has_limits(self) -> bool:
        """Whether monthly limits can be held against the period."""
        before = last_month(self.today)
        return self.is_running or (self.period.first_day, self.period.last_day) == (
            before.first_day,
            before.last_day,
        )

    @cached_property
    def account_period(self) -> Period:
        """Return the month whose limits count: the period, or the running one when that is no month."""
        return self.period if self.has_limits else self.month

    @cached_property
    def is_past(self) -> bool:
        """Whether the period is the month before, which has limits and nothing left to forecast."""
        return self.has_limits and not self.is_running

    @cached_property
    def budgets_at(self) -> datetime | None:
        """Return when budgets are looked at: the end of last month, or now (None)."""
        if not self.is_past:
            return None
        return end_of(self.period.last_day)

    @cached_property
    def named_at(self) -> datetime | None:
        """Return the moment whose names the period bears: its end once it is over, or now (None)."""
        return end_of(self.period.last_day) if self.period.last_day < self.today else None

    @cached_property
    def recent_from(self) -> date:
        """Return the first day that is looked at by itself; of the days before, only weeks are."""
        pace = self.today - timedelta(days=HISTORY_DAYS)
        return min(pace, self.period.first_day, self.account_period.first_day)

    @cached_property
    def trend_from(self) -> date:
        """Return the first day of the oldest week of the trend."""
        return self.today - timedelta(days=7 * TREND_WEEKS - 1)

    @cached_property
    def days_left(self) -> Decimal:
        """Return the days from now to the end of the running month."""
        return (self.month.last_day - self.today).days + 1 - self.elapsed

    def complete_days(self, number: int) -> Sequence[date]:
        """Return so many days up to yesterday, the oldest first."""
        return _days_before(self.today, number)


@lru_cache(maxsize=32)
def _days_before(day: date, number: int) -> tuple[date, ...]:
    return tuple(day - timedelta(days=back) for back in range(number, 0, -1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Amounts in US dollars by day, and by project and day; in the period by day and tier, and by model; of
    days before the recent ones by project and the first day of a week.
    """

    moment: Moment
    by_day_tier: Mapping[tuple[date, int], Decimal]
    by_day: Mapping[date, Decimal]
    by_project_day: Mapping[int, Mapping[date, Decimal]]
    by_project_week: Mapping[int, Mapping[date, Decimal]]
    by_model: Mapping[str, Decimal]
    rises: Rises
    rising: Mapping[int, Mapping[int, Decimal]]  # of models whose price will change, by project, of the pace

    @property
    def project_ids(self) -> set[int]:
        """Return the projects that anything was spent for, in the recent days or before."""
        return self.by_project_day.keys() | self.by_project_week.keys()

    def project_usd(self, project_id: int, period: Period) -> Decimal:
        """Return the cost of a project in a period."""
        days = self.by_project_day.get(project_id, {})
        return sum((usd for day, usd in days.items() if period.first_day <= day <= period.last_day), ZERO)

    def forecast(
        self, by_day: Mapping[date, Decimal], spent_usd: Decimal, *, project_ids: Collection[int]
    ) -> Forecast | None:
        """Forecast the running month from what each day cost, with known changes of the prices of what these
        projects use; None for a month that is over.
        """
        if self.moment.is_past:
            return None
        daily = since_first_use([by_day.get(day, ZERO) for day in self.moment.complete_days(HISTORY_DAYS)])
        extra = self._extra_usd(project_ids, days=len(daily))
        return expected_end(daily, spent_usd=spent_usd, days_left=self.moment.days_left, extra_usd=extra)

    def _extra_usd(self, project_ids: Collection[int], *, days: int) -> Decimal:
        if not self.rising or not days:
            return ZERO
        per_day: dict[int, Decimal] = {}
        for project in project_ids:
            for model, usd in self.rising.get(project, {}).items():
                per_day[model] = per_day.get(model, ZERO) + usd / days
        ends_at = day_starts_at(self.moment.month.last_day + timedelta(days=1))
        return extra_usd(per_day, self.rises, now=self.moment.now, ends_at=ends_at)

    def trend(self, project_id: int) -> tuple[Decimal, ...]:
        """Return the cost of a project in each of the last 13 weeks, the last one ending today."""
        by_week = [ZERO] * TREND_WEEKS
        for parts in (self.by_project_week, self.by_project_day):
            for day, usd in parts.get(project_id, {}).items():
                weeks_ago = (self.moment.today - day).days // 7
                if 0 <= weeks_ago < TREND_WEEKS:
                    by_week[weeks_ago] += usd
        return tuple(reversed(by_week))

    def per_day(self, number: int, *, before: int = 0) -> Decimal:
        """Return the mean cost of so many complete days, which end `before` days before yesterday."""
        days = self.moment.complete_days(number + before)[:number]
        return sum((self.by_day.get(day, ZERO) for day in days), ZERO) / number


def make_moment(now: datetime, period: Period | None) -> Moment:
    """Return what the Overview needs to know of now."""
    today = organisation_today(now)
    return Moment(now=now, today=today, elapsed=elapsed_share(now), period=period or this_month(today))


def read_summary(scope: Scope, moment: Moment, *, prices_change: bool = True) -> Summary:
    """Read the roll-up of a scope, from 13 weeks ago or the period's start if that is earlier.

    Two queries, five when a price is known to change in the running month; one when it is known that none
    will.
    """
    recent_from = moment.recent_from
    by_day_tier: dict[tuple[date, int], Decimal] = {}
    by_day: dict[date, Decimal] = {}
    by_project: dict[int, dict[date, Decimal]] = {}
    by_week: dict[int, dict[date, Decimal]] = {}
    by_model: dict[str, Decimal] = {}
    for project, day, tier, model, usd in _grouped(scope, moment):
        if project is not None and day is not None:
            if day < recent_from:
                by_week.setdefault(project, {})[day] = usd
            else:
                by_project.setdefault(project, {})[day] = usd
                by_day[day] = by_day.get(day, ZERO) + usd
        elif day is not None and tier is not None:
            by_day_tier[day, tier] = usd
        elif model is not None and usd:
            by_model[model] = usd
    rises = price_rises(moment.now, end_of(moment.month.last_day)) if prices_change else {}
    return Summary(
        moment=moment,
        by_day_tier=by_day_tier,
        by_day=by_day,
        by_project_day=by_project,
        by_project_week=by_week,
        by_model=by_model,
        rises=rises,
        rising=_rising(scope, moment, rises) if rises else {},
    )


def _rising(scope: Scope, moment: Moment, rises: Rises) -> dict[int, dict[int, Decimal]]:
    """Return what models whose price will change cost in the days that the pace is taken from, by project."""
    days = moment.complete_days(HISTORY_DAYS)
    rows = days_in(scope, custom(days[0], days[-1])).filter(model_id__in=rises)
    found: dict[int, dict[int, Decimal]] = {}
    for project, model, usd in (
        rows.values_list("project_id", "model_id").annotate(usd=Sum("cost_usd")).order_by()
    ):
        found.setdefault(project, {})[model] = usd
    return found


def _grouped(scope: Scope, moment: Moment) -> list[Group]:
    first, period = moment.recent_from, moment.period
    every_day = (min(first, moment.trend_from), max(moment.today, period.last_day))
    try:
        rows, row_terms = days_of(scope).values(*COLUMNS).order_by().query.sql_with_params()
        by_project, project_terms = days_by_project(scope)
    except EmptyResultSet:  # a scope without anything in it
        return []
    terms = [first, moment.trend_from, *project_terms, *every_day]
    terms += [*row_terms, period.first_day, period.last_day]
    with connection.cursor() as cursor:
        cursor.execute(SUMMARY.format(by_project=by_project, rows=rows), terms)
        groups: list[Group] = cursor.fetchall()
    return groups
