"""Of which share of a limit people are told: the rule alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from budgets.thresholds import Earlier, Passed, share_to_tell

START = datetime(2026, 11, 1, tzinfo=UTC)
RAISED = START + timedelta(days=3)


def passed(*percents: int, limit: str = "100", spent: str = "85", since: datetime = START) -> Passed:
    return Passed(
        budget_id=1,
        window_start=START,
        window_end=START + timedelta(days=30),
        limit_usd=Decimal(limit),
        limit_since=since,
        spent_usd=Decimal(spent),
        held_usd=Decimal(0),
        percents=percents,
    )


def earlier(percent: int, *, limit: str = "100", spent: str = "85", since: datetime = START) -> Earlier:
    return Earlier(percent=percent, limit_usd=Decimal(limit), limit_since=since, spent_usd=Decimal(spent))


def test_the_highest_of_several_shares_is_told() -> None:
    assert share_to_tell(passed(50, 80, 100), ()) == 100


def test_the_next_share_of_the_same_limit_is_told() -> None:
    assert share_to_tell(passed(80), (earlier(50),)) == 80


def test_a_share_below_one_that_was_told_is_no_news() -> None:
    assert share_to_tell(passed(60), (earlier(80),)) is None


def test_half_of_a_raised_limit_is_no_news_to_who_raised_it_knowing_that_much_was_spent() -> None:
    assert share_to_tell(passed(50, limit="160", since=RAISED), (earlier(80),)) is None


def test_a_share_of_a_raised_limit_that_comes_to_more_than_was_known_is_told() -> None:
    assert share_to_tell(passed(80, limit="160", spent="130", since=RAISED), (earlier(80),)) == 80


def test_all_of_a_raised_limit_is_always_told() -> None:
    known = (earlier(100, spent="120"),)
    assert share_to_tell(passed(80, 100, limit="110", spent="120", since=RAISED), known) == 100


@pytest.mark.parametrize("percent", [50, 80, 100])
def test_each_share_of_a_lowered_limit_is_told(percent: int) -> None:
    known = (earlier(100, limit="200", spent="200"),)
    assert share_to_tell(passed(percent, limit="150", spent="200", since=RAISED), known) == percent
