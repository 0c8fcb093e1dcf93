"""The breaker over months of usual use, and over the weekend that it is for: docs/adr/0024, with a seed.

A key works by day and hardly at night or on weekends, drifts from week to week, and has one batch job a week.
The rule is said in Python here, on sums by the minute, and `test_pace_of_keys` holds the database against it;
the weekend runs through the database.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import accumulate

import pytest

from budgets.models import Window
from tests import factories
from tests.cast import Cast
from tests.usage.paces import FRIDAY, budget, history, spend
from tests.usage.test_pace_of_keys import pace

SEED = 20_261_201
PAST, JUDGED = 28, 30  # days: those that say what is usual, and the month that is judged
MONTH_USD, SPENT_USD = 3_000, 2_100  # the budget of a key's month, and what it spends of it
AN_HOUR_USD = MONTH_USD / (JUDGED * 24)
HOUR, DAY = 60, 24 * 60
BATCH_HOURS, BATCH_SHARE = 2, 0.08  # a job a week, at night, of so much of the week: about $19 an hour
WEEKEND_USD, WEEKEND_HOURS, DAILY_BUDGET_USD = 7_000, 63, 500


def minutes_of(chance: random.Random) -> list[float]:
    """Return what a key costs in each minute of past and month, in US dollars."""
    drift, batch_day = 1.0, chance.randrange(7)
    weeks = -(-(PAST + JUDGED) // 7)
    usual = SPENT_USD / JUDGED * 7
    found: list[float] = []
    for _ in range(weeks):
        drift = min(max(drift * chance.lognormvariate(0, 0.1), 0.7), 1.4)
        hours = [_weight(hour) * chance.lognormvariate(0, 0.35) for hour in range(7 * 24)]
        a_weight = usual * (1 - BATCH_SHARE) * drift / sum(hours)
        batch = usual * BATCH_SHARE * drift / (BATCH_HOURS * HOUR)
        began = batch_day * 24 + 2
        for hour, weight in enumerate(hours):
            calls = [chance.expovariate(1.0) if chance.random() < 0.6 else 0.0 for _ in range(HOUR)]
            each = weight * a_weight / (sum(calls) or 1.0)
            extra = batch if began <= hour < began + BATCH_HOURS else 0.0
            found += [call * each + extra * chance.uniform(0.8, 1.2) for call in calls]
    return found[: (PAST + JUDGED) * DAY]


def _weight(hour: int) -> float:
    """Return how busy an hour of the week is: from 8 to 19 on workdays most."""
    day, of_day = divmod(hour, 24)
    busy = 1.0 if 8 <= of_day < 19 else 0.08
    return busy * (0.12 if day >= 5 else 1.0)


def causes(minutes: Sequence[float]) -> Iterator[tuple[int, str]]:
    """Give each minute of the judged month in which the rule would suspend the key, and why."""
    sums = [0.0, *accumulate(minutes)]
    busiest = busiest_hours(sums, len(minutes))

    def last(end: int, count: int) -> float:
        return sums[end] - sums[max(0, end - count)]

    for end in range(PAST * DAY + 1, len(minutes) + 1):
        hour = last(end, HOUR)
        if hour <= 10 and last(end, 6 * HOUR) <= 10:
            continue
        if hour > max(10.0, 3 * busiest[end // HOUR]):
            yield end, "velocity"
        elif hour > max(10.0, 14.4 * AN_HOUR_USD) and last(end, 5) * 12 > 14.4 * AN_HOUR_USD:
            yield end, "burn_hour"
        elif last(end, 6 * HOUR) > max(10.0, 36 * AN_HOUR_USD) and last(end, 30) * 2 > 6 * AN_HOUR_USD:
            yield end, "burn_six_hours"


def busiest_hours(sums: Sequence[float], minutes: int) -> list[float]:
    """Return the 99.9th percentile of the hours of four weeks, the last six left out, by the hour it holds
    in.
    """
    hours = [sums[start + HOUR] - sums[start] for start in range(0, minutes, HOUR)]
    found = [0.0] * (len(hours) + 1)
    for now in range(PAST * 24, len(hours) + 1):
        ordered = sorted(hours[now - PAST * 24 : now - 6])
        place = 0.999 * (len(ordered) - 1)
        low, share = math.floor(place), place % 1
        found[now] = ordered[low] + share * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("months", [60, pytest.param(1_120, marks=pytest.mark.full)])
def test_no_key_that_works_as_usual_is_suspended(months: int) -> None:
    chance = random.Random(SEED)  # noqa: S311  usage, no secret
    stopped, spent = [], 0.0
    for number in range(months):
        minutes = minutes_of(chance)
        spent += sum(minutes[PAST * DAY :])
        stopped += [(number, *cause) for cause in causes(minutes)][:1]

    assert SPENT_USD * 0.85 < spent / months < SPENT_USD * 1.15  # they spend what they should
    assert stopped == [], f"{len(stopped)} of {months} key-months"


@pytest.mark.parametrize("seed", range(5))
def test_the_weekend_of_a_usual_key_costs_about_60_dollars(cast: Cast, seed: int) -> None:
    """$7,000 from Friday evening to Monday, of which a budget of $500 a day alone would let $1,906 pass."""
    chance = random.Random(SEED + seed)  # noqa: S311  as above
    minutes = minutes_of(chance)[: PAST * DAY]
    key = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    budget(cast, cast.search, str(MONTH_USD))
    budget(cast, cast.search, str(DAILY_BUDGET_USD), window=Window.DAY)
    hours = [sum(minutes[start : start + HOUR]) for start in range(0, len(minutes), HOUR)]
    past = {ago: f"{hours[-ago]:.6f}" for ago in range(7, PAST * 24)}
    history(key, past)
    a_minute = Decimal(WEEKEND_USD) / (WEEKEND_HOURS * HOUR)

    at, lost = FRIDAY, Decimal(0)
    while pace(key, at).cause is None and lost < DAILY_BUDGET_USD:
        at += timedelta(minutes=1)
        spend(key, {0: a_minute}, at=at)
        lost += a_minute

    assert lost <= 62
    assert pace(key, at).cause in {"velocity", "burn_hour"}


def test_the_rule_here_stops_the_weekend_too() -> None:
    chance = random.Random(SEED)  # noqa: S311  as above
    minutes, a_minute = minutes_of(chance), WEEKEND_USD / (WEEKEND_HOURS * HOUR)
    began = (PAST + 4) * DAY + 18 * HOUR
    for minute in range(began, began + WEEKEND_HOURS * HOUR):
        minutes[minute] += a_minute

    end, cause = next(causes(minutes))

    assert cause in {"velocity", "burn_hour"}
    assert 0 < (end - began) * a_minute <= 62
