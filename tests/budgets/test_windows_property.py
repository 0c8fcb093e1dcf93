"""Every window of every kind from 2020 to 2030: they tile time, and Python and SQL agree on each of them.

Which zones: those of the product's promise, and the odd ones. Some show midnight twice, skip it, skip a whole
day, or go back over midnight; St John's did so at one minute past until 2011, so it is walked there. Zones
whose rules are decreed year by year (Morocco) are left out: two servers know them as of their own release.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from budgets.models import Window
from budgets.windows import Period, window_at

TICK = timedelta(microseconds=1)
DECADE = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC))
PROMISED = ("America/New_York", "Europe/Berlin", "Asia/Kolkata", "America/Santiago", "Pacific/Apia")
ODD = (
    "Africa/Cairo",
    "America/Sao_Paulo",
    "Asia/Tehran",
    "America/Havana",
    "Antarctica/Casey",
    "Antarctica/Troll",
)
# Where something odd happened before the decade: from when to when to walk.
WALKS = {
    **dict.fromkeys((*PROMISED, *ODD), DECADE),
    "Pacific/Apia of 2011": (datetime(2011, 11, 1, tzinfo=UTC), datetime(2012, 3, 1, tzinfo=UTC)),
    "America/Sao_Paulo of 2017": (datetime(2017, 9, 1, tzinfo=UTC), datetime(2019, 4, 1, tzinfo=UTC)),
    "Antarctica/Casey of 2010": (datetime(2009, 10, 1, tzinfo=UTC), datetime(2012, 12, 1, tzinfo=UTC)),
    "America/St_Johns of 2010": (datetime(2009, 1, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)),
    "Pacific/Kwajalein of 1993": (datetime(1993, 7, 1, tzinfo=UTC), datetime(1993, 11, 1, tzinfo=UTC)),
    "America/Toronto of 1919": (datetime(1919, 3, 1, tzinfo=UTC), datetime(1919, 5, 1, tzinfo=UTC)),
}
SHAPES = (
    (Window.DAY, 1),
    *((Window.WEEK, weekday) for weekday in range(1, 8)),
    (Window.MONTH, 1),
    (Window.QUARTER, 1),
    *((Window.FISCAL_YEAR, month) for month in range(1, 13)),
)


def walk(window: Window, anchor: int, zone: str, begin: datetime, end: datetime) -> Iterator[Period]:
    """Give each window from the one that holds `begin` on, every one found at the end of the one before."""
    at = begin
    while at < end:
        period = window_at(window, at, time_zone=zone, anchor=anchor)
        yield period
        at = period.ends_at


def in_sql(window: Window, anchor: int, zone: str, moments: list[datetime]) -> list[Period]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT w.* FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS given (at, place),"
            " budgets_window(%s, %s, %s, at) AS w ORDER BY place",
            [moments, window.value, anchor, zone],
        )
        return [Period(starts_at=start, ends_at=end) for start, end in cursor.fetchall()]


@pytest.mark.django_db
@pytest.mark.parametrize("place", WALKS)
def test_windows_of_every_kind_tile_time_and_agree_with_sql(place: str) -> None:
    zone = place.partition(" of ")[0]
    for window, anchor in SHAPES:
        periods = list(walk(window, anchor, zone, *WALKS[place]))

        assert all(period.starts_at < period.ends_at for period in periods)
        assert all(before.ends_at == after.starts_at for before, after in pairwise(periods))
        for edge in ("first moment", "last moment"):
            moments = [p.starts_at if edge == "first moment" else p.ends_at - TICK for p in periods]
            found = [window_at(window, at, time_zone=zone, anchor=anchor) for at in moments]
            assert found == periods, (window, anchor, edge)
            assert in_sql(window, anchor, zone, moments) == periods, (window, anchor, edge)


@pytest.mark.parametrize("place", [place for place in WALKS if "Toronto" not in place])
def test_days_start_when_their_date_is_first_shown(place: str) -> None:
    """An oracle of its own: look at the clock every half hour instead of computing midnights.

    Toronto's clock jumped from 23:30 to 00:30, once: its day starts half an hour later, where midnight would
    have been.
    """
    zone = ZoneInfo(place.partition(" of ")[0])
    begin, end = WALKS[place]
    latest = begin.astimezone(zone).date()
    starts = set()
    for at in half_hours(begin, end):
        shown = at.astimezone(zone).date()
        if shown > latest:
            latest = shown
            starts.add(at)

    days = list(walk(Window.DAY, 1, zone.key, begin, end))

    seen = {ceiling(day.starts_at) for day in days if begin < day.starts_at < end - timedelta(hours=1)}
    assert seen == {at for at in starts if at < end - timedelta(hours=1)}


def half_hours(begin: datetime, end: datetime) -> Iterator[datetime]:
    at = begin
    while at < end:
        yield at
        at += timedelta(minutes=30)


def ceiling(at: datetime) -> datetime:
    """Round up to the half hour."""
    over = (at - datetime(1900, 1, 1, tzinfo=UTC)) % timedelta(minutes=30)
    return at + (timedelta(minutes=30) - over) % timedelta(minutes=30)


moments = st.datetimes(
    min_value=DECADE[0].replace(tzinfo=None), max_value=DECADE[1].replace(tzinfo=None)
).map(lambda at: at.replace(tzinfo=UTC))


@pytest.mark.django_db
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.sampled_from(SHAPES), zone=st.sampled_from((*PROMISED, *ODD)), at=moments)
@example(shape=(Window.DAY, 1), zone="America/St_Johns", at=datetime(2010, 11, 7, 2, 45, tzinfo=UTC))
@example(shape=(Window.DAY, 1), zone="Antarctica/Casey", at=datetime(2010, 3, 4, 14, 30, tzinfo=UTC))
@example(shape=(Window.DAY, 1), zone="Antarctica/Casey", at=datetime(2010, 3, 4, 15, 30, tzinfo=UTC))
@example(shape=(Window.DAY, 1), zone="America/Toronto", at=datetime(1919, 3, 31, 4, 45, tzinfo=UTC))
@example(shape=(Window.MONTH, 1), zone="America/Toronto", at=datetime(1919, 3, 31, 4, 45, tzinfo=UTC))
def test_window_holds_any_moment_and_both_its_ends(
    shape: tuple[Window, int], zone: str, at: datetime
) -> None:
    window, anchor = shape
    period = window_at(window, at, time_zone=zone, anchor=anchor)

    assert period.starts_at <= at < period.ends_at
    around = [at, period.starts_at, period.ends_at - TICK, period.ends_at, period.starts_at - TICK]
    found = [window_at(window, moment, time_zone=zone, anchor=anchor) for moment in around]
    assert found[:3] == [period] * 3
    assert found[3].starts_at == period.ends_at
    assert found[4].ends_at == period.starts_at
    assert in_sql(window, anchor, zone, around) == found


def test_day_that_a_country_skipped_is_nobody_s_window() -> None:
    # Samoa went from 29 to 31 December 2011 over the date line.
    days = list(
        walk(
            Window.DAY,
            1,
            "Pacific/Apia",
            datetime(2011, 12, 29, 12, tzinfo=UTC),
            datetime(2012, 1, 1, tzinfo=UTC),
        )
    )

    zone = ZoneInfo("Pacific/Apia")
    assert [day.starts_at.astimezone(zone).date() for day in days] == [
        date(2011, 12, 29),
        date(2011, 12, 31),
        date(2012, 1, 1),
    ]
    assert {day.ends_at - day.starts_at for day in days} == {timedelta(hours=24)}


def test_clock_that_goes_back_over_midnight_reopens_no_window() -> None:
    # St John's, 7 November 2010: at 00:01 it was 23:01 of the 6th again. The 7th had begun at 02:30 UTC.
    shown_as_the_sixth = datetime(2010, 11, 7, 3, 0, tzinfo=UTC)
    assert shown_as_the_sixth.astimezone(ZoneInfo("America/St_Johns")).date() == date(2010, 11, 6)

    period = window_at(Window.DAY, shown_as_the_sixth, time_zone="America/St_Johns")

    assert period.starts_at == datetime(2010, 11, 7, 2, 30, tzinfo=UTC)
    assert period.ends_at - period.starts_at == timedelta(hours=25)
