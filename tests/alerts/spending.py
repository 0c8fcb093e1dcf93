"""Makes up what five minutes of a project cost: days and weeks with their shape, many small calls, no clock.

As `prototypes/finops/runaway.py` of the design did: calls come as they like, a few are dear, days differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from math import exp, log
from random import Random

from usage.drift import LEVEL, SLOT, SLOTS_AN_HOUR, WEEK, WEEKS, Drift, follow, root_of, usual_of

START = datetime(2026, 8, 31, tzinfo=UTC)  # a Monday
SLOTS_A_DAY = 24 * SLOTS_AN_HOUR
HOURS = (
    .15, .12, .10, .10, .12, .2, .35, .6, 1.1, 1.9, 2.2, 2.3, 2.0, 2.1, 2.3, 2.3, 2.1, 1.8, 1.2, .8, .55,
    .4, .3, .2,
)  # fmt: skip
DAYS = (1.1, 1.15, 1.15, 1.1, 1.0, 0.22, 0.18)  # Monday to Sunday
MEAN_SHAPE = sum(HOURS) / len(HOURS) * sum(DAYS) / len(DAYS)
USD_A_CALL, SPREAD = 0.035, 1.2  # the mean, and the deviation of its logarithm
DAY_SPREAD = 0.18


def spend(days: int, *, seed: int, usd_a_month: float = 2_100.0) -> list[float]:
    """Return what each slot of so many days costs, from a Monday on."""
    random = Random(seed)  # noqa: S311  a story, not a secret
    usual_slot = usd_a_month / 30 / SLOTS_A_DAY
    slots: list[float] = []
    for day in range(days):
        mood = exp(random.gauss(0, DAY_SPREAD))
        for hour in range(24):
            mean = usual_slot * HOURS[hour] * DAYS[day % 7] / MEAN_SHAPE * mood / USD_A_CALL
            slots += [_cost(random, mean) for _ in range(SLOTS_AN_HOUR)]
    return slots


def leaking(slots: Sequence[float], *, usd_an_hour: float, since: int, seed: int) -> list[float]:
    """Return the same with a leak from a slot on, which is not quite steady."""
    random = Random(seed)  # noqa: S311  a story, not a secret
    slot_usd = usd_an_hour / SLOTS_AN_HOUR
    return [
        usd + (slot_usd * random.gammavariate(30, 1 / 30) if number >= since else 0)
        for number, usd in enumerate(slots)
    ]


def watched(slots: Sequence[float]) -> Iterator[tuple[int, Drift]]:
    """Give every warning, with its slot, from the fifth week on; each week learns from the four before."""
    drift = LEVEL
    hours = [slots[first : first + SLOTS_AN_HOUR] for first in range(0, len(slots), SLOTS_AN_HOUR)]
    sums = [(sum(root_of(Decimal(usd)) for usd in hour), Decimal(sum(hour))) for hour in hours]
    week = int(WEEK.total_seconds()) // 3_600
    for number in range(WEEKS * week * SLOTS_AN_HOUR, len(slots)):
        known = [sums[number // SLOTS_AN_HOUR - back * week] for back in range(1, WEEKS + 1)]
        usual = usual_of(sum(roots for roots, _ in known), sum((usd for _, usd in known), Decimal(0)))
        drift = follow(drift, Decimal(slots[number]), usual, at=START + number * SLOT)
        if drift.is_warning:
            yield number, drift


def _cost(random: Random, mean_calls: float) -> float:
    middle = log(USD_A_CALL) - SPREAD**2 / 2
    return sum(random.lognormvariate(middle, SPREAD) for _ in range(_calls(random, mean_calls)))


def _calls(random: Random, mean: float) -> int:
    """Draw from a Poisson distribution (Knuth)."""
    number, product, least = 0, random.random(), exp(-mean)
    while product > least:
        number += 1
        product *= random.random()
    return number
