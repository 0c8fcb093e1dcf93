"""The monthly statement of a team."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Q, QuerySet

from budgets.models import Budget, ScopeKind, Window
from budgets.selectors import budget_rows, carried_into, limits_of
from budgets.types import BudgetRow, LimitRow
from core import clock
from core.money import ZERO
from core.together import ask_together
from teams.models import NamedKind, Team
from teams.selectors import former_name_rows, former_names_of
from usage.forecast import HISTORY_DAYS, expected_end, since_first_use
from usage.models import PeriodClose, PeriodState
from usage.selectors.adjustments import Adjustment, adjustment_rows, adjustments_of, sum_of
from usage.selectors.breakdown import KeySpend, breakdown_of, breakdown_rows
from usage.selectors.naming import NamesThen, named_at
from usage.selectors.periods import day_starts_at, end_of, last_days, organisation_today
from usage.selectors.premium import Premium, premium_of, premium_rows
from usage.selectors.projects import share
from usage.selectors.scopes import team_scope
from usage.selectors.spend import cell_rows, day_rows
from usage.selectors.unallocated import Unallocated, attributed_rows, told_rows, unallocated_of
from usage.types import Forecast, Period, Spend, Status, Totals

SETTLES_AFTER = timedelta(days=3)  # by then providers have told what they will tell of a month (D+3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One project, model, tier or key of a statement; `note` is whose it is, where that matters."""

    name: str
    note: str
    calls: int
    cost_usd: Decimal
    percent: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetMonth:
    """A monthly budget of the team: what the month before left it, and every limit in force in the month."""

    budget: BudgetRow
    carried_usd: Decimal | None
    limits: tuple[LimitRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a team answers for in a month; amounts in US dollars, unrounded."""

    team: str
    team_id: str
    department: str
    period: Period
    standing: Status
    totals: Totals
    organisation_usd: Decimal
    by_project: tuple[Share, ...]
    by_model: tuple[Share, ...]
    by_tier: tuple[Share, ...]
    by_key: tuple[Share, ...]
    budgets: tuple[BudgetMonth, ...]
    adjustments: tuple[Adjustment, ...]
    unallocated: Unallocated
    expected: Forecast | None
    premium: Premium

    @property
    def corrected_usd(self) -> Decimal:
        """Return what was added or taken off late or by correction, of this month."""
        return sum_of(self.adjustments, prior=False)

    @property
    def prior_usd(self) -> Decimal:
        """Return what this month changed of earlier ones."""
        return sum_of(self.adjustments, prior=True)

    @property
    def unallocated_usd(self) -> Decimal | None:
        """Return the team's part of what providers billed and nobody caused."""
        return self.unallocated.share_usd(self.totals.cost_usd)

    @property
    def expected_usd(self) -> Decimal | None:
        """Return what the month was expected to cost when it began."""
        return self.expected.end_usd if self.expected else None

    @property
    def variance_usd(self) -> Decimal | None:
        """Return how much more the month cost than was expected when it began."""
        return None if self.expected_usd is None else self.totals.cost_usd - self.expected_usd

    @property
    def variance_percent(self) -> Decimal | None:
        """Return the variance in per cent of what was expected, unrounded."""
        return 100 * (self.variance_usd or ZERO) / self.expected_usd if self.expected_usd else None


def closed_rows(period: Period) -> QuerySet[Any, Any]:
    """Return when a month was closed for good, if it is."""
    closed = PeriodClose.objects.filter(month=period.first_day, state=PeriodState.CLOSED)
    return closed.values("closed_at")


def standing_of(closed: Sequence[Mapping[str, Any]], period: Period, today: date) -> Status:
    """Say how firm the figures of a month are by rows of `closed_rows`."""
    if today <= period.last_day:
        return Status(tone="info", text="Running")
    if closed:
        return Status(tone="ok", text=f"Final: closed on {closed[0]['closed_at']:%-d %B %Y}")
    if today <= period.last_day + SETTLES_AFTER:
        return Status(tone="warn", text="Open: late usage may come")
    return Status(tone="info", text="Provisional until the period is closed")


def statement(team: Team, period: Period) -> Statement:
    """Return the statement of a team, its department loaded. Five queries for any number of rows.

    Names are those of the month's end. Late usage belongs to the month in which the call was authorised.
    """
    now = clock.now()
    scope, before = team_scope(team), last_days(period.first_day - timedelta(days=1), HISTORY_DAYS)
    asked = ask_together(
        names=former_name_rows(named_at(period)),
        cut=breakdown_rows(scope, period),
        everybody=attributed_rows(period),
        before=cell_rows(scope, before),
        dear=premium_rows(scope, period),
        entries=adjustment_rows(team, period),
        told=told_rows(period),
        closed=closed_rows(period),
    )
    named = NamesThen(then=named_at(period), former=former_names_of(asked["names"]))
    cut = breakdown_of(asked["cut"])
    sums = cut.totals
    left = unallocated_of(asked["told"], asked["everybody"])

    def shares(found: Sequence[Spend], kind: NamedKind | None = None) -> tuple[Share, ...]:
        return tuple(
            Share(
                name=named.of(kind, each.id, each.name) if kind else each.name,
                note="",
                calls=each.calls,
                cost_usd=each.cost_usd,
                percent=share(each.cost_usd, sums.cost_usd),
            )
            for each in found
        )

    return Statement(
        team=named.of(NamedKind.TEAM, team.pk, team.name),
        team_id=team.public_id,
        department=named.of(NamedKind.DEPARTMENT, team.department_id, team.department.name),
        period=period,
        standing=standing_of(asked["closed"], period, organisation_today(now)),
        totals=sums,
        organisation_usd=left.attributed_usd,
        by_project=shares(cut.by_project, NamedKind.PROJECT),
        by_model=shares(cut.by_model),
        by_tier=shares(cut.by_tier),
        by_key=_keys(cut.by_key, sums.cost_usd, named),
        budgets=_budgets(team, period, now),
        adjustments=adjustments_of(asked["entries"], period),
        unallocated=left,
        expected=expected_at_start(asked["before"], before, period),
        premium=premium_of(asked["dear"], period),
    )


def expected_at_start(cells: Iterable[Mapping[str, Any]], before: Period, period: Period) -> Forecast | None:
    """Return the forecast of a period as of its first day, by what each day and tier `before` it cost: the
    one that budgets and the overview show.

    None when nothing had been used yet.
    """
    by_day = {(row["day"], row["tier_id"]): row["usd"] for row in cells}
    daily = [row.total_usd for row in day_rows(by_day, before, before.last_day)]
    length = (period.last_day - period.first_day).days + 1
    return expected_end(since_first_use(daily), spent_usd=ZERO, days_left=Decimal(length))


def _keys(spent: Sequence[KeySpend], whole_usd: Decimal, named: NamesThen) -> tuple[Share, ...]:
    """Name keys and their owners as they were; a key that is not known any more is `A key`."""
    return tuple(
        Share(
            name=named.of(NamedKind.KEY, each.spend.id, each.key_name or "A key"),
            note=each.spend.name,
            calls=each.spend.calls,
            cost_usd=each.spend.cost_usd,
            percent=share(each.spend.cost_usd, whole_usd),
        )
        for each in spent
    )


def _budgets(team: Team, period: Period, now: datetime) -> tuple[BudgetMonth, ...]:
    """Return the monthly budgets that the team had in the period, with their limits of then."""
    first, last = day_starts_at(period.first_day), end_of(period.last_day)
    had = Budget.objects.filter(
        Q(closed_at__isnull=True) | Q(closed_at__gt=first),
        scope_kind=ScopeKind.TEAM,
        scope_id=team.pk,
        window=Window.MONTH,
    )
    rows = budget_rows(had, at=last if last < now else None)
    carried, limits = carried_into(rows), limits_of([row.id for row in rows])
    months = (
        BudgetMonth(
            budget=row,
            carried_usd=carried.get(row.id),
            limits=tuple(each for each in limits[row.id] if _was_in_force(each, first, last)),
        )
        for row in rows
    )
    return tuple(month for month in months if month.limits)


def _was_in_force(limit: LimitRow, first: datetime, last: datetime) -> bool:
    replaced = limit.until is not None and limit.until <= first
    return limit.in_force_since <= last and not replaced
