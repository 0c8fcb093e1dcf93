"""Windows of budgets: they tile time, and Python and SQL agree on every edge."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from budgets.models import Window
from budgets.windows import Period, window_at

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "America/Santiago",
    "Pacific/Apia",
    "America/Havana",
    "Africa/Cairo",
    "Australia/Lord_Howe",
)
FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 12, 31, tzinfo=UTC)
TICK = timedelta(microseconds=1)
# Windows with each start that they may have.
SHAPES = (
    *((window, 1) for window in Window if window not in {Window.WEEK, Window.FISCAL_YEAR}),
    *((Window.WEEK, day) for day in range(1, 8)),
    *((Window.FISCAL_YEAR, month) for month in range(1, 13)),
)
moments = st.datetimes(min_value=FIRST.replace(tzinfo=None), max_value=LAST.replace(tzinfo=None)).map(
    lambda local: local.replace(tzinfo=UTC)
)


def in_sql(window: Window, anchor: int, zone: str, *at: datetime) -> list[Period]:
    """Ask the database for the window of each moment."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT w.* FROM unnest(%s::timestamptz[]) AS at, budgets_window(%s, %s, %s, at) AS w",
            [list(at), window.value, anchor, zone],
        )
        return [Period(starts_at=start, ends_at=end) for start, end in cursor.fetchall()]


@pytest.mark.django_db
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.sampled_from(SHAPES), zone=st.sampled_from(ZONES), at=moments)
@example(shape=(Window.DAY, 1), zone="America/Havana", at=datetime(2026, 11, 1, 4, 30, tzinfo=UTC))
@example(shape=(Window.DAY, 1), zone="America/Havana", at=datetime(2026, 11, 1, 5, 30, tzinfo=UTC))
@example(shape=(Window.DAY, 1), zone="America/Santiago", at=datetime(2026, 9, 6, 4, 0, tzinfo=UTC))
@example(shape=(Window.MONTH, 1), zone="Asia/Kolkata", at=datetime(2028, 2, 29, 18, 30, tzinfo=UTC))
def test_windows_hold_their_moment_tile_time_and_agree_with_sql(
    shape: tuple[Window, int], zone: str, at: datetime
) -> None:
    window, anchor = shape
    period = window_at(window, at, time_zone=zone, anchor=anchor)
    edges = (at, period.starts_at, period.ends_at - TICK, period.ends_at, period.starts_at - TICK)

    found = [window_at(window, edge, time_zone=zone, anchor=anchor) for edge in edges]

    assert found == in_sql(window, anchor, zone, *edges)
    assert period.starts_at <= at < period.ends_at
    assert found[1] == found[2] == period
    if window is not Window.LIFETIME:
        assert found[3].starts_at == period.ends_at
        assert found[4].ends_at == period.starts_at


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ZONES)
def test_eleven_years_of_days_tile_without_gap_or_overlap(zone: str) -> None:
    at, days = FIRST, []
    while at < LAST:
        days.append(window_at(Window.DAY, at, time_zone=zone))
        at = days[-1].ends_at

    assert all(earlier.ends_at == later.starts_at for earlier, later in pairwise(days))
    assert in_sql(Window.DAY, 1, zone, *(day.starts_at for day in days)) == days
    assert in_sql(Window.DAY, 1, zone, *(day.ends_at - TICK for day in days)) == days


def test_days_have_23_24_and_25_hours() -> None:
    def hours(zone: str, year: int, month: int, day: int) -> float:
        noon = datetime(year, month, day, 12, tzinfo=ZoneInfo(zone))
        period = window_at(Window.DAY, noon, time_zone=zone)
        return (period.ends_at - period.starts_at) / timedelta(hours=1)

    assert hours("America/New_York", 2026, 3, 8) == 23
    assert hours("America/New_York", 2026, 11, 1) == 25
    assert hours("Asia/Kolkata", 2026, 11, 1) == 24
    assert hours("Australia/Lord_Howe", 2026, 4, 5) == 24.5


def test_where_midnight_comes_twice_the_day_starts_at_the_first() -> None:
    # Havana, 1 November 2026: 01:00 becomes 00:00 again. Midnight is at 04:00 and at 05:00 UTC.
    first_midnight = datetime(2026, 11, 1, 4, tzinfo=UTC)

    period = window_at(Window.DAY, datetime(2026, 11, 1, 5, 10, tzinfo=UTC), time_zone="America/Havana")

    assert period.starts_at == first_midnight
    assert period.ends_at - period.starts_at == timedelta(hours=25)


def test_where_midnight_is_skipped_the_day_starts_at_the_jump() -> None:
    # Havana, 8 March 2026: 00:00 becomes 01:00 at 05:00 UTC.
    period = window_at(Window.DAY, datetime(2026, 3, 8, 12, tzinfo=UTC), time_zone="America/Havana")

    assert period.starts_at == datetime(2026, 3, 8, 5, tzinfo=UTC)
    assert period.ends_at - period.starts_at == timedelta(hours=23)


def test_a_week_starts_on_its_day_and_a_fiscal_year_in_its_month() -> None:
    monday = datetime(2026, 11, 23, 14, tzinfo=UTC)

    sunday_week = window_at(Window.WEEK, monday, anchor=7)
    april_year = window_at(Window.FISCAL_YEAR, monday, anchor=4)
    quarter = window_at(Window.QUARTER, monday)

    assert sunday_week.starts_at == datetime(2026, 11, 22, tzinfo=UTC)
    assert april_year == Period(
        starts_at=datetime(2026, 4, 1, tzinfo=UTC), ends_at=datetime(2027, 4, 1, tzinfo=UTC)
    )
    assert quarter.starts_at == datetime(2026, 10, 1, tzinfo=UTC)
    assert quarter.ends_at == datetime(2027, 1, 1, tzinfo=UTC)
