"""Single calls go month by month, never before what outlives them recounts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import DatabaseError, connection
from django.test import override_settings
from structlog.testing import capture_logs

from core import clock
from tests.factories import LlmModelFactory
from tests.usage.telling import Telling, telling, wrong
from usage.models import Quarantine, RecountedDay, RetiredMonth, UsageDay, UsageEvent, UsageHour
from usage.services import forget_hours, import_rows, recount, recount_yesterday, retire_months

__all__ = ["telling"]

pytestmark = pytest.mark.django_db


def months() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(c.relname, 7) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'usage_call'::regclass ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]


def moment(months_ago: int) -> datetime:
    """Return noon of the 10th of an earlier month."""
    today = clock.now()
    index = today.year * 12 + today.month - 1 - months_ago
    return datetime(index // 12, index % 12 + 1, 10, 12, tzinfo=UTC)


def tell(telling: Telling, number: int, at: datetime) -> None:
    row = telling.row(number, at=at.isoformat())
    assert import_rows(source=telling.gateway.public_id, rows=[row]).booked == 1


@pytest.fixture
def aged(telling: Telling) -> Telling:
    """Give one call in each of the twelve months before this one."""
    for ago in range(1, 13):
        tell(telling, ago, moment(ago))
    return telling


@override_settings(USAGE_KEEP_MONTHS=6)
def test_old_months_go_and_their_sums_stay(aged: Telling) -> None:
    spent = sum(UsageDay.objects.values_list("cost_usd", flat=True))
    outcomes = retire_months()

    assert set(outcomes.values()) == {"retired"}
    assert f"{moment(7):%Y-%m}" in outcomes
    assert UsageEvent.objects.count() == 6
    assert UsageDay.objects.count() == 12
    assert sum(UsageDay.objects.values_list("cost_usd", flat=True)) == spent
    kept = RetiredMonth.objects.get(month=moment(9).replace(day=1).date())
    assert (kept.calls, kept.cost_usd) == (1, UsageDay.objects.get(day=moment(9).date()).cost_usd)
    assert wrong() == []
    assert retire_months() == {}


@override_settings(USAGE_KEEP_MONTHS=6)
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE usage_day SET cost_usd = cost_usd + 0.000000000001 WHERE day = %s::timestamptz::date",
        "DELETE FROM usage_event WHERE at = %s",
    ],
)
def test_month_that_does_not_recount_stays_with_all_after_it(aged: Telling, change: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(change, [moment(9)])
    before = months()
    with capture_logs() as logs:
        outcomes = retire_months()
    assert outcomes[f"{moment(9):%Y-%m}"] == "differs"
    assert f"{moment(8):%Y-%m}" not in outcomes
    assert months() == [name for name in before if name >= f"{moment(9):%Y_%m}"]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["usage.month_stays"]


def days_a_run(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let each run have time for so many days."""

    def time_left(seconds: float | None = None) -> Callable[[], bool]:
        return iter([*[True] * number, False]).__next__

    monkeypatch.setattr(clock, "time_left", time_left)


@pytest.fixture
def two_months(telling: Telling) -> Telling:
    """Give a call in the last month that is kept, and one in the month before."""
    for ago in (6, 7):
        tell(telling, ago, moment(ago))
    with connection.cursor() as cursor:  # the empty months before are no part of this
        cursor.execute("SELECT usage_make_partitions(%s, %s)", [moment(7).date(), moment(0).date()])
    return telling


