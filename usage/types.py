"""What is read of usage. Amounts are US dollars, unrounded; days are the organisation's."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db.models import Q, QuerySet

from budgets.models import ScopeKind
from catalog.pricing import Use
from core import charts
from core.money import ZERO
from keys.models import ApiKey

ALERT_SHARE = Decimal("0.8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What figures are about: everything, or the usage of some departments, teams, projects or keys.

    `budget` is the scope whose own budget the figures are held against, if they are about exactly one.
    """

    label: str
    everything: bool = False
    department_ids: tuple[int, ...] = ()
    team_ids: tuple[int, ...] = ()
    project_ids: tuple[int, ...] = ()
    key_ids: tuple[int, ...] | QuerySet[ApiKey, int] = ()
    budget: tuple[ScopeKind, int] | None = None

    @property
    def rows(self) -> Q:
        """Return the condition on usage rows, by the attribution they were written with."""
        if self.everything:
            return Q()
        parts = {
            "department_id__in": self.department_ids,
            "team_id__in": self.team_ids,
            "project_id__in": self.project_ids,
            "key_id__in": self.key_ids,
        }
        found = Q(pk__in=[])
        for name, ids in parts.items():
            if ids != ():
                found |= Q(**{name: ids})
        return found

    @property
    def projects(self) -> Q:
        """Return the condition on the projects that belong here now."""
        if self.everything:
            return Q()
        return (
            Q(team__department_id__in=self.department_ids)
            | Q(team_id__in=self.team_ids)
            | Q(pk__in=self.project_ids)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The days [first_day, last_day], both included; the last may be to come."""

    first_day: date
    last_day: date
    label: str

    def days_until(self, today: date) -> Iterator[date]:
        """Give the days up to today."""
        for number in range((min(self.last_day, today) - self.first_day).days + 1):
            yield self.first_day + timedelta(days=number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A short verdict: its tone (`ok`, `warn`, `bad`, `info`) and its text."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over some usage; tokens are inclusive totals."""

    calls: int
    cost_usd: Decimal
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What one project, model, tier or key cost; `id` is its primary key."""

    id: int
    name: str
    calls: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRow:
    """One day by tier, Tier 1 first, and the sum since the period's start."""

    day: date
    by_tier_usd: tuple[Decimal, ...]
    to_date_usd: Decimal

    @property
    def total_usd(self) -> Decimal:
        """Return the cost of the day over all tiers."""
        return sum(self.by_tier_usd, ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthRow:
    """One month by tier, Tier 1 first."""

    period: Period
    calls: int
    by_tier_usd: tuple[Decimal, ...]

    @property
    def total_usd(self) -> Decimal:
        """Return the cost of the month over all tiers."""
        return sum(self.by_tier_usd, ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Where a window is expected to end, with its 80 % range, the pace behind it, and the method's name."""

    end_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal
    per_day_usd: Decimal
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How far the figures may be behind, and whether they agree with the gateways'."""

    usage_at: datetime | None
    pulled_at: datetime | None
    reconciled_at: datetime | None
    unmatched: int
    failing_sources: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Refused calls of one project for one reason."""

    project_id: int
    project_public_id: str
    project_name: str
    code: str
    calls: int
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The four figures on top of the Overview. None is "not known" or "no budget"."""

    spent_usd: Decimal
    limit_usd: Decimal | None
    spent_percent: Decimal | None
    period_ends_on: date
    forecast_usd: Decimal | None
    forecast_percent: Decimal | None
    low_usd: Decimal | None
    high_usd: Decimal | None
    forecast_method: str
    over_usd: Decimal | None
    last7_per_day_usd: Decimal
    previous7_per_day_usd: Decimal
    change_percent: Decimal | None
    change: Status | None
    blocked_today: int
    blocked_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A budget that is passed, or will be: `on` is the day, `budget` its public id."""

    tone: str
    title: str
    text: str
    on: date
    project: str
    budget: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRow:
    """One line of the projects table.

    `trend` is the cost of each of the last 13 weeks, `budget` the public id of the monthly budget.
    """

    id: int
    public_id: str
    name: str
    code: str
    owner: str
    tier: str
    status: Status
    spent_usd: Decimal
    limit_usd: Decimal | None
    spent_percent: Decimal | None
    forecast_usd: Decimal | None
    forecast_percent: Decimal | None
    trend: tuple[Decimal, ...]
    budget: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One line of the models table."""

    name: str
    spent_usd: Decimal
    share_percent: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything that the Overview shows of money, from one set of queries."""

    scope: str
    period: Period
    today: date
    tier_names: tuple[str, ...]
    figures: Figures
    days: tuple[DayRow, ...]
    projects: tuple[ProjectRow, ...]
    models: tuple[ModelRow, ...]
    breach: Breach | None
    freshness: Freshness

    @property
    def chart_days(self) -> tuple[charts.DaySpend, ...]:
        """Return the days as the charts take them."""
        return tuple(charts.DaySpend(day=row.day, by_tier_usd=row.by_tier_usd) for row in self.days)

    @property
    def burn_up(self) -> charts.BurnUp:
        """Return the chart of spend to date against the budget, its alert line and the forecast."""
        figures = self.figures
        band = None
        if figures.forecast_usd is not None and figures.low_usd is not None and figures.high_usd is not None:
            band = charts.Forecast(
                end_usd=figures.forecast_usd, low_usd=figures.low_usd, high_usd=figures.high_usd
            )
        return charts.BurnUp(
            first_day=self.period.first_day,
            last_day=self.period.last_day,
            days=self.chart_days,
            budget_usd=figures.limit_usd,
            alert_usd=None if figures.limit_usd is None else figures.limit_usd * ALERT_SHARE,
            forecast=band,
        )

    @property
    def stacked(self) -> charts.Stacked:
        """Return the chart of each day by tier."""
        return charts.Stacked(
            first_day=self.period.first_day,
            last_day=self.period.last_day,
            days=self.chart_days,
            tier_names=self.tier_names,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """What a project consumed of one model."""

    model_id: int
    name: str
    mode: str
    use: Use
    cost_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """What a model would cost a month for the same use; `times_cheaper` is against the model asked for.

    None for a model without a price in force. `asked` marks the models asked for.
    """

    model_id: int
    name: str
    tier_number: int
    tier: str
    monthly_usd: Decimal | None
    times_cheaper: Decimal | None
    asked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """What a key consumed so far: its last day of use, and its cost in this month and altogether."""

    last_day: date
    calls: int
    month_usd: Decimal
    total_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposedTime:
    """What a key did in one of the last times, in US dollars."""

    label: str
    calls: int
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPace:
    """How fast a key spends, in US dollars within an hour, and the most that the breaker lets it."""

    hour_usd: Decimal
    most_usd_an_hour: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyExposure:
    """What a key did lately; `last_used_at` is known for the last 24 hours, before only the day."""

    pace: KeyPace

    last_used_at: datetime | None
    last_used_on: date | None
    times: tuple[ExposedTime, ...]
