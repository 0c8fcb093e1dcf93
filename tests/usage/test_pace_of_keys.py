"""The rule of the breaker: what too fast is, for whom, and what is not held against a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgets.models import Budget, Window
from keys.models import ApiKey, Suspension, SuspensionCause
from tests import factories
from tests.cast import Cast
from tests.usage.paces import FRIDAY, WEEKS_AGO, budget, history, plan, spend
from usage.models import KeyHour, KeyMinute

MARCH_HOURS = 31 * 24


@dataclass(frozen=True)
class Pace:
    """What usage_pace_of_key says."""

    cause: str | None
    five_minutes_usd: Decimal
    half_hour_usd: Decimal
    hour_usd: Decimal
    six_hours_usd: Decimal
    budget_id: int | None
    budget_usd_an_hour: Decimal | None
    busiest_hour_usd: Decimal | None
    most_usd_an_hour: Decimal
    is_planned: bool


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    return factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking, name="nightly batch")


def pace(key: ApiKey, at: datetime = FRIDAY) -> Pace:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM usage_pace_of_key(%s, %s)", [key.pk, at])
        return Pace(*cursor.fetchone())


def runaway(key: ApiKey, at: datetime, *, resumed_at: datetime | None = None, by: Any = None) -> None:
    Suspension.objects.create(
        key=key,
        cause=SuspensionCause.VELOCITY,
        reason="it spent too much",
        suspended_at=at,
        resumed_at=resumed_at,
        resumed_by=by,
    )


def test_a_key_that_spends_nothing_is_left_alone(key: ApiKey) -> None:
    found = pace(key)

    assert (found.cause, found.hour_usd, found.most_usd_an_hour) == (None, 0, 10)


@pytest.mark.parametrize(("usd", "cause"), [("10", None), ("10.01", "velocity")])
def test_a_new_key_without_a_budget_may_spend_ten_dollars_an_hour(
    key: ApiKey, usd: str, cause: str | None
) -> None:
    spend(key, {59: "4", 0: str(Decimal(usd) - 4), 60: "100"})

    assert pace(key).cause == cause


@pytest.mark.parametrize(("usd", "cause"), [("145", None), ("145.2", "velocity")])
def test_a_new_key_may_spend_a_twentieth_of_its_month_in_an_hour(
    cast: Cast, key: ApiKey, usd: str, cause: str | None
) -> None:
    budget(cast, cast.search, "3000")
    spend(key, {50: usd})  # not in the last five minutes: it burns no more

    found = pace(key)

    assert found.cause == cause
    assert found.busiest_hour_usd is None
    assert found.most_usd_an_hour == pytest.approx(Decimal(36 * 3000) / MARCH_HOURS)


@pytest.mark.parametrize(("usd", "cause"), [("59.9", None), ("60.1", "velocity")])
def test_a_known_key_may_spend_three_times_its_busiest_hour(key: ApiKey, usd: str, cause: str | None) -> None:
    history(key, dict.fromkeys(WEEKS_AGO, "1") | {400: "20", 401: "20"})
    spend(key, {30: usd})

    found = pace(key)

    assert found.busiest_hour_usd == pytest.approx(Decimal(20))
    assert found.cause == cause


def test_a_history_of_less_than_a_week_is_none(key: ApiKey) -> None:
    history(key, dict.fromkeys(range(7, 7 * 24), "50"))
    spend(key, {30: "11"})

    assert (pace(key).busiest_hour_usd, pace(key).cause) == (None, "velocity")


def test_hours_that_were_planned_or_ran_away_are_not_usual(cast: Cast, key: ApiKey) -> None:
    history(key, dict.fromkeys(WEEKS_AGO, "2") | {200: "90", 300: "80", 301: "70"})
    plan(cast, key, most="100", hours=(200.5, 199.5))
    began = FRIDAY - timedelta(hours=299)
    runaway(key, began, resumed_at=began + timedelta(hours=1), by=cast.ben)

    assert pace(key).busiest_hour_usd == pytest.approx(Decimal(2))


@pytest.mark.parametrize(
    ("last_five", "before", "cause"),
    [("6", "54", "burn_hour"), ("4", "56", None), ("6", "50", None)],
)
def test_an_hour_burns_the_budget_when_its_last_minutes_do_too(
    cast: Cast, key: ApiKey, last_five: str, before: str, cause: str | None
) -> None:
    budget(cast, cast.search, "3000")  # 14.4 times $4.03 an hour are $58.06
    spend(key, {2: last_five, 40: before})

    assert pace(key).cause == cause


@pytest.mark.parametrize(
    ("half_hour", "before", "cause"),
    [("13", "135", "burn_six_hours"), ("11", "137", None), ("13", "131", None)],
)
def test_six_hours_burn_the_budget_when_the_last_half_hour_does_too(
    cast: Cast, key: ApiKey, half_hour: str, before: str, cause: str | None
) -> None:
    budget(cast, cast.search, "3000")  # 6 times 6 hours at $4.03 are $145.16
    spend(key, {20: half_hour, 200: str(Decimal(before) / 2), 359: str(Decimal(before) / 2)})

    assert pace(key).cause == cause


def test_little_money_is_no_runaway_however_small_the_budget(cast: Cast, key: ApiKey) -> None:
    budget(cast, key, "30")
    spend(key, {0: "9.9"})

    assert pace(key).cause is None


def test_the_tightest_budget_of_the_path_counts(cast: Cast, key: ApiKey) -> None:
    budget(cast, cast.search, "3000")
    tight = budget(cast, cast.ranking, "600", window=Window.WEEK, window_anchor=1)
    budget(cast, cast.product, "90000", window=Window.QUARTER)
    budget(cast, cast.cards, "1")

    found = pace(key)

    assert (found.budget_id, found.budget_usd_an_hour) == (tight.pk, pytest.approx(Decimal(600) / 168))


def test_budgets_of_days_of_lifetimes_of_tiers_and_closed_ones_do_not_count(cast: Cast, key: ApiKey) -> None:
    budget(cast, cast.search, "20", window=Window.DAY)
    budget(cast, cast.search, "100", window=Window.LIFETIME)
    budget(cast, cast.search, "10", only_tier=cast.tier2)
    budget(cast, cast.search, "10", only_model=cast.small)
    budget(cast, cast.search, "0")
    budget(cast, cast.ranking, "10", closed_at=FRIDAY)

    assert pace(key).budget_id is None


def test_what_was_spent_before_the_key_was_resumed_is_not_held_against_it(cast: Cast, key: ApiKey) -> None:
    spend(key, {20: "500", 10: "8"})
    began = FRIDAY - timedelta(minutes=19)
    assert pace(key).cause == "velocity"

    runaway(key, began, resumed_at=began + timedelta(minutes=1), by=cast.ben)

    assert (pace(key).cause, pace(key).hour_usd) == (None, 8)


@pytest.mark.parametrize(("usd", "cause"), [("80", None), ("80.01", "plan")])
def test_a_planned_activity_lets_a_key_spend_as_fast_as_was_planned(
    cast: Cast, key: ApiKey, usd: str, cause: str | None
) -> None:
    budget(cast, cast.search, "300")
    plan(cast, key, most="80", hours=(2, -2))
    spend(key, {1: usd})

    found = pace(key)

    assert (found.cause, found.is_planned, found.most_usd_an_hour) == (cause, True, 80)


def test_what_was_planned_is_not_held_against_a_key_afterwards(cast: Cast, key: ApiKey) -> None:
    spend(key, dict.fromkeys(range(31, 60), "5") | {10: "3"})
    assert pace(key).cause == "velocity"

    plan(cast, key, most="300", hours=(1, 0.5))

    assert (pace(key).cause, pace(key).hour_usd) == (None, 3)


def test_a_cancelled_plan_covers_what_was_before_and_nothing_after(cast: Cast, key: ApiKey) -> None:
    made = plan(cast, key, most="300", hours=(1, -5))
    spend(key, {40: "100", 5: "11"})
    assert pace(key).cause is None

    made.cancelled_at, made.cancelled_by = FRIDAY - timedelta(minutes=30), cast.ben
    made.save()

    assert (pace(key).cause, pace(key).hour_usd) == ("velocity", 11)


def test_a_plan_of_another_key_covers_nothing(cast: Cast, key: ApiKey) -> None:
    other = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    plan(cast, other, most="300", hours=(1, -1))
    spend(key, {5: "11"})

    assert pace(key).cause == "velocity"


def test_the_weekend_that_cost_7000_dollars_costs_about_60(cast: Cast, key: ApiKey) -> None:
    budget(cast, cast.search, "3000")
    history(key, {ago: "19" if ago % 168 == 28 else "3" for ago in range(7, 28 * 24)})
    a_minute = Decimal(7000) / (63 * 60)

    lost, at = Decimal(0), FRIDAY
    while pace(key, at).cause is None:
        at += timedelta(minutes=1)
        spend(key, {0: a_minute}, at=at)
        lost += a_minute

    assert 50 < lost < 60
    assert at - FRIDAY < timedelta(minutes=35)


def test_a_storm_of_1500_dollars_an_hour_is_over_in_minutes(cast: Cast, key: ApiKey) -> None:
    history(key, dict.fromkeys(range(7, 28 * 24), "19"))

    at, minutes = FRIDAY, 0
    while pace(key, at).cause is None:
        at, minutes = at + timedelta(minutes=1), minutes + 1
        spend(key, {0: "25"}, at=at)

    assert minutes == 3


def expected_cause(minutes: dict[int, Decimal], *, busiest: Decimal | None, an_hour: Decimal) -> str | None:
    """Say the rule again, in Python, for a key with one budget and no plans."""

    def last(count: int) -> Decimal:
        return sum((usd for ago, usd in minutes.items() if ago < count), Decimal(0))

    most = max(Decimal(10), 3 * busiest if busiest is not None else Decimal(36) * an_hour)
    if last(60) > most:
        return "velocity"
    if last(60) > max(Decimal(10), Decimal("14.4") * an_hour) and last(5) * 12 > Decimal("14.4") * an_hour:
        return "burn_hour"
    if last(360) > max(Decimal(10), 36 * an_hour) and last(30) * 2 > 6 * an_hour:
        return "burn_six_hours"
    return None


cents = st.integers(0, 4000).map(lambda value: Decimal(value) / 100)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    minutes=st.dictionaries(st.integers(0, 365), cents, max_size=25),
    busiest=st.none() | cents,
    limit=st.sampled_from(["70", "700", "7000"]),
)
def test_the_statement_follows_the_rule(
    cast: Cast, key: ApiKey, minutes: dict[int, Decimal], busiest: Decimal | None, limit: str
) -> None:
    KeyMinute.objects.all().delete()
    KeyHour.objects.all().delete()
    Budget.objects.filter(closed_at=None).update(closed_at=FRIDAY)
    budget(cast, cast.search, limit, window=Window.WEEK, window_anchor=1)
    spend(key, dict(minutes))
    if busiest is not None:
        history(key, dict.fromkeys(range(200, 300), str(busiest)))

    assert pace(key).cause == expected_cause(minutes, busiest=busiest, an_hour=Decimal(limit) / 168)
