"""A budget that is forecast to pass its limit is told of once, with the day on which it will."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from budgets.models import AlertKind, Budget, BudgetAlert, Window
from tests.alerts.scene import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    budget_of,
    days_before,
    limit,
    look,
    look_ahead,
    mails,
    spent,
)  # fmt: skip
from tests.cast import Cast
from tests.factories import ProjectFactory
from tests.usage.books import book
from usage.services import tell_of_forecasts

pytestmark = pytest.mark.django_db


def steady(cast: Cast, amount: str = "200", *, per_day: str = "10", **fields: Any) -> Budget:
    """Open a budget of a project that spends the same each day: $95 by now, $299 by the end of November."""
    ranking = budget_of(cast.ranking, amount, **fields)
    for day in days_before(14):
        book(cast.ranking, cast.small, day, per_day)
    spent(ranking, f"{9 * Decimal(per_day) + 5}")
    return ranking


def test_a_forecast_over_the_limit_is_told_once_with_its_day(cast: Cast) -> None:
    steady(cast)
    assert [look_ahead(NOW + number * 10 * MINUTE) for number in range(3)] == [1, 0, 0]
    alert = BudgetAlert.objects.get()
    assert (alert.kind, alert.percent) == (AlertKind.FORECAST, 100)
    assert alert.forecast_usd == Decimal(95) + 10 * Decimal("20.5")
    # $105 are left at $10 a day, from noon of the 10th on.
    assert alert.passes_on == date(2026, 11, 21)
    mail = mails().get()
    assert mail.payload["subject"] == "Ranking, each month: forecast to pass $200.00 on 21 November 2026"
    assert "The limit will be passed on 21 November 2026 at this pace." in mail.payload["body"]


def test_a_forecast_within_the_limit_is_no_alert(cast: Cast) -> None:
    steady(cast, "300")
    assert look_ahead() == 0


def test_a_forecast_that_falls_and_rises_again_is_not_told_twice(cast: Cast) -> None:
    ranking = steady(cast)
    assert look_ahead() == 1
    spent(ranking, "1")
    look_ahead(NOW + HOUR)
    spent(ranking, "150")
    assert look_ahead(NOW + 2 * HOUR) == 0


def test_a_raise_that_is_not_enough_for_the_forecast_is_told(cast: Cast) -> None:
    ranking = steady(cast)
    assert look_ahead() == 1
    limit(ranking, "250", at=NOW + MINUTE)
    assert look_ahead(NOW + 2 * MINUTE) == 1
    limit(ranking, "400", at=NOW + HOUR)
    assert look_ahead(NOW + 2 * HOUR) == 0


def test_a_limit_that_is_passed_is_not_forecast_any_more(cast: Cast) -> None:
    ranking = steady(cast)
    spent(ranking, "200")
    assert look_ahead() == 0


def test_the_next_window_is_forecast_anew(cast: Cast) -> None:
    ranking = steady(cast)
    assert look_ahead() == 1
    december = NOW + 25 * DAY
    for back in range(1, 11):
        book(cast.ranking, cast.small, (december - back * DAY).date(), "10")
    spent(ranking, "42", at=december)
    assert look_ahead(december) == 1


@pytest.mark.parametrize("fields", [{"window": Window.DAY}, {"window": Window.LIFETIME}, {"amount": None}])
def test_what_cannot_be_forecast_is_no_alert(cast: Cast, fields: dict[str, Any]) -> None:
    steady(cast, **{"amount": "1", **fields})
    spent(Budget.objects.get(), "0.5")
    assert look_ahead() == 0


def test_a_closed_budget_and_one_of_nothing_are_not_forecast(cast: Cast) -> None:
    steady(cast, closed_at=NOW - HOUR)
    budget_of(cast.search, "0")
    assert look_ahead() == 0


def test_an_alert_of_spend_names_when_the_rest_will_be_gone(cast: Cast) -> None:
    spent(steady(cast), "110")
    assert look() == [50]
    alert = BudgetAlert.objects.get()
    assert alert.passes_on == date(2026, 11, 19)
    assert "The limit will be passed on 19 November 2026" in mails().get().payload["body"]


@pytest.mark.parametrize("number", [5, 50])
def test_the_job_asks_as_often_for_5_budgets_as_for_50(cast: Cast, number: int) -> None:
    for _ in range(number):
        project = ProjectFactory.create(team=cast.search)
        spent(budget_of(project, "200"), "95")
        for day in days_before(3):
            book(project, cast.small, day, "10")
    with CaptureQueriesContext(connection) as asked:
        assert tell_of_forecasts(at=NOW) == number
    assert len(asked) == 14
