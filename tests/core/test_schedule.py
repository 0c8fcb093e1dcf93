"""Quiet hours and the daily time by the clock on the wall, in every zone, across the nights of the change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.schedule import QuietHours, next_at, quiet_until

BERLIN = ZoneInfo("Europe/Berlin")
# The clocks change by an hour, half an hour, at midnight, by two hours, or a day is left out.
ODD = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Antarctica/Troll",
       "Pacific/Apia", "Asia/Kathmandu", "Africa/Casablanca")  # fmt: skip
zones = st.sampled_from(sorted(available_timezones() - {"Factory", "localtime"})) | st.sampled_from(ODD)
moments = st.datetimes(
    datetime(2011, 1, 1), datetime(2030, 12, 31), timezones=st.just(UTC)  # noqa: DTZ001  Hypothesis adds it
)  # fmt: skip
walls = st.times().map(lambda wall: wall.replace(second=0, microsecond=0))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "wall", "due"),
    [
        ("2026-06-01T05:59", time(8), "2026-06-01T06:00"),
        ("2026-06-01T06:00", time(8), "2026-06-02T06:00"),
        ("2026-12-01T06:59", time(8), "2026-12-01T07:00"),
        ("2026-03-28T12:00", time(2, 30), "2026-03-29T01:30"),  # 02:30 is left out: 03:30 summer time
        ("2026-03-29T01:30", time(2, 30), "2026-03-30T00:30"),
        ("2026-10-24T12:00", time(2, 30), "2026-10-25T00:30"),  # the first 02:30
        ("2026-10-25T00:45", time(2, 30), "2026-10-26T01:30"),  # and not the second
    ],
)
def test_daily_time_goes_by_the_wall_once_a_day(at: str, wall: time, due: str) -> None:
    assert next_at(utc(at), wall, BERLIN) == utc(due)


@pytest.mark.parametrize(
    ("at", "ends"),
    [
        ("2026-06-01T19:59", None),
        ("2026-06-01T20:00", "2026-06-02T05:00"),
        ("2026-06-02T04:59", "2026-06-02T05:00"),
        ("2026-06-02T05:00", None),
        ("2026-03-28T22:00", "2026-03-29T05:00"),  # an hour shorter
        ("2026-10-24T21:00", "2026-10-25T06:00"),  # an hour longer
    ],
)
def test_quiet_hours_go_over_midnight_by_the_wall(at: str, ends: str | None) -> None:
    quiet = QuietHours(starts=time(22), ends=time(7))
    assert quiet_until(utc(at), quiet, BERLIN) == (utc(ends) if ends else None)


def test_quiet_hours_within_a_day() -> None:
    quiet = QuietHours(starts=time(12), ends=time(13))
    assert quiet_until(utc("2026-06-01T10:30"), quiet, BERLIN) == utc("2026-06-01T11:00")
    assert quiet_until(utc("2026-06-01T09:30"), quiet, BERLIN) is None


@given(at=moments, wall=walls, name=zones)
@example(at=utc("2011-12-29T12:00"), wall=time(8), name="Pacific/Apia")
def test_next_daily_time_is_later_and_at_most_two_days_away(at: datetime, wall: time, name: str) -> None:
    zone = ZoneInfo(name)
    due = next_at(at, wall, zone)
    assert at < due <= at + timedelta(days=2)
    again = next_at(due, wall, zone)
    assert timedelta(hours=20) <= again - due <= timedelta(days=2)
    assert next_at(due - timedelta(microseconds=1), wall, zone) == due


@given(at=moments, starts=walls, ends=walls, name=zones)
def test_quiet_hours_end_and_are_over_when_they_do(at: datetime, starts: time, ends: time, name: str) -> None:
    quiet, zone = QuietHours(starts=starts, ends=ends), ZoneInfo(name)
    until = quiet_until(at, quiet, zone) if starts != ends else None
    if until is not None:
        assert at < until <= at + timedelta(hours=50)
        assert quiet_until(until, quiet, zone) is None
