"""Days that an outage left out are compared afterwards, and a month does not close over them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine

from budgets.models import ScopeKind
from core import clock
from tests.gateway.conftest import World
from tests.gateway.test_pull import Journal
from usage.models import Level, ReconciliationRun, RunState, UsageEvent
from usage.selectors.closing import Check, checklist
from usage.services import pull_source, reconcile_day
from usage.services.reconciliation import due
from usage.tasks import reconcile_recent_days


@pytest.fixture
def journal(world: World) -> Journal:
    """Return a gateway's journal that tells nothing of a call that was settled now."""
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    world.gus.settle(world.gus.authorize(world.token).json()["reservation"])
    UsageEvent.objects.update(recorded_at=clock.now() - timedelta(hours=3))
    return Journal(world.gus.gateway.public_id)


def today() -> date:
    return clock.now().astimezone(UTC).date()


def noon(after: int) -> datetime:
    return datetime.combine(today(), datetime.min.time(), tzinfo=UTC) + timedelta(days=after, hours=12)


def compared(journal: Journal, after: int) -> list[str]:
    """Return which days the jobs compare so many days later, the journal read before."""
    with time_machine.travel(noon(after), tick=False):
        pull_source(source=journal)
        return [name.removeprefix(f"{journal.name} ") for name in reconcile_recent_days()]


@pytest.mark.parametrize("after", [3, 10, 44])
def test_a_day_that_was_never_compared_is_after_an_outage_of_days(journal: Journal, after: int) -> None:
    day = today()

    assert str(day) in compared(journal, after)

    assert str(day) not in compared(journal, after)  # once; days without calls are none
    assert ReconciliationRun.objects.get(day=day).state == RunState.DIFFERENT


def test_a_day_that_was_compared_only_before_it_was_over_is_again(journal: Journal) -> None:
    day = today()
    pull_source(source=journal)
    reconcile_day(source=journal.name, day=day)

    assert str(day) in compared(journal, 5)
    assert str(day) not in compared(journal, 5)


def test_a_red_day_is_compared_when_the_record_was_read_and_one_that_is_too_much_is_not(
    journal: Journal,
) -> None:
    day = today()
    pull_source(source=journal)
    with time_machine.travel(noon(4), tick=False):
        assert reconcile_day(source=journal.name, day=day).state == RunState.UNREADABLE
        assert f"{journal.name} {day}" not in reconcile_recent_days()

    assert str(day) in compared(journal, 5)
    ReconciliationRun.objects.filter(day=day).update(state=RunState.UNREADABLE, notice=due.TOO_LARGE)
    assert str(day) not in compared(journal, 6)


@pytest.mark.parametrize("by_source", [True, False])
def test_a_month_with_a_day_that_was_never_compared_does_not_close(journal: Journal, by_source: bool) -> None:
    day = today()

    def check() -> Check:
        checks = checklist(day.replace(day=1), by_source=by_source)
        return next(each for each in checks if each.title == "All days are compared")

    with time_machine.travel(noon(40), tick=False):
        assert not check().holds
        assert f"{day:%-d %B}" in check().detail
    compared(journal, 40)
    with time_machine.travel(noon(40), tick=False):
        assert check().holds
    assert ReconciliationRun.objects.filter(day=day, level=Level.CALLS).exists()
