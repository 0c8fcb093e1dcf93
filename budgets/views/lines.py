"""How budgets read: a row of the list."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.urls import reverse

from budgets.models import Mode, ScopeKind
from budgets.ports import Expected
from budgets.types import BudgetRow, PassedShare
from budgets.wording import WINDOW_TEXTS
from core.shapes import Tone

TITLES = {
    ScopeKind.ORGANISATION: "Organisation",
    ScopeKind.DEPARTMENT: "Departments",
    ScopeKind.TEAM: "Teams",
    ScopeKind.PROJECT: "Projects",
    ScopeKind.KEY: "Keys",
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
    is_tightest: bool
    told: PassedShare | None
    url: str
    change_url: str
    plan_url: str
    top_up_url: str
    rules_url: str
    close_url: str
    rate_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetGroup:
    """The budgets of one kind of scope."""

    title: str
    rows: tuple[BudgetLine, ...]


def budget_groups(
    rows: Iterable[BudgetRow],
    *,
    names: Mapping[int, str],
    forecasts: Mapping[int, Expected],
    first: Collection[int] = (),
) -> list[BudgetGroup]:
    """Return the list by kind of scope, the widest first; `names` are those of keys by id, `first` the ids of
    the budgets that refuse their calls first.
    """
    by_kind: dict[ScopeKind, list[BudgetLine]] = {}
    for row in rows:
        line = budget_line(row, names, forecasts.get(row.id), is_tightest=row.id in first)
        by_kind.setdefault(row.scope_kind, []).append(line)
    return [
        BudgetGroup(title=title, rows=tuple(by_kind[kind]))
        for kind, title in TITLES.items()
        if kind in by_kind
    ]


def budget_line(
    row: BudgetRow,
    names: Mapping[int, str],
    forecast: Expected | None = None,
    *,
    is_tightest: bool = False,
) -> BudgetLine:
    """Return a budget as people read it; `is_tightest` is one that refuses its calls before others do."""
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
        is_tightest=is_tightest,
        told=next((share for share in row.passed if share.is_told), None),
        url=reverse("budgets:detail", args=[row.public_id]),
        change_url=reverse("budgets:change", args=[row.public_id]),
        plan_url=reverse("budgets:plan", args=[row.public_id]),
        top_up_url=reverse("budgets:top_up", args=[row.public_id]),
        rules_url=reverse("budgets:rules", args=[row.public_id]),
        close_url=reverse("budgets:close", args=[row.public_id]),
        rate_url=reverse("budgets:rate", args=[row.public_id]),
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
