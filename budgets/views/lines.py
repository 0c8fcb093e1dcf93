"""How budgets read: a row of the list, and what the page of one adds to it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.urls import reverse

from budgets import selectors
from budgets.models import Mode, ScopeKind, Window
from budgets.ports import Expected
from budgets.types import BudgetRow, LimitRow
from core.money import format_usd
from core.shapes import Tone

TITLES = {
    ScopeKind.ORGANISATION: "Organisation",
    ScopeKind.DEPARTMENT: "Departments",
    ScopeKind.TEAM: "Teams",
    ScopeKind.PROJECT: "Projects",
    ScopeKind.KEY: "Keys",
}
WINDOW_TEXTS = {
    Window.DAY: "each day",
    Window.WEEK: "each week",
    Window.MONTH: "each month",
    Window.QUARTER: "each quarter",
    Window.FISCAL_YEAR: "each fiscal year",
    Window.LIFETIME: "in all",
}
MODE_TEXTS = {
    Mode.HARD: "Calls are refused with 429 until the window starts again or the limit is raised.",
    Mode.SOFT: "Calls go on and carry a warning.",
    Mode.NOTIFY: "Calls go on; the people in charge are told.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """A budget as a row shows it; amounts are US dollars, a limit of None is no limit."""

    name: str
    window: str
    only: str
    mode: Tone
    limit_usd: Decimal | None
    spent_usd: Decimal
    held_usd: Decimal
    left_usd: Decimal | None
    spent_percent: Decimal | None
    held_percent: Decimal | None
    forecast_percent: Decimal | None
    resets_at: datetime | None
    url: str
    change_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetGroup:
    """The budgets of one kind of scope."""

    title: str
    rows: tuple[BudgetLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLine:
    """Another budget that binds the same calls; one that its reader may not open has no address."""

    name: str
    window: str
    text: str
    url: str
    tightest: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetFacts:
    """What the page of one budget adds to its row."""

    may_change: bool
    notice: Tone | None
    in_force_since: datetime | None
    forecast_usd: Decimal | None
    mode_text: str
    window_starts_at: datetime
    who_may_change: str
    tightest: bool
    history: tuple[LimitRow, ...]
    path: tuple[PathLine, ...]


def budget_groups(
    rows: Iterable[BudgetRow], *, names: Mapping[int, str], forecasts: Mapping[int, Expected]
) -> list[BudgetGroup]:
    """Return the list by kind of scope, the widest first; `names` are those of keys by id."""
    by_kind: dict[ScopeKind, list[BudgetLine]] = {}
    for row in rows:
        by_kind.setdefault(row.scope_kind, []).append(budget_line(row, names, forecasts.get(row.id)))
    return [
        BudgetGroup(title=title, rows=tuple(by_kind[kind]))
        for kind, title in TITLES.items()
        if kind in by_kind
    ]


def budget_line(row: BudgetRow, names: Mapping[int, str], forecast: Expected | None = None) -> BudgetLine:
    """Return a budget as people read it."""
    is_key = row.scope_kind is ScopeKind.KEY
    return BudgetLine(
        name=names.get(row.scope_id, row.name) if is_key else row.name,
        window=WINDOW_TEXTS[row.window],
        only=row.only,
        mode=_mode(row),
        limit_usd=row.limit_usd,
        spent_usd=row.spent_usd,
        held_usd=row.held_usd,
        left_usd=row.left_usd,
        spent_percent=row.spent_percent,
        held_percent=row.held_percent,
        forecast_percent=_forecast_percent(row, forecast),
        resets_at=row.resets_at,
        url=reverse("budgets:detail", args=[row.public_id]),
        change_url=reverse("budgets:change", args=[row.public_id]),
    )


def _mode(row: BudgetRow) -> Tone:
    """Say what happens at the limit, and that it happens now when nothing is left."""
    is_used_up = row.left_usd is not None and row.left_usd <= 0
    match row.mode:
        case Mode.HARD:
            return Tone(tone="bad", text="Refuses now") if is_used_up else Tone(tone="", text="Refuses")
        case Mode.SOFT:
            return Tone(tone="warn", text="Warns now") if is_used_up else Tone(tone="", text="Warns")
        case _:
            return Tone(tone="info", text="Over, told") if is_used_up else Tone(tone="", text="Tells")


def _forecast_percent(row: BudgetRow, forecast: Expected | None) -> Decimal | None:
    if forecast is None or not row.limit_usd:
        return None
    return 100 * forecast.end_usd / row.limit_usd


def notice(row: BudgetRow, forecast: Expected | None) -> Tone | None:
    """Return what somebody should do something about, if anything."""
    if row.limit_usd is None:
        return None
    ends = f"{row.window_ends_at:%-d %B}"
    if row.left_usd is not None and row.left_usd <= 0:
        return Tone(
            tone="bad" if row.mode is Mode.HARD else "warn", text=f"Nothing is left. {MODE_TEXTS[row.mode]}"
        )
    if forecast and forecast.end_usd > row.limit_usd:
        over = format_usd(forecast.end_usd - row.limit_usd)
        return Tone(tone="warn", text=f"Forecast to be {over} over its limit by {ends}.")
    return None


def path_lines(row: BudgetRow, others: Sequence[BudgetRow]) -> tuple[PathLine, ...]:
    """Return the budgets that bind the same calls; of those not seen only whether they have room."""
    first = selectors.tightest([row, *others])
    return tuple(
        PathLine(
            name=other.name,
            window=WINDOW_TEXTS[other.window],
            text=_left(other),
            url=reverse("budgets:detail", args=[other.public_id]) if other.is_seen else "",
            tightest=other == first,
        )
        for other in others
    )


def _left(row: BudgetRow) -> str:
    if row.left_usd is None:
        return "No limit"
    if row.is_seen:
        return f"{format_usd(row.left_usd)} left"
    return "Has room" if row.left_usd > 0 else "Nothing left"
