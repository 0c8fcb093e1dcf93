"""A project that has come to spend more than usual is told apart from one that is as it always was."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from statistics import fmean, median, pstdev

import pytest

from tests.alerts.spending import SLOTS_A_DAY, START, leaking, spend, watched
from usage.drift import (
    BAR,
    LEAST_DEVIATION,
    LEAST_EXCESS_USD,
    LEVEL,
    SLOT,
    SLOTS_AN_HOUR,
    SLOTS_KNOWN,
    Drift,
    Usual,
    follow,
    root_of,
    usual_of,
)  # fmt: skip

AT = datetime(2026, 11, 10, 12, tzinfo=UTC)
WEEKS_OF_CLEAN_SPEND = 7
LEAK_STARTS = (4 * 7 + 2) * SLOTS_A_DAY + 10 * SLOTS_AN_HOUR  # Wednesday of the fifth week, at ten
SEEDS = range(4)
QUIET = Usual(mean_root=0.5, deviation=0.5, mean_usd=Decimal("0.25"))


def test_what_is_usual_is_the_mean_and_deviation_of_every_slot_known() -> None:
    slots = [Decimal(number) for number in range(SLOTS_KNOWN - 8)]
    roots = [root_of(usd) for usd in slots] + [0.0] * 8  # slots without spend have no rows
    usual = usual_of(sum(roots), sum(slots, Decimal(0)))
    assert usual.mean_root == pytest.approx(fmean(roots))
    assert usual.deviation == pytest.approx(pstdev(roots) + LEAST_DEVIATION)
    assert usual.mean_usd == sum(slots, Decimal(0)) / SLOTS_KNOWN


def test_an_hour_in_which_nothing_ever_happened_has_a_deviation_still() -> None:
    assert usual_of(0.0, Decimal(0)) == Usual(mean_root=0.0, deviation=LEAST_DEVIATION, mean_usd=Decimal(0))


def test_what_is_usual_and_a_little_more_does_not_count() -> None:
    assert follow(LEVEL, Decimal("0.25"), QUIET, at=AT) == LEVEL
    assert follow(LEVEL, Decimal(1), QUIET, at=AT) == LEVEL


def test_what_is_above_adds_up_from_when_it_began_and_falls_back_to_level() -> None:
    first = follow(LEVEL, Decimal(4), QUIET, at=AT)
    second = follow(first, Decimal(4), QUIET, at=AT + SLOT)
    assert (first.height, second.height) == (2.0, 4.0)
    assert (second.since, second.spent_usd, second.usual_usd) == (AT, 8, Decimal("0.5"))
    calm = second
    for number in range(2, 5):
        calm = follow(calm, Decimal(0), QUIET, at=AT + number * SLOT)
    assert calm == LEVEL


def test_it_warns_above_the_bar_and_starts_level_after_it() -> None:
    enough = LEAST_EXCESS_USD + 10
    assert not Drift(height=BAR, since=AT, spent_usd=enough).is_warning
    warned = Drift(height=BAR + 0.1, since=AT, spent_usd=enough)
    assert warned.is_warning
    assert follow(warned, Decimal(4), QUIET, at=AT + SLOT) == follow(LEVEL, Decimal(4), QUIET, at=AT + SLOT)


def test_a_few_dear_calls_of_a_quiet_project_are_not_worth_a_message() -> None:
    silent = usual_of(0.0, Decimal(0))
    drift = LEVEL
    for number in range(3):
        drift = follow(drift, Decimal(6), silent, at=AT + number * SLOT)
    assert drift.height > BAR
    assert not drift.is_warning


def test_corrections_that_take_money_off_are_no_spend() -> None:
    assert root_of(Decimal(-4)) == 0.0


@pytest.mark.parametrize("usd_a_month", [300.0, 2_100.0])
def test_clean_weeks_make_no_warning(usd_a_month: float) -> None:
    for seed in SEEDS:
        slots = spend(WEEKS_OF_CLEAN_SPEND * 7, seed=seed, usd_a_month=usd_a_month)
        assert list(watched(slots)) == []


def test_a_leak_of_8_dollars_an_hour_is_found_within_a_day() -> None:
    hours = []
    for seed in SEEDS:
        slots = leaking(spend(5 * 7, seed=seed), usd_an_hour=8, since=LEAK_STARTS, seed=seed)
        number, drift = next(watched(slots))
        assert number >= LEAK_STARTS
        hours.append((number + 1 - LEAK_STARTS) / SLOTS_AN_HOUR)
        assert drift.since is not None
        lasted = number + 1 - (drift.since - START) // SLOT
        assert 5 < (drift.spent_usd - drift.usual_usd) / lasted * SLOTS_AN_HOUR < 13
    assert max(hours) < 24
    assert 6 < median(hours) < 20
