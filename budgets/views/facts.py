"""What the page of one budget adds to its row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlencode

from django.urls import reverse

from budgets import selectors
from budgets.forms import MONTHS, WEEKDAYS
from budgets.models import Allocation, Mode, RollOver, Window
from budgets.ports import Expected
from budgets.thresholds import ALL_OF_IT
from budgets.types import BudgetRow, LimitRow, LimitState, Rate
from budgets.wording import MODE_TEXTS, WINDOW_TEXTS
from core.money import format_usd
from core.shapes import Tone

ROLL_OVER_TEXTS = {
    RollOver.NONE: "Nothing: each window starts anew.",
    RollOver.UNUSED: "What is left is added to the next window, and adds up while nobody calls.",
    RollOver.DEBT: "What is overspent is taken off the next windows, until it is paid off.",
}
STATES = {
    LimitState.PLANNED: Tone(tone="info", text="Planned"),
    LimitState.IN_FORCE: Tone(tone="ok", text="In force"),
    LimitState.PAST: None,
    LimitState.REPLACED: Tone(tone="", text="Replaced before it began"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """A limit that was, is or is planned; a plan that may be taken back has an address for it."""

    limit: LimitRow
    state: Tone | None
    withdraw_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLine:
    """Another budget that binds the same calls; one that its reader may not open has no address."""

    name: str
    window: str
    text: str
    url: str
    tightest: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareLine:
    """A share of a limit at which people are told, and when the window passed it, if it has."""

    percent: int
    of_usd: Decimal
    is_forecast: bool
    is_spent: bool  # else people were told before it
    passed_at: datetime | None

    @property
    def tone(self) -> str:
        """Return how grave it is that it was passed."""
        return "bad" if self.percent >= ALL_OF_IT and not self.is_forecast else "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFacts:
    """The shares of the limit in force, and those of earlier limits that the same window passed."""

    shares: tuple[ShareLine, ...]
    earlier: tuple[ShareLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetFacts:
    """What the page of one budget adds to its row; `rates` is None where scopes have no rates."""

    may_change: bool
    ask_url: str
    notice: Tone | None
    in_force_since: datetime | None
    forecast_usd: Decimal | None
    window_starts_at: datetime
    who_may_change: str
    tightest: bool
    history: tuple[HistoryLine, ...]
    path: tuple[PathLine, ...]
    alerts: AlertFacts | None
    rules: tuple[tuple[str, str], ...]
    rates: tuple[str, ...] | None


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


def alert_facts(row: BudgetRow, forecast: Expected | None) -> AlertFacts | None:
    """Return when people are told and when the window passed what; None without a limit to tell of.

    A forecast is named where there is one and the limit is not passed yet.
    """
    if row.limit_usd is None:
        return None
    newest = row.passed[0].limit_since if row.passed and row.passed[0].limit_usd == row.limit_usd else None
    passed_at = {
        (each.is_forecast, each.percent): each.passed_at for each in row.passed if each.limit_since == newest
    }
    wanted = {(False, percent) for percent in row.alert_percents} | passed_at.keys()
    if forecast is not None and row.spent_usd < row.limit_usd:
        wanted.add((True, ALL_OF_IT))
    return AlertFacts(
        shares=tuple(
            ShareLine(
                percent=percent,
                of_usd=row.limit_usd * percent / 100,
                is_forecast=is_forecast,
                is_spent=not is_forecast and 100 * row.spent_usd >= row.limit_usd * percent,
                passed_at=passed_at.get((is_forecast, percent)),
            )
            for is_forecast, percent in sorted(wanted)
        ),
        earlier=tuple(
            ShareLine(
                percent=each.percent,
                of_usd=each.limit_usd,
                is_forecast=each.is_forecast,
                is_spent=not each.is_forecast,
                passed_at=each.passed_at,
            )
            for each in row.passed
            if each.limit_since != newest and each.is_told
        ),
    )


def rule_texts(row: BudgetRow) -> tuple[tuple[str, str], ...]:
    """Return the rules of a budget in words."""
    return (
        ("At the limit", MODE_TEXTS[row.mode]),
        ("Budgets below", _allocation(row)),
        ("Rolls over", ROLL_OVER_TEXTS[row.roll_over]),
        ("Starts anew", _starts_anew(row)),
    )


def rate_texts(rate: Rate) -> tuple[str, ...]:
    """Return the rates of a scope in words; none when nothing is limited."""
    numbers = (
        (rate.requests_per_minute, "calls a minute"),
        (rate.tokens_per_minute, "tokens a minute"),
        (rate.parallel_calls, "calls in flight at once"),
    )
    return tuple(f"{number:,} {unit}" for number, unit in numbers if number is not None)


def history_lines(row: BudgetRow, history: Sequence[LimitRow]) -> tuple[HistoryLine, ...]:
    """Return every limit, the latest first; what is planned may be taken back while it changes anything."""
    lines = []
    for index, limit in enumerate(history):
        before = next((one for one in history[index + 1 :] if _is_base(one)), None)
        may_withdraw = limit.state is LimitState.PLANNED and _is_base(limit)
        is_change = before is not None and before.amount_usd != limit.amount_usd
        lines.append(
            HistoryLine(
                limit=limit,
                state=STATES[limit.state],
                withdraw_url=_withdraw_url(row, limit) if may_withdraw and is_change else "",
            )
        )
    return tuple(lines)


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


def _is_base(limit: LimitRow) -> bool:
    return not limit.kind and limit.state is not LimitState.REPLACED


def _withdraw_url(row: BudgetRow, limit: LimitRow) -> str:
    moment = urlencode({"valid_from": limit.in_force_since.isoformat()})
    return f"{reverse('budgets:withdraw', args=[row.public_id])}?{moment}"


def _allocation(row: BudgetRow) -> str:
    match row.allocation:
        case Allocation.STRICT:
            return "Strict: their limits add up to this one at most."
        case Allocation.OVERCOMMIT:
            ratio = f"{row.overcommit_ratio.normalize():f}"
            return f"Overcommit: their limits add up to {ratio} times this one at most."
        case _:
            return "Pool: each may have up to all of it."


def _starts_anew(row: BudgetRow) -> str:
    match row.window:
        case Window.WEEK:
            return f"On {WEEKDAYS[row.window_anchor - 1]}, {row.time_zone} time"
        case Window.FISCAL_YEAR:
            return f"On 1 {MONTHS[row.window_anchor - 1]}, {row.time_zone} time"
        case Window.LIFETIME:
            return "Never"
        case _:
            return f"{WINDOW_TEXTS[row.window].capitalize()}, {row.time_zone} time"


def _left(row: BudgetRow) -> str:
    if row.left_usd is None:
        return "No limit"
    if row.is_seen:
        return f"{format_usd(row.left_usd)} left"
    return "Has room" if row.left_usd > 0 else "Nothing left"
