"""The breaker and calls that nobody authorised: a log that tells of a runaway suspends its key."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from importlib import import_module

import pytest
from django.db import connection

from core import clock
from keys.models import ApiKey, Suspension
from tests.usage.telling import Telling, telling, wrong
from usage.models import KeyHour, KeyMinute
from usage.services import import_rows

__all__ = ["telling"]

pytestmark = pytest.mark.django_db
TOKENS_A_DOLLAR = 100_000


def tell(telling: Telling, *calls: tuple[str, datetime, int], key: int = 0) -> None:
    """Tell of calls of a key on the large model: name, moment, and what each cost in dollars."""
    rows = [
        {
            "external_id": name,
            "at": at.isoformat(),
            "key": telling.keys[key].public_id,
            "model": "large",
            "input_tokens": 0,
            "output_tokens": dollars * TOKENS_A_DOLLAR,
        }
        for name, at, dollars in calls
    ]
    assert import_rows(source=telling.gateway.public_id, rows=rows).quarantined == 0


def test_a_log_that_tells_of_a_runaway_suspends_its_key_and_no_other(telling: Telling) -> None:
    now = clock.now()
    tell(telling, ("other", now, 2), key=1)
    tell(telling, ("first", now - timedelta(minutes=2), 5), ("second", now, 4))
    assert not Suspension.objects.exists()
    tell(telling, ("third", now, 3))
    suspension = Suspension.objects.get()
    assert (suspension.key, suspension.cause) == (telling.keys[0], "burn_hour")
    assert list(ApiKey.objects.exclude(suspended_at=None)) == [telling.keys[0]]
    assert wrong() == []


def test_a_call_told_twice_is_counted_once(telling: Telling) -> None:
    now = clock.now()
    for _ in range(3):
        tell(telling, ("first", now, 9))
    assert KeyMinute.objects.get().cost_usd == 9
    assert not Suspension.objects.exists()


def test_calls_of_long_ago_are_no_pace(telling: Telling) -> None:
    tell(telling, ("old", clock.now() - timedelta(hours=7), 500))
    assert not KeyMinute.objects.exists()
    assert not Suspension.objects.exists()


def test_calls_of_a_clock_that_is_ahead_are_of_now(telling: Telling) -> None:
    now = clock.now()
    tell(telling, ("ahead", now + timedelta(minutes=4), 3))
    assert KeyMinute.objects.get().minute <= clock.now()


def test_what_was_told_before_logs_were_watched_is_the_past_of_its_key(telling: Telling) -> None:
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    days = [("d1", 1, 20), ("d8", 8, 30), ("d8b", 8, 1), ("d29", 29, 7)]
    tell(telling, *((name, hour - timedelta(days=ago), dollars) for name, ago, dollars in days))
    with connection.cursor() as cursor:
        cursor.execute(import_module("usage.migrations.0036_watch_logs").PAST)
    kept = dict(KeyHour.objects.values_list("hour", "cost_usd"))
    assert kept == {
        hour - timedelta(days=1): Decimal(20),
        hour - timedelta(days=8): Decimal(31),
    }
