"""What was spent, from the day roll-up alone: by day, project, model, tier and key."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import Case, F, Max, OuterRef, Q, QuerySet, Subquery, Sum, When

from core.money import ZERO
from usage.models import UsageDay
from usage.selectors.periods import custom, last_month, organisation_today, this_month
from usage.selectors.rollup import EVERYTHING, TOKENS, days_in, days_of
from usage.types import DayRow, KeyUse, MonthRow, Period, Scope, Spend, Totals

SHOWN_TIERS = 3
MONTHS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendOfMonths:
    """The last months, and whose keys and which projects spent the running one, the dearest first."""

    months: list[MonthRow]
    by_owner: list[Spend]
    by_project: list[Spend]


def totals(scope: Scope, period: Period) -> Totals:
    """Return the sums over a scope and period. One query."""
    sums = days_in(scope, period).aggregate(**{name: Sum(name) for name in ("calls", "cost_usd", *TOKENS)})
    return Totals(
        calls=sums["calls"] or 0,
        cost_usd=sums["cost_usd"] or ZERO,
        **{name: sums[name] or 0 for name in TOKENS},
    )


def month_to_date(scope: Scope, *, today: date | None = None) -> Decimal:
    """Return the cost of this month so far. One query."""
    return totals(scope, this_month(today or organisation_today())).cost_usd


def spend_by_day(scope: Scope, period: Period, *, today: date | None = None) -> list[DayRow]:
    """Return each day of the period up to today, the empty ones too. One query."""
    cells = {(row["day"], row["tier_id"]): row["usd"] for row in cell_rows(scope, period)}
    return day_rows(cells, period, today or organisation_today())


def cell_rows(scope: Scope, period: Period) -> QuerySet[Any, Any]:
    """Return what each day and tier of a scope and period cost."""
    rows: QuerySet[Any, Any] = days_in(scope, period).values("day", "tier_id").annotate(usd=Sum("cost_usd"))
    return rows


def by_project(scope: Scope, period: Period) -> list[Spend]:
    """Return the cost of each project, the dearest first. One query."""
    return _spend(days_in(scope, period), "project_id", "project__name")


def by_team(scope: Scope, period: Period) -> list[Spend]:
    """Return the cost of each team, the dearest first. One query."""
    return _spend(days_in(scope, period), "team_id", "team__name")


def by_model(scope: Scope, period: Period) -> list[Spend]:
    """Return the cost of each model, the dearest first. One query."""
    return _spend(days_in(scope, period), "model_id", "model__name")


def by_tier(scope: Scope, period: Period) -> list[Spend]:
    """Return the cost of each tier, the dearest first. One query."""
    return _spend(days_in(scope, period), "tier_id", "tier__name")


def by_key(scope: Scope, period: Period) -> list[Spend]:
    """Return the cost of each key, the dearest first; `name` is the name of its owner. One query."""
    return _spend(days_in(scope, period), "key_id", "owner__name")


def key_use(key_ids: Collection[int], *, today: date | None = None) -> dict[int, KeyUse]:
    """Return what each of these keys consumed so far; keys that were never used are missing. One query."""
    month = this_month(today or organisation_today())
    this = Q(day__gte=month.first_day, day__lte=month.last_day)
    rows = (
        days_of(Scope(label="Keys", key_ids=tuple(key_ids)))
        .values("key_id")
        .annotate(
            last_day=Max("day"),
            all_calls=Sum("calls"),
            total_usd=Sum("cost_usd"),
            month_usd=Sum("cost_usd", filter=this),
        )
    )
    return {
        row["key_id"]: KeyUse(
            last_day=row["last_day"],
            calls=row["all_calls"],
            month_usd=row["month_usd"] or ZERO,
            total_usd=row["total_usd"],
        )
        for row in rows
    }


def key_use_columns(*, today: date | None = None) -> dict[str, Subquery]:
    """Give what `key_use` returns as columns of keys: `last_day` and `month_usd`, null without use."""
    month = this_month(today or organisation_today())
    days = days_of(EVERYTHING).filter(key_id=OuterRef("pk")).order_by().values("key_id")
    this = days.filter(day__gte=month.first_day, day__lte=month.last_day)
    return {
        "last_day": Subquery(days.annotate(last=Max("day")).values("last")),
        "month_usd": Subquery(this.annotate(usd=Sum("cost_usd")).values("usd")),
    }


def key_spend(scope: Scope, period: Period) -> Subquery:
    """Give the cost of a key in a scope and period, to annotate keys with; null for one that was not used."""
    rows = days_in(scope, period).filter(key_id=OuterRef("pk")).order_by()
    return Subquery(rows.values("key_id").annotate(usd=Sum("cost_usd")).values("usd"))


def spend_by_month(scope: Scope, *, today: date, months: int = MONTHS) -> SpendOfMonths:
    """Return each of the last months, the empty ones too, the running one last, and who and what spent that.

    One query. Days before the running month are summed by day in SQL and by month here: it takes a date's
    month faster.
    """
    periods = [this_month(today)]
    while len(periods) < months:
        periods.insert(0, last_month(periods[0].first_day))
    running = Q(day__gte=periods[-1].first_day)
    whole = days_in(scope, custom(periods[0].first_day, periods[-1].last_day))
    parts = {
        "owner": "owner_id",
        "owner_name": "owner__name",
        "project": "project_id",
        "project_name": "project__name",
    }
    rows = (
        whole.annotate(
            before=Case(When(~running, then=F("day"))),
            **{f"by_{name}": Case(When(running, then=F(column))) for name, column in parts.items()},
        )
        .values("before", "tier_id", *(f"by_{name}" for name in parts))
        .annotate(all_calls=Sum("calls"), usd=Sum("cost_usd"))
        .order_by("by_owner", "by_project")
    )
    found = list(rows)
    now = [row for row in found if row["before"] is None]
    return SpendOfMonths(
        months=_months(found, periods),
        by_owner=_summed(now, "by_owner"),
        by_project=_summed(now, "by_project"),
    )


def _months(rows: Iterable[Mapping[str, Any]], periods: Sequence[Period]) -> list[MonthRow]:
    calls: dict[date, int] = {}
    usd: dict[tuple[date, int], Decimal] = {}
    for row in rows:
        month, tier = (row["before"] or periods[-1].first_day).replace(day=1), row["tier_id"]
        calls[month] = calls.get(month, 0) + row["all_calls"]
        usd[month, tier] = usd.get((month, tier), ZERO) + row["usd"]
    shown = range(1, max([SHOWN_TIERS, *(tier for _, tier in usd)]) + 1)
    return [
        MonthRow(
            period=period,
            calls=calls.get(period.first_day, 0),
            by_tier_usd=tuple(usd.get((period.first_day, tier), ZERO) for tier in shown),
        )
        for period in periods
    ]


def day_rows(cells: dict[tuple[date, int], Decimal], period: Period, today: date) -> list[DayRow]:
    """Make the rows of a period from amounts by (day, tier)."""
    shown = max([SHOWN_TIERS, *(tier for _, tier in cells)])
    rows: list[DayRow] = []
    to_date = ZERO
    for day in period.days_until(today):
        by_tier = tuple(cells.get((day, tier), ZERO) for tier in range(1, shown + 1))
        to_date += sum(by_tier, ZERO)
        rows.append(DayRow(day=day, by_tier_usd=by_tier, to_date_usd=to_date))
    return rows


def _summed(cells: Iterable[Mapping[str, Any]], noun: str) -> list[Spend]:
    """Add up cells by what the column `noun` holds."""
    sums: dict[int, Spend] = {}
    for cell in cells:
        spent = Spend(
            id=cell[noun],
            name=cell[f"{noun}_name"] or "",
            calls=cell["all_calls"],
            cost_usd=cell["usd"],
        )
        before = sums.get(spent.id)
        if before is not None:
            spent = replace(
                spent, calls=before.calls + spent.calls, cost_usd=before.cost_usd + spent.cost_usd
            )
        sums[spent.id] = spent
    return sorted(sums.values(), key=lambda each: (-each.cost_usd, each.id))


def _spend(rows: QuerySet[UsageDay], group: str, name: str) -> list[Spend]:
    grouped = (
        rows.values(group)
        .annotate(name=F(name), all_calls=Sum("calls"), usd=Sum("cost_usd"))
        .order_by("-usd", group)
    )
    return [
        Spend(id=row[group], name=row["name"] or "", calls=row["all_calls"], cost_usd=row["usd"])
        for row in grouped
    ]
