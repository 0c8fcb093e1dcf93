"""Where budgets are going in their windows."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Exists, Sum

from budgets.models import ScopeKind, Window
from budgets.types import BudgetStanding
from core import clock
from core.money import ZERO
from usage.forecast import HISTORY_DAYS, breach_day, expected_end, since_first_use
from usage.selectors.periods import custom, elapsed_share, organisation_today
from usage.selectors.planned import Rises, changing_prices, extra_usd, price_rises
from usage.selectors.rollup import days_in
from usage.types import Forecast, Scope

COLUMNS = {
    ScopeKind.DEPARTMENT: "department_id",
    ScopeKind.TEAM: "team_id",
    ScopeKind.PROJECT: "project_id",
    ScopeKind.KEY: "key_id",
}
# A budget's filter, by the column of the usage that it selects.
FILTERS = {"tier_id": "only_tier", "model_id": "only_model_id"}
DAY_SECONDS = Decimal(86_400)
JUST_BEFORE = timedelta(microseconds=1)
NOT_FORECAST = (Window.DAY, Window.LIFETIME)
FORECAST_WINDOWS = tuple(window for window in Window if window not in NOT_FORECAST)
Cell = dict[str, Any]


def forecast_budgets(rows: Sequence[BudgetStanding], *, at: datetime | None = None) -> dict[int, Forecast]:
    """Return where each budget's window is expected to end, by budget id, with known changes of prices.

    One query, four more when a price is known to change before the last window ends. A day is too short and
    a lifetime too long for a forecast; a budget whose scope used nothing yet has none.
    """
    now = at or clock.now()
    wanted = [row for row in rows if row.window not in NOT_FORECAST]
    if not wanted:
        return {}
    today = organisation_today(now)
    days = [today - timedelta(days=back) for back in range(HISTORY_DAYS, 0, -1)]
    until = max(row.window_ends_at for row in wanted)
    is_changing = Exists(changing_prices(now, until))
    cells = _cells(wanted, days, is_changing=is_changing)
    rises: Rises = {}
    if any(cell["is_changing"] for found in cells.values() for cell in found):
        rises = price_rises(now, until)
        cells = _cells(wanted, days, is_changing=is_changing, by_model=True) if rises else cells
    found = {row.id: _forecast(row, cells, days, now, rises) for row in wanted}
    return {budget: forecast for budget, forecast in found.items() if forecast is not None}


def scope_of(scopes: Iterable[tuple[ScopeKind, int]]) -> Scope:
    """Return the usage of all these scopes together."""
    ids: dict[ScopeKind, set[int]] = {kind: set() for kind in ScopeKind}
    for kind, scope_id in scopes:
        ids[kind].add(scope_id)
    return Scope(
        label="Scopes of budgets",
        everything=bool(ids[ScopeKind.ORGANISATION]),
        department_ids=tuple(ids[ScopeKind.DEPARTMENT]),
        team_ids=tuple(ids[ScopeKind.TEAM]),
        project_ids=tuple(ids[ScopeKind.PROJECT]),
        key_ids=tuple(ids[ScopeKind.KEY]),
    )


def passes_on(row: BudgetStanding, forecast: Forecast | None, *, at: datetime | None = None) -> date | None:
    """Return the organisation's day on which a budget is expected to pass its limit, None if in its window
    it is not, or has already.

    What only a known change of prices brings over the limit is put on the window's last day.
    """
    if forecast is None or row.limit_usd is None or row.spent_usd >= row.limit_usd:
        return None
    if forecast.end_usd <= row.limit_usd:
        return None
    now = at or clock.now()
    last_day = organisation_today(row.window_ends_at - JUST_BEFORE)
    day = breach_day(
        limit_usd=row.limit_usd,
        spent_usd=row.spent_usd,
        per_day_usd=forecast.per_day_usd,
        today=organisation_today(now),
        elapsed=elapsed_share(now),
        last_day=last_day,
    )
    return day or last_day


def _cells(
    rows: Sequence[BudgetStanding], days: Sequence[date], *, is_changing: Exists, by_model: bool = False
) -> dict[tuple[ScopeKind, int], list[Cell]]:
    """Read the usage of these budgets' scopes, and sort it by scope."""
    kinds = {row.scope_kind for row in rows}
    columns = {kind: column for kind, column in COLUMNS.items() if kind in kinds}
    found = days_in(scope_of([row.scope for row in rows]), custom(days[0], days[-1]))
    filters = [name for name in FILTERS if any(getattr(row, FILTERS[name]) is not None for row in rows)]
    if by_model and "model_id" not in filters:
        filters.append("model_id")
    cells: dict[tuple[ScopeKind, int], list[Cell]] = {}
    sums = found.values("day", *columns.values(), *filters).annotate(usd=Sum("cost_usd"))
    for cell in sums.annotate(is_changing=is_changing).order_by():
        for kind, column in (*columns.items(), (ScopeKind.ORGANISATION, "")):
            cells.setdefault((kind, cell[column] if column else 0), []).append(cell)
    return cells


def _forecast(
    row: BudgetStanding,
    cells: Mapping[tuple[ScopeKind, int], list[Cell]],
    days: Sequence[date],
    now: datetime,
    rises: Rises,
) -> Forecast | None:
    by_day: dict[date, Decimal] = {}
    by_model: dict[int, Decimal] = {}
    only = [(name, getattr(row, mine)) for name, mine in FILTERS.items() if getattr(row, mine) is not None]
    found = cells.get((row.scope_kind, row.scope_id), [])
    for cell in [cell for cell in found if all(cell[name] == mine for name, mine in only)] if only else found:
        by_day[cell["day"]] = by_day.get(cell["day"], ZERO) + cell["usd"]
        if rises and cell["model_id"] in rises:
            by_model[cell["model_id"]] = by_model.get(cell["model_id"], ZERO) + cell["usd"]
    daily = since_first_use([by_day.get(day, ZERO) for day in days])
    left = Decimal(str(max((row.window_ends_at - now).total_seconds(), 0))) / DAY_SECONDS
    per_day = {model: usd / len(daily) for model, usd in by_model.items() if daily}
    extra = extra_usd(per_day, rises, now=now, ends_at=row.window_ends_at)
    return expected_end(daily, spent_usd=row.spent_usd, days_left=left, extra_usd=extra)
