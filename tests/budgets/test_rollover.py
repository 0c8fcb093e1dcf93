"""What a window passes on to the next stays true when calls settle late."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Barrier, BrokenBarrierError

import pytest
from django.conf import settings
from django.db import connections
from django.db.models import QuerySet
from hypothesis import given
from hypothesis import strategies as st

from budgets import selectors
from budgets.models import Balance, Budget, BudgetLimit, Entry, EntryKind, RollOver, Window
from budgets.services import rollover
from budgets.services.rollover import carried_usd, passed_on_usd, true_up_carry
from budgets.tasks import true_up_carry as task
from budgets.windows import Period, window_at
from core import clock
from portal.celery import app
from tests.factories import BudgetFactory, BudgetLimitFactory

DAY = timedelta(days=1)
usd = st.decimals(0, 100, places=12)


def window(days_ago: int) -> Period:
    """Return the day window that was so many days ago."""
    return window_at(Window.DAY, clock.now() - days_ago * DAY)


def daily(roll_over: RollOver, limit: str | None = "100", **fields: object) -> Budget:
    """Make a daily budget with a limit since long ago."""
    budget = BudgetFactory.create(window=Window.DAY, roll_over=roll_over, **fields)
    amount = None if limit is None else Decimal(limit)
    BudgetLimitFactory.create(budget=budget, amount_usd=amount, valid_from=clock.now() - 300 * DAY)
    return budget


def post(budget: Budget, days_ago: int, amount: str, kind: EntryKind = EntryKind.ADJUST) -> Entry:
    """Write an entry of a window, and its balance as the books want it."""
    period = window(days_ago)
    balance, _ = Balance.objects.get_or_create(
        budget=budget, window_start=period.starts_at, defaults={"window_end": period.ends_at}
    )
    Balance.objects.filter(budget=budget, window_start=period.starts_at).update(
        spent_usd=balance.spent_usd + Decimal(amount)
    )
    return Entry.objects.create(
        kind=kind, amount_usd=Decimal(amount), budget_ids=[budget.pk], window_starts=[period.starts_at],
        reason="A test.", effective_at=period.starts_at, recorded_at=clock.now(),
    )  # fmt: skip


def carry(budget: Budget, days_ago: int, amount: str) -> Entry:
    """Write what opened a window."""
    return post(budget, days_ago, amount, EntryKind.CARRY)


def spent(budget: Budget, days_ago: int) -> Decimal:
    """Return what a window came to."""
    return Balance.objects.get(budget=budget, window_start=window(days_ago).starts_at).spent_usd


def corrections() -> list[tuple[Decimal, int]]:
    """Return every correction and the entry that it corrects."""
    rows = Entry.objects.filter(kind=EntryKind.CORRECTION).order_by("pk")
    return [(row.amount_usd, row.corrects_id or 0) for row in rows]


@pytest.mark.parametrize(
    ("rule", "spent_usd", "expected"),
    [
        (RollOver.UNUSED, "60", "-40"),
        (RollOver.UNUSED, "100", "0"),
        (RollOver.UNUSED, "130", "0"),
        (RollOver.DEBT, "130", "30"),
        (RollOver.DEBT, "60", "0"),
        (RollOver.NONE, "60", "0"),
    ],
)
def test_unused_gives_no_debt_and_debt_no_credit(rule: RollOver, spent_usd: str, expected: str) -> None:
    assert carried_usd(rule, limit_usd=Decimal(100), spent_usd=Decimal(spent_usd)) == Decimal(expected)
    assert carried_usd(rule, limit_usd=None, spent_usd=Decimal(spent_usd)) == 0


@given(limit=usd, spent_usd=usd)
def test_the_two_rules_share_the_difference(limit: Decimal, spent_usd: Decimal) -> None:
    unused, debt = (
        carried_usd(rule, limit_usd=limit, spent_usd=spent_usd) for rule in (RollOver.UNUSED, RollOver.DEBT)
    )
    assert unused <= 0 <= debt
    assert unused + debt == spent_usd - limit
    assert unused == 0 or debt == 0


@pytest.mark.parametrize(
    ("rule", "limits", "expected"),
    [
        (RollOver.UNUSED, ["100", "100", "50"], "-190"),
        (RollOver.UNUSED, ["100", None, "50"], "-50"),
        (RollOver.UNUSED, ["50", "50"], "-50"),
        (RollOver.DEBT, ["10", "20", "20"], "10"),
        (RollOver.DEBT, ["10", "20", "200"], "0"),
    ],
)
def test_skipped_windows_add_up_what_is_unused_and_pay_off_a_debt(
    rule: RollOver, limits: list[str | None], expected: str
) -> None:
    limits_usd = [None if limit is None else Decimal(limit) for limit in limits]
    assert passed_on_usd(rule, limits_usd, spent_usd=Decimal(60)) == Decimal(expected)


def test_late_settlement_takes_back_what_was_passed_on(db: None) -> None:
    budget = daily(RollOver.UNUSED)
    post(budget, 1, "60")
    first = carry(budget, 0, "-40")
    post(budget, 1, "15.000000000001")

    assert true_up_carry() == 1

    assert corrections() == [(Decimal("15.000000000001"), first.pk)]
    assert spent(budget, 0) == Decimal("-24.999999999999")
    assert selectors.unbalanced_balances() == []


def test_correction_belongs_to_no_call_and_says_why(db: None) -> None:
    budget = daily(RollOver.UNUSED)
    post(budget, 1, "75")
    carry(budget, 0, "-40")
    true_up_carry()

    entry = Entry.objects.get(kind=EntryKind.CORRECTION)

    assert (entry.key_id, entry.team_id, entry.model_id, entry.reservation_id) == (None, None, None, None)
    assert entry.reason.startswith("The window before came to 75.000000000000 of 100.000000000000")
    assert entry.effective_at == window(0).starts_at
    assert selectors.keys_spending_on(budget) == []


def test_what_is_right_is_left_alone_and_what_was_corrected_is_right(db: None) -> None:
    budget = daily(RollOver.UNUSED)
    post(budget, 1, "60")
    carry(budget, 0, "-40")

    assert true_up_carry() == 0
    post(budget, 1, "5")
    assert [true_up_carry() for _ in range(3)] == [1, 0, 0]
    post(budget, 1, "-10")
    assert [true_up_carry() for _ in range(2)] == [1, 0]

    assert [amount for amount, _ in corrections()] == [5, -10]
    assert spent(budget, 0) == -45


def test_overspend_found_late_becomes_a_debt(db: None) -> None:
    budget = daily(RollOver.DEBT)
    post(budget, 1, "90")
    first = carry(budget, 0, "0")
    post(budget, 1, "30")

    assert true_up_carry() == 1
    assert corrections() == [(20, first.pk)]


def test_window_that_came_to_more_than_its_limit_passes_no_debt_under_unused(db: None) -> None:
    budget = daily(RollOver.UNUSED)
    post(budget, 1, "60")
    carry(budget, 0, "-40")
    post(budget, 1, "500")

    true_up_carry()

    assert spent(budget, 0) == 0


def test_correction_goes_through_every_later_window(db: None) -> None:
    budget = daily(RollOver.UNUSED)
    post(budget, 2, "60")
    carry(budget, 1, "-40")
    post(budget, 1, "50")
    carry(budget, 0, "-90")
    post(budget, 2, "10")

    assert true_up_carry() == 2

    assert (spent(budget, 1), spent(budget, 0)) == (20, -80)
    assert selectors.unbalanced_balances() == []


def test_limit_is_that_of_the_very_end_of_the_closed_window(db: None) -> None:
    budget = daily(RollOver.UNUSED)
    start, end = window(1).starts_at, window(1).ends_at
    for amount, at in ((200, start + timedelta(hours=5)), (700, end), (900, end + timedelta(hours=1))):
        BudgetLimitFactory.create(budget=budget, amount_usd=Decimal(amount), valid_from=at)
    for amount, until in ((7, end), (11, end - timedelta(microseconds=1))):
        BudgetLimit.objects.create(
            budget=budget,
            kind="top_up",
            amount_usd=amount,
            valid_from=start,
            valid_until=until,
            reason="A test.",
        )
    post(budget, 1, "60")
    carry(budget, 0, "0")

    true_up_carry()

    assert spent(budget, 0) == -147


def test_switched_off_roll_over_takes_nothing_back_and_keeps_what_was_passed_on_true(db: None) -> None:
    budget = daily(RollOver.UNUSED)
    post(budget, 1, "60")
    carry(budget, 0, "-40")
    Budget.objects.filter(pk=budget.pk).update(roll_over=RollOver.NONE)

    assert true_up_carry() == 0
    post(budget, 1, "5")
    assert true_up_carry() == 1
    assert spent(budget, 0) == -35


def test_window_without_calls_and_budget_without_limit(db: None) -> None:
    unused, unlimited = daily(RollOver.UNUSED), daily(RollOver.UNUSED, None)
    carry(unused, 0, "-100")
    post(unlimited, 1, "60")
    carry(unlimited, 0, "0")

    assert true_up_carry() == 0


def test_windows_of_long_ago_are_left_alone(db: None) -> None:
    budget = daily(RollOver.UNUSED)
    post(budget, 101, "60")
    carry(budget, 100, "-7")

    assert true_up_carry() == 0
    assert true_up_carry(since=timedelta(days=200)) == 1


def test_windows_are_those_of_the_budgets_zone(db: None) -> None:
    budget = daily(RollOver.UNUSED, time_zone="Asia/Kolkata")
    moment = datetime(2026, 11, 20, 12, tzinfo=UTC)
    before, after = (window_at(Window.DAY, at, time_zone="Asia/Kolkata") for at in (moment - DAY, moment))
    for period, amount, kind in ((before, 30, EntryKind.ADJUST), (after, 0, EntryKind.CARRY)):
        Entry.objects.create(
            kind=kind, amount_usd=amount, budget_ids=[budget.pk], window_starts=[period.starts_at],
            reason="A test.", effective_at=period.starts_at, recorded_at=clock.now(),
        )  # fmt: skip
        Balance.objects.create(
            budget=budget, window_start=period.starts_at, window_end=period.ends_at, spent_usd=amount
        )

    true_up_carry(since=clock.now() - datetime(2026, 11, 1, tzinfo=UTC))

    assert Balance.objects.get(budget=budget, window_start=after.starts_at).spent_usd == -70


def test_the_clockwork_runs_it(db: None) -> None:
    budget = daily(RollOver.UNUSED)
    post(budget, 1, "60")
    carry(budget, 0, "0")
    app.loader.import_default_modules()

    assert task() == {"corrected": 1}
    scheduled = {each["task"] for each in settings.CELERY_BEAT_SCHEDULE.values()}
    assert task.name in scheduled
    assert scheduled <= app.tasks.keys()


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make both workers wait, before they decide, for the other to have read too, if the locks let him."""
    barrier = Barrier(2)

    def decide_together(rule: RollOver, *, limit_usd: Decimal | None, spent_usd: Decimal) -> Decimal:
        with suppress(BrokenBarrierError):
            barrier.wait(1.0)
        return carried_usd(rule, limit_usd=limit_usd, spent_usd=spent_usd)

    monkeypatch.setattr(rollover, "carried_usd", decide_together)


def both_workers() -> list[int]:
    """Let two workers correct a carry of 40 that should be 25, and return what each corrected."""
    budget = daily(RollOver.UNUSED)
    post(budget, 1, "75")
    carry(budget, 0, "-40")

    def work(_: int) -> int:
        try:
            return true_up_carry()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(work, range(2)))


@pytest.mark.race
@pytest.mark.django_db(transaction=True)
def test_without_the_lock_two_workers_correct_twice(meeting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuerySet, "select_for_update", lambda rows, **_: rows)

    assert both_workers() == [1, 1]
    assert Balance.objects.order_by("-window_start")[0].spent_usd == -10


@pytest.mark.race
@pytest.mark.django_db(transaction=True)
def test_with_the_lock_two_workers_correct_once(meeting: None) -> None:
    assert sorted(both_workers()) == [0, 1]
    assert Balance.objects.order_by("-window_start")[0].spent_usd == -25
    assert selectors.unbalanced_balances() == []
