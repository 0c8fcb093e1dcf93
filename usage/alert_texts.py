"""What people read of an alert about a budget. Text from facts alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from budgets.models import AlertKind, Mode, Window
from budgets.thresholds import ALL_OF_IT
from budgets.wording import MODE_TEXTS, WINDOW_TEXTS
from core.money import format_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFacts:
    """All that an alert names; amounts are US dollars, `with_it` the lower shares that were passed with it.

    `passes_on` is when the limit is expected to be passed, None if it is not or was already.
    """

    name: str
    only: str
    window: Window
    mode: Mode
    time_zone: str
    window_starts_at: datetime
    window_ends_at: datetime
    kind: AlertKind
    percent: int
    with_it: Sequence[int]
    limit_usd: Decimal
    spent_usd: Decimal
    held_usd: Decimal
    forecast_usd: Decimal | None
    passes_on: date | None
    top_keys: Sequence[tuple[str, Decimal]]
    top_models: Sequence[tuple[str, Decimal]]


def subject_of(facts: AlertFacts) -> str:
    """Return the alert in one line: what, and how far."""
    what = f"{facts.name}, {WINDOW_TEXTS[facts.window]}"
    limit = format_usd(facts.limit_usd)
    if _is_refusing(facts):
        return f"{what}: calls are refused, {100 * facts.spent_usd // facts.limit_usd}% of {limit} is spent"
    if facts.kind is AlertKind.SPENT:
        return f"{what}: {facts.percent}% of {limit} is spent"
    when = f" on {_day(facts.passes_on)}" if facts.passes_on else ""
    return f"{what}: forecast to pass {limit}{when}"


def body_of(facts: AlertFacts) -> str:
    """Return the alert in full, as paragraphs."""
    parts = (
        _amounts(facts),
        _forecast(facts),
        most_of("Keys", facts.top_keys),
        most_of("Models", facts.top_models),
        at_the_limit(facts),
    )
    return "\n\n".join(part for part in parts if part)


def at_the_limit(facts: AlertFacts) -> str:
    """Say what happens at the limit, or that it happens now."""
    return f"{_where(facts)}: {MODE_TEXTS[facts.mode]}"


def _where(facts: AlertFacts) -> str:
    if facts.kind is AlertKind.SPENT and facts.spent_usd >= facts.limit_usd:
        return "The limit is reached"
    return "What is left does not cover a call" if _is_refusing(facts) else f"At {ALL_OF_IT}%"


def _is_refusing(facts: AlertFacts) -> bool:
    """Whether calls are refused before all of the limit is spent."""
    is_all = facts.kind is AlertKind.SPENT and facts.percent == ALL_OF_IT
    return is_all and facts.spent_usd < facts.limit_usd


def _amounts(facts: AlertFacts) -> str:
    spent, limit = format_usd(facts.spent_usd), format_usd(facts.limit_usd)
    only = f" by calls of {facts.only} only" if facts.only else ""
    text = f"{spent} of {limit} is spent{only}{_window(facts)}, and {format_usd(facts.held_usd)} is held"
    text += " for calls in flight."
    if facts.with_it:
        shares = " and ".join(f"{percent}%" for percent in facts.with_it)
        text += f" {shares} {'was' if len(facts.with_it) == 1 else 'were'} passed with it."
    return text


def _window(facts: AlertFacts) -> str:
    if facts.window is Window.LIFETIME:
        return " in all"
    zone = ZoneInfo(facts.time_zone)
    starts, ends = facts.window_starts_at.astimezone(zone), facts.window_ends_at.astimezone(zone)
    return f" in the window from {_day(starts.date())} to {_day(ends.date())}, 00:00 {facts.time_zone} time"


def _forecast(facts: AlertFacts) -> str:
    if facts.forecast_usd is None:
        return ""
    text = f"Forecast for the end of the window: {format_usd(facts.forecast_usd)}"
    if facts.passes_on is not None:
        return f"{text}. The limit will be passed on {_day(facts.passes_on)} at this pace."
    return f"{text}." if facts.spent_usd >= facts.limit_usd else f"{text}, within the limit."


def most_of(what: str, rows: Sequence[tuple[str, Decimal]]) -> str:
    """Name what spent most; nothing where nothing did."""
    named = ", ".join(f"{name} {format_usd(usd)}" for name, usd in rows)
    return f"{what} that spent most: {named}." if rows else ""


def _day(day: date | None) -> str:
    return f"{day:%-d %B %Y}" if day else ""
