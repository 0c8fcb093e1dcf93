"""A hard budget that refuses calls before all of it is spent tells of it, in words that are true."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Budget, BudgetAlert, Mode
from core import clock
from tests.alerts.scene import DAY, HOUR, MINUTE, NOW, budget_of, limit, look, mails, passed_shares, spent
from tests.browsing import Visitor
from tests.cast import Cast
from tests.usage.books import refuse

pytestmark = pytest.mark.django_db


@pytest.fixture
def nearly(cast: Cast) -> Budget:
    """Give the project a budget with 97.5 % of its limit spent, of which people were told at 80 %."""
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, "97.50")
    assert look(NOW - MINUTE) == [80]
    return ranking


def test_all_of_a_limit_is_told_when_what_is_left_does_not_cover_a_call(cast: Cast, nearly: Budget) -> None:
    refuse(cast.ranking, NOW, "budget_exhausted", 3, budget=nearly)
    assert [look(NOW + number * MINUTE) for number in range(3)] == [[100], [], []]
    alert = BudgetAlert.objects.get(percent=100)
    assert (alert.spent_usd, alert.limit_usd) == (Decimal("97.5"), 100)
    mail = mails().last()
    assert mail is not None
    assert "calls are refused, 97% of $100.00 is spent" in mail.payload["subject"]
    assert "What is left does not cover a call: Calls are refused with 429" in mail.payload["body"]


def test_it_is_told_once_though_all_of_it_is_spent_afterwards(cast: Cast, nearly: Budget) -> None:
    refuse(cast.ranking, NOW, "budget_exhausted", 1, budget=nearly)
    assert look() == [100]
    spent(nearly, "100")
    assert look(NOW + MINUTE) == []
    assert passed_shares() == [50, 80, 100]


@pytest.mark.parametrize("code", ["budget_held", "rate_limited"])
def test_calls_that_will_fit_later_use_nothing_up(cast: Cast, nearly: Budget, code: str) -> None:
    refuse(cast.ranking, NOW, code, 1, budget=nearly)
    assert look() == []


def test_a_large_call_that_a_half_used_budget_refuses_is_no_alert(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, "79")
    refuse(cast.ranking, NOW, "budget_exhausted", 1, budget=ranking)
    assert look() == [50]


def test_another_budget_that_refuses_says_nothing_of_this_one(cast: Cast, nearly: Budget) -> None:
    refuse(cast.ranking, NOW, "budget_exhausted", 1, budget=budget_of(cast.search, "100"))
    refuse(cast.ranking, NOW, "budget_exhausted", 1)
    assert look() == []


def test_what_was_refused_under_the_limit_before_says_nothing_of_a_raised_one(
    cast: Cast, nearly: Budget
) -> None:
    refuse(cast.ranking, NOW, "budget_exhausted", 1, budget=nearly)
    assert look() == [100]
    limit(nearly, "110", at=NOW + MINUTE)
    assert look(NOW + 2 * MINUTE) == []
    refuse(cast.ranking, NOW + HOUR, "budget_exhausted", 1, budget=nearly)
    assert look(NOW + HOUR) == [100]


def test_what_was_refused_in_the_window_before_says_nothing_of_this_one(cast: Cast, nearly: Budget) -> None:
    december = NOW.replace(month=12, day=1, hour=0)
    refuse(cast.ranking, december - MINUTE, "budget_exhausted", 1, budget=nearly)
    spent(nearly, "85", at=december)
    assert look(december + MINUTE) == [80]


def test_a_budget_that_tells_of_its_whole_limit_alone_does_so_from_four_fifths_on(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100", alert_percents=[100])
    spent(ranking, "79")
    refuse(cast.ranking, NOW, "budget_exhausted", 1, budget=ranking)
    assert look() == []
    spent(ranking, "80")
    assert look() == [100]


@pytest.mark.parametrize("fields", [{"mode": Mode.SOFT}, {"alert_percents": [50, 80]}])
def test_who_refuses_nothing_or_did_not_choose_it_is_not_told(cast: Cast, fields: dict[str, Any]) -> None:
    ranking = budget_of(cast.ranking, "100", **fields)
    spent(ranking, "97")
    refuse(cast.ranking, NOW, "budget_exhausted", 1, budget=ranking)
    assert look() == [80]


def test_the_page_says_told_and_not_passed(cast: Cast) -> None:
    now = clock.now()
    ranking = budget_of(cast.ranking, "100", since=now - DAY)
    spent(ranking, "97", at=now)
    refuse(cast.ranking, now, "budget_exhausted", 1, budget=ranking)
    assert look(now) == [100]
    words = Visitor(cast.ben).get(f"/budgets/{ranking.public_id}/").words
    assert "80%, $80.00 Passed" in words
    assert "100%, $100.00 Told" in words