@override_settings(USAGE_KEEP_MONTHS=6)
def test_a_month_is_recounted_day_by_day_over_as_many_runs_as_it_takes(
    two_months: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    month = f"{moment(7):%Y-%m}"
    days_a_run(monkeypatch, 12)
    outcomes = [retire_months() for _ in range(3)]
    assert outcomes == [{month: "not_recounted"}, {month: "not_recounted"}, {month: "retired"}]
    assert not RecountedDay.objects.exists()
    assert RetiredMonth.objects.get().calls == 1


@override_settings(USAGE_KEEP_MONTHS=6)
def test_a_call_that_comes_after_its_day_was_recounted_makes_the_month_recounted_again(
    two_months: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    month = f"{moment(7):%Y-%m}"
    days_a_run(monkeypatch, 27)
    assert retire_months() == {month: "not_recounted"}
    tell(two_months, 9, moment(7) + timedelta(hours=1))
    assert [retire_months()[month] for _ in range(2)] == ["not_recounted", "retired"]
    assert RetiredMonth.objects.get().calls == 2
    assert wrong() == []


def test_days_of_young_months_are_not_locked_to_be_recounted(telling: Telling) -> None:
    with connection.cursor() as cursor, pytest.raises(DatabaseError, match="old month"):
        cursor.execute("SELECT usage_recount_day(%s, %s, 'UTC')", [moment(0).date()] * 2)


def test_all_is_kept_unless_somebody_says_how_long(aged: Telling) -> None:
    before = months()
    assert retire_months() == {}
    assert months() == before


@override_settings(USAGE_KEEP_MONTHS=1)
def test_two_months_are_kept_at_least(aged: Telling) -> None:
    retire_months()
    assert months()[0] == f"{moment(2):%Y_%m}"
    with connection.cursor() as cursor:
        young = "usage_retire_month(%s, 'UTC')"
        cursor.execute(f"SELECT {young}, usage_retire_month('2001-01-01', 'UTC')", [moment(1).date()])
        assert cursor.fetchone() == ("young", "missing")


@override_settings(USAGE_KEEP_MONTHS=6)
def test_call_of_a_retired_month_is_not_booked_again(aged: Telling) -> None:
    retire_months()
    again = aged.row(9, at=moment(9).isoformat())
    assert import_rows(source=aged.gateway.public_id, rows=[again]).quarantined == 1
    assert Quarantine.objects.get().reason == "bad_time"
    assert f"{moment(9):%Y_%m}" not in months()
    assert wrong() == []


def test_call_before_the_first_table_gets_one(telling: Telling) -> None:
    assert "2025_02" not in months()
    LlmModelFactory.create(name="free", declared_free=True)
    row = telling.row(1, at="2025-02-03T00:00:00Z", model="free")
    assert import_rows(source=telling.gateway.public_id, rows=[row]).booked == 1
    assert "2025_02" in months()
    assert wrong() == []


@override_settings(USAGE_KEEP_MONTHS=6, TIME_ZONE="Asia/Tokyo")
def test_day_across_a_retired_end_is_left_alone(telling: Telling) -> None:
    """In Tokyo a day begins nine hours before UTC's month: half of it is retired with the month before."""
    start = moment(6).replace(day=1, hour=0)
    for number, hours in ((2, -1), (4, -30), (6, 1), (8, 30)):
        tell(telling, number, start + timedelta(hours=hours))
    assert f"{moment(7):%Y-%m}" in retire_months()
    assert UsageEvent.objects.count() == 2
    assert recount(day=start.date()).differing == 0


def test_recount_says_what_differs(telling: Telling) -> None:
    yesterday = clock.now() - timedelta(days=1)
    tell(telling, 1, yesterday)
    agreed = recount_yesterday()
    assert (agreed.day, agreed.calls, agreed.differing) == (yesterday.date(), 1, 0)

    UsageDay.objects.update(cost_usd=UsageDay.objects.get().cost_usd - Decimal("0.000000000001"))
    with capture_logs() as logs:
        differs = recount_yesterday()
    assert (differs.differing, differs.difference_usd) == (1, Decimal("0.000000000001"))
    assert [line["event"] for line in logs] == ["usage.recount_differs"]
    assert recount(day=date(2026, 1, 1)).differing == 0


def test_hours_are_kept_for_two_weeks(telling: Telling) -> None:
    tell(telling, 1, telling.start)
    tell(telling, 2, clock.now() - timedelta(days=15))
    assert UsageHour.objects.count() == 1
    with time_machine.travel(telling.start + timedelta(days=13)):
        assert forget_hours() == 0
    with time_machine.travel(telling.start + timedelta(days=15)):
        assert forget_hours() == 1
    assert UsageDay.objects.count() == 2
