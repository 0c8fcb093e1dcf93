"""Days that an outage left out are compared afterwards, and a month does not close over them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine

from budgets.models import ScopeKind
from core import clock
from core.errors import InvalidInputError
from teams.models import User
from tests.gateway.conftest import World
from tests.gateway.test_pull import Journal
from tests.usage.test_repricing import administrator
from usage.models import Level, ReconciliationRun, RunState, UsageEvent
from usage.selectors.closing import Check, checklist
from usage.selectors.compared import NOT_COMPARED
from usage.services import close_period, pull_source, reconcile_day, soft_close_period
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


def check(day: date) -> Check:
    checks = checklist(day.replace(day=1))
    return next(each for each in checks if each.title == "All days are compared")


def test_a_month_with_a_day_that_was_never_compared_does_not_close(journal: Journal) -> None:
    day = today()

    with time_machine.travel(noon(40), tick=False):
        assert not check(day).holds
        assert f"{day:%-d %B}" in check(day).detail
    compared(journal, 40)
    with time_machine.travel(noon(40), tick=False):
        assert check(day).holds
    assert ReconciliationRun.objects.filter(day=day, level=Level.CALLS).exists()


def other_gateway(day: date) -> None:
    """Let another gateway, that had calls on the same day, be compared."""
    moment = datetime.combine(day, datetime.min.time(), tzinfo=UTC) + timedelta(days=3)
    ReconciliationRun.objects.create(
        day=day, source="gw_other", state=RunState.MATCHED, first_run_at=moment, last_run_at=moment,
        portal_calls=1, gateway_calls=1,
    )  # fmt: skip


def refused(actor: User, month: date) -> str:
    with pytest.raises(InvalidInputError) as error:
        close_period(actor=actor, month=month)
    return str(error.value)


def test_a_day_that_one_gateway_lacks_is_named_on_the_page_and_where_it_is_closed(journal: Journal) -> None:
    day, ann = today(), administrator("Ann")
    month = day.replace(day=1)
    other_gateway(day)

    with time_machine.travel(noon(40), tick=False):
        assert check(day).holds  # nobody looked for it yet
        soft_close_period(actor=ann, month=month)
        assert f"{day:%-d %B}" in check(day).detail
        assert f"{day:%-d %B}" in refused(ann, month)
        run = ReconciliationRun.objects.get(day=day, source=journal.name)
        assert (run.state, run.notice) == (RunState.UNREADABLE, NOT_COMPARED)

    assert str(day) in compared(journal, 40)
    with time_machine.travel(noon(40), tick=False):
        assert check(day).holds


@pytest.mark.parametrize("begun", [False, True])
def test_a_day_that_a_job_had_no_time_for_is_named(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    day = today()
    other_gateway(day)
    if begun:  # before there were any calls
        ReconciliationRun.objects.create(
            day=day, source=journal.name, state=RunState.MATCHED, first_run_at=noon(0), last_run_at=noon(0)
        )
    with time_machine.travel(noon(9), tick=False):
        pull_source(source=journal)
        monkeypatch.setattr(due, "MOST_RUNS", 0)
        reconcile_recent_days()
        assert f"{day:%-d %B}" in check(day).detail


def test_a_day_that_was_marked_is_compared_next_though_nothing_was_read_since(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = today()
    with time_machine.travel(noon(9), tick=False) as traveller:
        pull_source(source=journal)
        traveller.shift(timedelta(minutes=5))
        with monkeypatch.context() as patched:
            patched.setattr(due, "MOST_RUNS", 0)
            reconcile_recent_days()
        assert ReconciliationRun.objects.get(day=day).notice == NOT_COMPARED
        traveller.shift(timedelta(minutes=5))
        assert f"{journal.name} {day}" in reconcile_recent_days()
        assert ReconciliationRun.objects.get(day=day).state == RunState.DIFFERENT


def test_a_day_that_was_compared_before_it_was_over_is_named(journal: Journal) -> None:
    day = today()
    other_gateway(day)
    pull_source(source=journal)
    reconcile_day(source=journal.name, day=day)
    with time_machine.travel(noon(9), tick=False):
        assert f"{day:%-d %B}" in check(day).detail
