"""Two beats at once make one alert: the unique constraint is the guard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from django.db import connection

from budgets import selectors
from budgets.models import BudgetAlert
from budgets.thresholds import Passed
from tests.alerts.scene import NOW, budget_of, days_before, mails, spent, told_shares
from tests.cast import Cast, make_cast
from tests.racing import at_once
from tests.usage.books import book
from usage.services import tell_of_forecasts, tell_of_spend

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]
MEETING_SECONDS = 2.0
GUARD = "alert_once_per_budget_window_limit_kind_and_percent"
COLUMNS = "(budget_id, window_start, limit_since, kind, percent)"


@pytest.fixture
def people(transactional_db: None) -> Cast:
    """Make the cast in committed rows, which other sessions see."""
    return make_cast()


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make both wait, after they have found what is new, for the other to have found it too."""
    barrier = Barrier(2)
    read = selectors.newly_passed

    def read_and_wait(**how: Any) -> list[Passed]:
        found = read(**how)
        with contextlib.suppress(BrokenBarrierError):
            barrier.wait(MEETING_SECONDS)
        return found

    monkeypatch.setattr(selectors, "newly_passed", read_and_wait)
    yield
    barrier.abort()


@pytest.fixture
def unguarded(people: Cast) -> Iterator[None]:
    """Take the guard away."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE budgets_budgetalert DROP CONSTRAINT {GUARD}")
        yield
        cursor.execute("ALTER TABLE budgets_budgetalert DISABLE TRIGGER USER")
        cursor.execute("DELETE FROM budgets_budgetalert")
        cursor.execute("ALTER TABLE budgets_budgetalert ENABLE TRIGGER USER")
        cursor.execute(f"ALTER TABLE budgets_budgetalert ADD CONSTRAINT {GUARD} UNIQUE {COLUMNS}")


def look_twice() -> list[int]:
    """Let two jobs look at once, and return of how many budgets each told, the fewer first."""
    return sorted(at_once(lambda: tell_of_spend(at=NOW), lambda: tell_of_spend(at=NOW)))


def test_without_the_guard_two_beats_at_once_tell_twice(people: Cast, unguarded: None, meeting: None) -> None:
    spent(budget_of(people.ranking, "100"), "84")
    assert look_twice() == [1, 1]
    assert (told_shares(), mails().count()) == ([80, 80], 2)


def test_with_the_guard_two_beats_at_once_make_one_alert(people: Cast, meeting: None) -> None:
    spent(budget_of(people.ranking, "100"), "84")
    assert look_twice() == [0, 1]
    assert (told_shares(), mails().count()) == ([80], 1)


def test_two_beats_at_once_over_many_budgets_do_not_hold_each_other_up(people: Cast, meeting: None) -> None:
    for place in (people.ranking, people.search, people.product, people.fraud, people.cards):
        spent(budget_of(place, "100"), "120")
    assert look_twice() == [0, 5]
    assert BudgetAlert.objects.count() == 15


def test_two_forecasts_at_once_make_one_alert(people: Cast) -> None:
    spent(budget_of(people.ranking, "200"), "95")
    for day in days_before(14):
        book(people.ranking, people.small, day, "10")
    assert sorted(at_once(*[lambda: tell_of_forecasts(at=NOW)] * 2)) == [0, 1]
    assert mails().count() == 1
