"""The period that a moment belongs to, in a budget's time zone: the exact twin of `budgets_window` in SQL."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

LIFETIME_START = datetime(2000, 1, 1, tzinfo=UTC)
LIFETIME_END = datetime(9000, 1, 1, tzinfo=UTC)
MONTHS_IN = {"month": 1, "quarter": 3, "fiscal_year": 12}


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The half-open time [starts_at, ends_at), in UTC."""

    starts_at: datetime
    ends_at: datetime


def window_at(window: str, at: datetime, *, time_zone: str = "UTC", anchor: int = 1) -> Period:
    """Return the window that holds `at`. Windows of one budget tile time: no gap, no overlap.

    `window` is one of budgets.models.Window. `anchor` is the first weekday (1 is Monday) of a week, the first
    month of a fiscal year. A window starts at local midnight: the first one where clocks show it twice, the
    moment of the jump where they skip it. Where clocks went back over midnight and showed yesterday again,
    the new window goes on. Raises KeyError for another window, ZoneInfoNotFoundError for another zone.
    """
    if window == "lifetime":
        return Period(starts_at=LIFETIME_START, ends_at=LIFETIME_END)
    today = at.astimezone(ZoneInfo(time_zone)).date()
    first, last = _days(window, today, anchor)
    starts_at, ends_at = midnight(first, time_zone), midnight(last, time_zone)
    if at >= ends_at:
        return Period(starts_at=ends_at, ends_at=midnight(_days(window, last, anchor)[1], time_zone))
    if at < starts_at:
        before = _days(window, first - timedelta(days=1), anchor)[0]
        return Period(starts_at=midnight(before, time_zone), ends_at=starts_at)
    return Period(starts_at=starts_at, ends_at=ends_at)


def midnight(day: date, time_zone: str) -> datetime:
    """Return when a day starts in a zone, in UTC."""
    # fold=0 is the earlier of two midnights, and in a gap the offset from before the jump: the jump itself.
    return datetime.combine(day, time.min, tzinfo=ZoneInfo(time_zone)).astimezone(UTC)


def _days(window: str, today: date, anchor: int) -> tuple[date, date]:
    """Give the first day of the window and of the next one."""
    if window == "day":
        return today, today + timedelta(days=1)
    if window == "week":
        first = today - timedelta(days=(today.isoweekday() - anchor) % 7)
        return first, first + timedelta(days=7)
    months = MONTHS_IN[window]
    first_month = anchor if window == "fiscal_year" else 1
    passed = (today.month - first_month) % months
    first = _plus_months(today, -passed)
    return first, _plus_months(first, months)


def _plus_months(day: date, months: int) -> date:
    """Give the first day of the month that is so many months away."""
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)
