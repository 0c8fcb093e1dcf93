"""When somebody's clock on the wall says so: quiet hours and the daily digest, also across DST nights.

A time that a day leaves out (the clocks go forward) is the moment that would have been it: 02:30 is 03:30.
One that a day has twice (they go back) is the first of the two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """From one time of the day to another, which may be of the next day."""

    starts: time
    ends: time


def next_at(at: datetime, wall: time, zone: ZoneInfo) -> datetime:
    """Return the first moment after `at` when the clocks of the zone show `wall`, once a day, in UTC."""
    return next(moment for day in _days_around(at, zone) if (moment := _moment(day, wall, zone)) > at)


def quiet_until(at: datetime, quiet: QuietHours, zone: ZoneInfo) -> datetime | None:
    """Return when the quiet hours around `at` end, in UTC, or None when it is not quiet."""
    overnight = DAY if quiet.ends <= quiet.starts else timedelta(0)
    for day in _days_around(at, zone):
        ends = _moment(day + overnight, quiet.ends, zone)
        if _moment(day, quiet.starts, zone) <= at < ends:
            return ends
    return None


def _moment(day: date, wall: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, wall, tzinfo=zone).astimezone(UTC)


def _days_around(at: datetime, zone: ZoneInfo) -> Iterator[date]:
    """Give the days whose times may be near `at`; some zones have left out a whole day."""
    today = at.astimezone(zone).date()
    return (today + number * DAY for number in range(-1, 4))
