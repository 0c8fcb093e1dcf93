"""What becomes of a key that runs away: who is suspended, by what evidence, and what is kept of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from budgets.models import Window
from core.models import AuditEvent
from keys.models import ApiKey, Suspension
from tests import factories
from tests.cast import Cast
from tests.usage.paces import FRIDAY, WEEKS_AGO, budget, history, plan, spend
from usage import services
from usage.models import KeyHour, KeyMinute


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    return factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking, name="nightly batch")


def stop(*keys: ApiKey, at: datetime = FRIDAY) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_stop_runaways(%s, %s)", [[key.pk for key in keys], at])
        stopped: int = cursor.fetchone()[0]
    return stopped


def test_a_runaway_is_suspended_with_its_evidence_and_its_audit_row(cast: Cast, key: ApiKey) -> None:
    binding = budget(cast, cast.search, "3000")
    factories.revealed(key)
    spend(key, {0: "2", 1: "5", 58: "52", 61: "7"})

    assert stop(key) == 1

    key.refresh_from_db()
    suspension = Suspension.objects.get()
    event = AuditEvent.objects.get(action="key.suspended")
    why = "it spent $59.00 within an hour, more than 14.4 times what its tightest budget allows for one"
    assert key.state == "suspended"
    assert key.suspended_reason == suspension.reason == event.reason == why
    assert (suspension.key, suspension.cause, suspension.suspended_by) == (key, "burn_hour", None)
    assert suspension.suspended_at == key.suspended_at == event.at == FRIDAY
    evidence = suspension.evidence
    assert (evidence["hour_usd"], evidence["six_hours_usd"]) == ("59.000000000000", "66.000000000000")
    assert evidence["budget"] == binding.public_id
    assert [Decimal(usd) for usd in evidence["minutes"]] == [0, 52, *[0] * 56, 5, 2]
    assert (event.actor_label, event.object_type, event.object_id) == ("purser", "keys.apikey", key.public_id)
    assert (event.team_id, event.department_id) == (cast.search.pk, cast.product.pk)
    assert (event.before, event.after) == ({"state": "live"}, {"state": "suspended", "cause": "burn_hour"})


@pytest.mark.parametrize(
    ("set_up", "why"),
    [
        ("new", "it spent $11.00 within an hour, more than the $10.00 that a new key may"),
        ("known", "it spent $31.00 within an hour, more than $30.00, the most by its busiest hours so far"),
        ("plan", "it spent $51.00 within an hour, more than the $50.00 that were planned"),
        ("six", "it spent $36.00 in six hours, more than 6 times what its tightest budget allows for them"),
    ],
)
def test_the_reason_says_what_was_too_much(cast: Cast, key: ApiKey, set_up: str, why: str) -> None:
    match set_up:
        case "new":
            spend(key, {1: "11"})
        case "known":
            history(key, dict.fromkeys(WEEKS_AGO, "10"))
            spend(key, {1: "31"})
        case "plan":
            plan(cast, key, most="50", hours=(1, -1))
            spend(key, {1: "51"})
        case "six":
            budget(cast, cast.search, "160", window=Window.WEEK, window_anchor=1)
            history(key, dict.fromkeys(WEEKS_AGO, "40"))
            spend(key, {10: "9", 200: "27"})
    stop(key)

    assert Suspension.objects.get().reason == why


def test_only_the_keys_that_run_away_are_suspended_and_once(cast: Cast, key: ApiKey) -> None:
    calm, fast, gone = (
        factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking) for _ in range(3)
    )
    for each, usd in ((key, "20"), (calm, "9"), (fast, "30"), (gone, "40")):
        spend(each, {1: usd})
    ApiKey.objects.filter(pk=gone.pk).update(
        revoked_at=FRIDAY, revoked_by=cast.ben, revoked_reason="Not used."
    )

    assert stop(key, calm, gone) == 1
    assert stop(key, calm, gone) == 0
    assert set(Suspension.objects.values_list("key", flat=True)) == {key.pk}


def test_old_minutes_join_their_hours_and_nothing_is_lost(key: ApiKey) -> None:
    now = datetime.now(UTC)
    spend(key, dict.fromkeys(range(0, 600, 7), "1"), at=now)
    history(key, {9: "5", 40 * 24: "6"}, at=now)
    before = sum(KeyMinute.objects.values_list("cost_usd", flat=True))

    joined = services.join_minutes()
    again = services.join_minutes()

    assert joined > 0
    assert again == 0
    minutes, hours = (
        sum(rows.values_list("cost_usd", flat=True)) for rows in (KeyMinute.objects, KeyHour.objects)
    )
    assert minutes + hours == before + 5
    assert KeyMinute.objects.earliest("minute").minute > now - timedelta(hours=7)
    assert KeyMinute.objects.filter(minute__gt=now - timedelta(hours=6)).count() == len(range(0, 360, 7))


def test_the_alarm_clock_looks_at_keys_of_which_nothing_settles_any_more(key: ApiKey) -> None:
    spend(key, {3: "11"}, at=datetime.now(UTC))

    assert services.stop_runaways() == 1
    assert Suspension.objects.get().key == key
