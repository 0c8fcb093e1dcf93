"""A budget that passes a share of its limit is told of once, in the transaction of the alert."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from budgets.models import BudgetAlert, Mode, Window
from core import clock, outbox
from core.models import Outbox
from tests.alerts.scene import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    budget_of,
    limit,
    look,
    mails,
    passed_shares,
    spent,
    told_shares,
    top_up,
)  # fmt: skip
from tests.cast import Cast
from tests.factories import ApiKeyFactory, ProjectFactory
from tests.usage.books import book
from usage import tasks
from usage.services import tell_of_spend

pytestmark = pytest.mark.django_db
BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(("amount", "share"), [("50", 50), ("80", 80), ("100", 100)])
def test_each_share_is_told_when_exactly_it_is_spent_and_not_before(
    cast: Cast, amount: str, share: int
) -> None:
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, f"{Decimal(amount) - Decimal('0.000000000001')}")
    assert share not in look()
    spent(ranking, amount)
    assert look(NOW + MINUTE) == [share]


def test_a_share_is_told_once_however_often_the_job_looks(cast: Cast) -> None:
    spent(budget_of(cast.ranking, "100"), "84")
    assert [look(NOW + number * MINUTE) for number in range(4)] == [[80], [], [], []]
    assert mails().count() == 1


def test_shares_are_told_one_after_the_other_as_spend_grows(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100")
    told = []
    for amount in ("10", "55", "79", "81", "99", "100", "140"):
        spent(ranking, amount)
        told += look()
    assert told == [50, 80, 100]


def test_a_jump_from_40_to_120_makes_one_message_that_names_the_highest(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, "40")
    assert look() == []
    spent(ranking, "120")
    assert look() == [100]
    assert passed_shares() == [50, 80, 100]
    mail = mails().get()
    assert "100% of $100.00" in mail.payload["subject"]
    assert "50% and 80% were passed with it." in mail.payload["body"]


def test_what_is_held_for_calls_in_flight_is_not_spent(cast: Cast) -> None:
    spent(budget_of(cast.ranking, "100"), "40", held="60")
    assert look() == []


def test_a_top_up_arms_every_share_again(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, "85")
    assert look() == [80]
    top_up(ranking, "50", at=NOW + MINUTE, until=NOW + DAY)
    assert look(NOW + 2 * MINUTE) == []  # 57% of $150: who topped it up knows
    spent(ranking, "125")
    assert look(NOW + HOUR) == [80]
    spent(ranking, "150")
    assert look(NOW + 2 * HOUR) == [100]


def test_a_top_up_that_ends_with_everything_spent_is_told_again(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, "100")
    assert look() == [100]
    top_up(ranking, "50", at=NOW + MINUTE, until=NOW + HOUR)
    spent(ranking, "110")
    assert look(NOW + 2 * MINUTE) == []
    assert look(NOW + 2 * HOUR) == [100]
    assert look(NOW + 3 * HOUR) == []


def test_a_raised_limit_arms_every_share_again(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, "100")
    assert look() == [100]
    limit(ranking, "200", at=NOW + MINUTE)
    spent(ranking, "160")
    assert look(NOW + 2 * MINUTE) == [80]


def test_a_raise_that_is_not_enough_is_told_at_once(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, "130")
    assert look() == [100]
    limit(ranking, "120", at=NOW + MINUTE)
    assert look(NOW + 2 * MINUTE) == [100]


def test_a_lowered_limit_is_told_of_at_once(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "200")
    spent(ranking, "90")
    assert look() == []
    limit(ranking, "100", at=NOW + MINUTE)
    assert look(NOW + 2 * MINUTE) == [80]


def test_the_same_limit_set_again_arms_nothing(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, "85")
    assert look() == [80]
    limit(ranking, "100", at=NOW + MINUTE)
    assert look(NOW + 2 * MINUTE) == []


def test_the_next_window_starts_with_every_share_armed(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, "120")
    assert look() == [100]
    december = NOW + 25 * DAY
    assert look(december) == []
    spent(ranking, "50", at=december)
    assert look(december) == [50]


@pytest.mark.parametrize(
    ("last_second", "length"),
    [
        (datetime.fromisoformat("2026-10-25T23:59:59+01:00"), 25 * HOUR),
        (datetime.fromisoformat("2026-03-29T23:59:59+02:00"), 23 * HOUR),
    ],
)
def test_a_day_in_which_the_clocks_change_is_one_window(
    cast: Cast, last_second: datetime, length: object
) -> None:
    ranking = budget_of(cast.ranking, "100", window=Window.DAY, time_zone=BERLIN)
    spent(ranking, "85", at=last_second - 23 * HOUR + HOUR / 2)
    assert look(last_second - 22 * HOUR) == [80]
    assert look(last_second) == []
    assert look(last_second + MINUTE) == []
    spent(ranking, "85", at=last_second + MINUTE)
    assert look(last_second + MINUTE) == [80]
    first, second = BudgetAlert.objects.filter(is_told=True).order_by("pk")
    assert first.window_end - first.window_start == length
    assert second.window_start == first.window_end


def test_without_a_limit_there_is_no_alert(cast: Cast) -> None:
    spent(budget_of(cast.ranking, None), "1000")
    assert look() == []


def test_a_limit_of_nothing_is_told_of_once_something_is_spent(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "0", mode=Mode.SOFT)
    spent(ranking, "0")
    assert look() == []
    spent(ranking, "0.01")
    assert look() == [100]


def test_a_closed_budget_tells_nothing(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100", closed_at=NOW - HOUR)
    spent(ranking, "100")
    assert look() == []


def test_a_budget_tells_at_the_shares_that_were_chosen_for_it(cast: Cast) -> None:
    ranking = budget_of(cast.ranking, "100", alert_percents=[90, 120])
    told = []
    for amount in ("89", "90", "100", "119", "120"):
        spent(ranking, amount)
        told += look()
    assert told == [90, 120]


def test_the_alert_is_taken_back_with_its_messages(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    spent(budget_of(cast.ranking, "100"), "84")

    def fail(_messages: object) -> None:
        raise RuntimeError("the database went away")

    with monkeypatch.context() as broken:
        broken.setattr(outbox, "put_together", fail)
        with pytest.raises(RuntimeError):
            tell_of_spend(at=NOW)
    assert (BudgetAlert.objects.count(), mails().count()) == (0, 0)
    assert look() == [80]
    assert mails().count() == 1


def test_an_alert_is_never_changed(cast: Cast) -> None:
    spent(budget_of(cast.ranking, "100"), "84")
    look()
    with pytest.raises(Exception, match="append-only"), transaction.atomic():
        BudgetAlert.objects.update(percent=1)


@pytest.mark.parametrize("number", [5, 50])
def test_the_job_asks_as_often_for_5_budgets_as_for_50(cast: Cast, number: int) -> None:
    for _ in range(number):
        project = ProjectFactory.create(team=cast.search)
        spent(budget_of(project, "100"), "84")
        key = ApiKeyFactory.create(project=project, owner=cast.ada)
        book(project, cast.small, (NOW - DAY).date(), "84", key=key)
    with CaptureQueriesContext(connection) as asked:
        tell_of_spend(at=NOW)
    assert told_shares() == [80] * number
    assert Outbox.objects.count() == number
    assert len(asked) == 16
    with CaptureQueriesContext(connection) as asked:
        tell_of_spend(at=NOW)
    assert len(asked) == 4  # the two queries, and the savepoint around them


def test_the_jobs_go_by_the_clock_of_the_database(cast: Cast) -> None:
    spent(budget_of(cast.ranking, "100"), "84", at=clock.now())
    assert (tasks.tell_of_spend(), tasks.tell_of_forecasts(), tasks.watch_spend()) == (1, 0, 0)
    assert tasks.tell_of_spend() == 0
