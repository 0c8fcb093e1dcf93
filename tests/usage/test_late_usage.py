"""What comes late for a month whose books are closed stands in the open month, and the closed one stays."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from budgets.models import Balance, Entry, EntryKind, Reservation, ScopeKind, Window
from core import clock
from portal import ledger
from teams.models import Team, User
from tests.gateway import conftest
from tests.gateway.conftest import World
from tests.gateway.test_pull import allowed
from tests.gateway.test_push import push, row
from usage.models import PeriodClose, PeriodState, UsageDay, UsageEvent
from usage.selectors.adjustments import adjustment_rows, adjustments_of
from usage.selectors.closing import adjustments as after_close
from usage.selectors.closing import end_of_month
from usage.services.holds import expire_holds
from usage.types import Period


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(conftest, "LONG_AGO", timedelta(days=90))  # prices of last month too
    return conftest.build_world()


def of_last_month() -> datetime:
    """Return a moment of the middle of last month."""
    first = clock.now().replace(day=1)
    return (first - timedelta(days=1)).replace(day=15, hour=12)


def close(at: datetime) -> PeriodClose:
    """Close the month of a moment, whatever is in it."""
    return PeriodClose.objects.create(
        month=at.date().replace(day=1), state=PeriodState.CLOSED, closed_at=clock.now(),
        closed_by=User.objects.get(),
    )  # fmt: skip


def spent(month: date) -> tuple[Decimal, int]:
    days = UsageDay.objects.filter(day__gte=month, day__lt=end_of_month(month))
    return sum((day.cost_usd for day in days), start=Decimal(0)), sum(day.input_tokens for day in days)


def budget_usd(world: World) -> dict[date, Decimal]:
    rows = Balance.objects.filter(budget=world.budgets["team"]).values_list("window_start", "spent_usd")
    return {start.date(): usd for start, usd in rows}


def test_a_push_for_a_closed_month_is_carried_to_the_open_one(world: World) -> None:
    world.budget("team", kind=ScopeKind.TEAM, limit="10", window=Window.MONTH)
    at = of_last_month()
    period = close(at)

    push(world.gus, [row(world, name, at=at.isoformat()) for name in ("a", "b")])

    this_month = clock.now().date().replace(day=1)
    assert spent(period.month) == (0, 0)
    assert spent(this_month) == (Decimal("0.0024"), 2_000)
    assert budget_usd(world) == {period.month: 0, this_month: Decimal("0.0024")}
    assert UsageEvent.objects.filter(calls=1, at=at).count() == 2  # the calls stay where they were made
    entry = Entry.objects.get(prior_period=period.month)
    assert (entry.kind, entry.amount_usd) == (EntryKind.ADJUST, Decimal("0.0024"))
    assert entry.reason == f"Prior period {period.month:%Y-%m}: late usage of {at:%Y-%m-%d}"
    assert ledger.verify().findings == ()


def test_the_close_of_a_month_and_a_statement_show_what_was_carried(world: World) -> None:
    at = of_last_month()
    period = close(at)
    push(world.gus, [row(world, "a", at=at.isoformat())])

    after = after_close(period)

    assert (after.booked_usd, after.moved_usd) == (Decimal("0.0012"), 0)
    today = clock.now().date()
    this_month = Period(first_day=today.replace(day=1), last_day=today, label="")
    found = adjustments_of(adjustment_rows(Team.objects.get(pk=world.team.pk), this_month), this_month)
    assert sum(each.amount_usd for each in found if each.is_prior) == Decimal("0.0012")


def test_the_same_push_again_carries_nothing_twice(world: World) -> None:
    at = of_last_month()
    close(at)
    rows = [row(world, "a", at=at.isoformat())]
    for _ in range(3):
        push(world.gus, rows)
    assert Entry.objects.count() == 3  # the late one, off the closed month, onto the open one


@pytest.mark.parametrize("state", [PeriodState.SOFT, PeriodState.REOPENED])
def test_a_month_that_is_not_closed_takes_late_usage_itself(world: World, state: PeriodState) -> None:
    at = of_last_month()
    period = close(at)
    ann = User.objects.create(email="ann@example.com", name="Ann")
    PeriodClose.objects.update(state=state, reopened_at=clock.now(), reopened_by=ann, reason="A bill came.")
    push(world.gus, [row(world, "a", at=at.isoformat())])
    assert spent(period.month)[0] == Decimal("0.0012")
    assert not Entry.objects.filter(kind=EntryKind.ADJUST).exists()


def test_a_late_settlement_of_a_closed_month_is_carried(world: World) -> None:
    world.budget("team", kind=ScopeKind.TEAM, limit="10", window=Window.LIFETIME)
    at = of_last_month()
    reservation = allowed(world)
    Reservation.objects.update(authorized_at=at, expires_at=at + timedelta(minutes=10))
    period = close(at)

    assert world.gus.settle(reservation).json()["status"] == "late"

    this_month = clock.now().date().replace(day=1)
    assert spent(period.month) == (0, 0)
    assert spent(this_month) == (Decimal("0.0003"), 200)
    assert Balance.objects.get().spent_usd == Decimal("0.0003")
    assert Entry.objects.get(prior_period=period.month).amount_usd == Decimal("0.0003")
    assert ledger.verify().findings == ()


def test_what_a_late_settlement_takes_back_is_carried_too(world: World) -> None:
    world.budget("team", kind=ScopeKind.TEAM, limit="10", window=Window.LIFETIME)
    at = of_last_month()
    reservation = allowed(world)
    Reservation.objects.update(authorized_at=at, expires_at=at + timedelta(minutes=10))
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_expire(interval '0', 10, 'UTC')")
    charged_usd = Entry.objects.get(kind=EntryKind.UNSETTLED).amount_usd
    period = close(at)

    world.gus.settle(reservation)

    assert spent(period.month)[0] == charged_usd
    assert spent(clock.now().date().replace(day=1))[0] == Decimal("0.0003") - charged_usd
    assert Balance.objects.get().spent_usd == Decimal("0.0003")
    assert ledger.verify().findings == ()


def test_a_call_that_nobody_told_of_until_its_month_was_closed_is_carried(world: World) -> None:
    world.budget("team", kind=ScopeKind.TEAM, limit="10", window=Window.LIFETIME)
    at = of_last_month()
    reservation = allowed(world)
    Reservation.objects.update(authorized_at=at, expires_at=at + timedelta(minutes=10))
    period = close(at)

    assert expire_holds() == 1

    charged_usd = Entry.objects.get(kind=EntryKind.UNSETTLED).amount_usd
    this_month = clock.now().date().replace(day=1)
    assert charged_usd > 0
    assert (spent(period.month)[0], spent(this_month)[0]) == (0, charged_usd)
    assert Entry.objects.get(prior_period=period.month).amount_usd == charged_usd
    assert Balance.objects.get().spent_usd == charged_usd
    assert ledger.verify().findings == ()

    world.gus.settle(reservation)

    assert (spent(period.month)[0], spent(this_month)[0]) == (0, Decimal("0.0003"))
    assert Balance.objects.get().spent_usd == Decimal("0.0003")
    assert ledger.verify().findings == ()
