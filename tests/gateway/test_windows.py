"""Windows decide by the database's clock in their own zone, say when they reset, and pass on what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Balance, Budget, Entry, EntryKind, LimitKind, RollOver, ScopeKind, Window
from budgets.services.rollover import true_up_carry
from core import clock
from tests import factories
from tests.gateway.conftest import World
from tests.ledger.clockwork import move_to, moved_clock

Passing = Callable[[timedelta], None]


@pytest.fixture
def passing(world: World) -> Iterator[Passing]:
    """Stop the database's clock at noon UTC of the next day, and let time pass from there."""
    moment = (clock.now() + timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
    now = [moment]

    def passes(amount: timedelta) -> None:
        now[0] += amount
        move_to(now[0])

    with moved_clock(moment):
        yield passes


def old_budget(world: World, *, limit: str | None, days: int = 25, **fields: Any) -> Budget:
    """Open a day budget of the key that is some days old already."""
    created_at = clock.now() - timedelta(days=days)
    budget = world.budget("key", kind=ScopeKind.KEY, limit=limit, created_at=created_at, **fields)
    budget.limits.model.objects.create(
        budget=budget, amount_usd=limit and Decimal(limit), valid_from=created_at, reason="a test"
    )
    return budget


def spend(world: World, input_tokens: int = 200, output_tokens: int = 50) -> str:
    """Make and settle one call, and return what it was charged."""
    reservation = world.gus.authorize(world.token).json()["reservation"]
    settled = world.gus.settle(reservation, input_tokens=input_tokens, output_tokens=output_tokens)
    charged: str = settled.json()["charged_usd"]
    return charged


@pytest.mark.parametrize(
    ("calendar", "at", "resets_at"),
    [
        (("day", 1, "Europe/Berlin"), "2027-03-28T12:00Z", "2027-03-28T22:00:00Z"),
        (("week", 1, "UTC"), "2027-03-28T12:00Z", "2027-03-29T00:00:00Z"),
        (("week", 7, "America/New_York"), "2027-03-28T12:00Z", "2027-04-04T04:00:00Z"),
        (("month", 1, "Asia/Kolkata"), "2027-03-28T12:00Z", "2027-03-31T18:30:00Z"),
        (("quarter", 1, "Europe/Berlin"), "2027-03-31T21:59Z", "2027-03-31T22:00:00Z"),
        (("quarter", 1, "Europe/Berlin"), "2027-03-31T22:00Z", "2027-06-30T22:00:00Z"),
        (("fiscal_year", 4, "Pacific/Apia"), "2027-03-28T12:00Z", "2027-03-31T11:00:00Z"),
        (("fiscal_year", 10, "America/Santiago"), "2027-03-28T12:00Z", "2027-10-01T03:00:00Z"),
    ],
)
def test_a_spent_window_says_when_it_resets_in_its_own_zone(
    world: World, calendar: tuple[str, int, str], at: str, resets_at: str
) -> None:
    window, anchor, zone = calendar
    fields: dict[str, Any] = {"window": Window(window), "window_anchor": anchor, "time_zone": zone}
    world.budget("project", kind=ScopeKind.PROJECT, limit="0.0001", **fields)
    end, moment = datetime.fromisoformat(resets_at), datetime.fromisoformat(at)
    lasting = factories.ApiKeyFactory.create(
        project=world.project, owner=world.ada, expires_at=moment + timedelta(days=1)
    )
    with moved_clock(moment):
        answer = world.gus.authorize(factories.revealed(lasting))
    assert (answer.status_code, answer.json()["code"]) == (429, "budget_exhausted")
    assert answer.json()["budget"]["resets_at"] == resets_at
    assert int(answer["Retry-After"]) == (end - moment).total_seconds()


def test_the_next_window_starts_anew_and_the_one_before_keeps_its_calls(
    world: World, passing: Passing
) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0012")
    held = world.gus.authorize(world.token).json()["reservation"]
    assert world.gus.authorize(world.token).status_code == 429
    passing(timedelta(hours=12))
    assert world.gus.authorize(world.token).status_code == 200
    world.gus.settle(held)
    first, second = Balance.objects.order_by("window_start")
    assert (first.spent_usd, first.reserved_usd) == (Decimal("0.0003"), 0)
    assert (second.spent_usd, second.reserved_usd) == (0, Decimal("0.0012"))


@pytest.mark.parametrize(
    ("roll_over", "used", "carry"),
    [
        (RollOver.UNUSED, (200, 50), "-0.0017"),  # $0.0003 of $0.002
        (RollOver.UNUSED, (2_000, 500), "0"),  # nothing is left, as far as is known by then
        (RollOver.DEBT, (2_000, 500), "0.0010"),  # $0.003 of $0.002
        (RollOver.DEBT, (200, 50), "0"),
        (RollOver.NONE, (200, 50), None),
        (RollOver.NONE, (2_000, 500), None),
    ],
)
def test_a_window_passes_on_what_its_budget_says(
    world: World, passing: Passing, roll_over: str, used: tuple[int, int], carry: str | None
) -> None:
    old_budget(world, limit="0.002", roll_over=RollOver.NONE)
    spend(world, *used)
    Budget.objects.update(roll_over=roll_over)
    passing(timedelta(hours=12))
    world.gus.release(world.gus.authorize(world.token).json().get("reservation", "rsv_none"))
    carried = [entry.amount_usd for entry in Entry.objects.filter(kind=EntryKind.CARRY)]
    assert carried == ([Decimal(carry)] if carry else [])
    newest = Balance.objects.order_by("-window_start")[0]
    assert newest.spent_usd == Decimal(carry or 0)


def test_what_was_left_is_there_to_be_spent(world: World, passing: Passing) -> None:
    old_budget(world, limit="0.0012", days=0, roll_over=RollOver.UNUSED)
    answers = [world.gus.authorize(world.token).status_code for _ in range(3)]
    assert answers == [200, 200, 429]  # the day before spent nothing


def test_windows_that_nobody_called_in_pass_on_what_they_were_passed_and_their_own(
    world: World, passing: Passing
) -> None:
    old_budget(world, limit="0.002", days=0, roll_over=RollOver.UNUSED)
    spend(world)  # the day before passed on its own $0.002, so $0.0037 is left of this one
    passing(timedelta(days=30))
    world.gus.authorize(world.token)
    carries = [entry.amount_usd for entry in Entry.objects.filter(kind=EntryKind.CARRY).order_by("pk")]
    assert carries == [Decimal("-0.002"), Decimal("-0.0617")]  # and $0.002 of each of 29 days
    assert Balance.objects.count() == 2
    assert true_up_carry() == 0


def test_windows_that_nobody_called_in_pay_off_a_debt(world: World, passing: Passing) -> None:
    old_budget(world, limit="0.002", days=0, roll_over=RollOver.DEBT)
    spend(world, 7_000, 1_000)  # $0.009: a debt of $0.007, less $0.002 of each day
    passing(timedelta(days=3))
    world.gus.authorize(world.token)
    assert Entry.objects.filter(kind=EntryKind.CARRY).latest("pk").amount_usd == Decimal("0.003")
    passing(timedelta(days=3))
    world.gus.authorize(world.token)
    assert Entry.objects.filter(kind=EntryKind.CARRY).latest("pk").amount_usd == 0


def test_a_budget_that_was_never_called_passes_on_all_its_windows_by_their_own_limits(
    world: World, passing: Passing
) -> None:
    budget = old_budget(world, limit="0.002", days=4, roll_over=RollOver.UNUSED)
    noon = clock.now().replace(hour=12) - timedelta(days=1)
    budget.limits.model.objects.create(budget=budget, amount_usd=Decimal(5), valid_from=noon, reason="a test")
    passing(timedelta(0))
    world.gus.authorize(world.token)
    assert Entry.objects.get().amount_usd == Decimal("-5.006") - Decimal("0.002")


def test_a_late_settlement_goes_through_windows_that_nobody_called_in(world: World, passing: Passing) -> None:
    old_budget(world, limit="0.002", days=0, roll_over=RollOver.UNUSED)
    late = world.gus.authorize(world.token).json()["reservation"]
    passing(timedelta(days=3))
    world.gus.release(world.gus.authorize(world.token).json()["reservation"])
    assert Balance.objects.latest("window_start").spent_usd == Decimal("-0.0068")
    world.gus.settle(late)
    assert true_up_carry() == 1
    assert Balance.objects.latest("window_start").spent_usd == Decimal("-0.0077")
    assert "came to 0.000300000000" not in Entry.objects.latest("pk").reason  # it had a carry of its own
    assert "3 windows before this one" in Entry.objects.latest("pk").reason
    assert true_up_carry() == 0


def test_calls_in_flight_at_the_end_are_not_passed_on(world: World, passing: Passing) -> None:
    old_budget(world, limit="0.002", roll_over=RollOver.NONE)
    world.gus.authorize(world.token)
    Budget.objects.update(roll_over=RollOver.UNUSED)
    passing(timedelta(hours=12))
    world.gus.authorize(world.token)
    assert Entry.objects.get().amount_usd == Decimal("-0.0008")


def test_a_budget_that_is_new_has_nothing_to_pass_on(world: World, passing: Passing) -> None:
    today = (clock.now() + timedelta(days=1)).replace(hour=11)
    world.budget("key", kind=ScopeKind.KEY, limit="0.002", roll_over=RollOver.UNUSED, created_at=today)
    world.gus.authorize(world.token)
    assert Entry.objects.count() == 0


def test_a_window_without_a_limit_has_nothing_to_pass_on(world: World, passing: Passing) -> None:
    old_budget(world, limit=None, roll_over=RollOver.UNUSED)
    spend(world)
    passing(timedelta(hours=12))
    world.gus.authorize(world.token)
    assert {entry.amount_usd for entry in Entry.objects.filter(kind=EntryKind.CARRY)} == {Decimal(0)}


def test_a_late_settlement_corrects_what_was_passed_on(world: World, passing: Passing) -> None:
    old_budget(world, limit="0.002", roll_over=RollOver.NONE)
    late = world.gus.authorize(world.token).json()["reservation"]
    Budget.objects.update(roll_over=RollOver.UNUSED)
    passing(timedelta(hours=12))
    world.gus.release(world.gus.authorize(world.token).json()["reservation"])
    newest = Balance.objects.order_by("-window_start")[0]
    assert newest.spent_usd == Decimal("-0.0008")  # the hold counts as spent
    world.gus.settle(late)
    assert true_up_carry() == 1
    newest.refresh_from_db()
    assert newest.spent_usd == Decimal("-0.0017")  # $0.0003 of $0.002
    assert true_up_carry() == 0


@pytest.mark.parametrize(("took_seconds", "told"), [(0, 1), (7, 7), (300, 30)])
def test_a_held_budget_tells_how_long_calls_hold_it(
    world: World, passing: Passing, took_seconds: int, told: int
) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0016")
    reservation = world.gus.authorize(world.token).json()["reservation"]
    passing(timedelta(seconds=took_seconds))
    world.gus.settle(reservation)
    assert world.gus.authorize(world.token).status_code == 200
    answer = world.gus.authorize(world.token)
    assert (answer.json()["code"], int(answer["Retry-After"])) == ("budget_held", told)


def test_the_mean_follows_the_newest_calls(world: World, passing: Passing) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    for took_seconds in (10, 20):
        reservation = world.gus.authorize(world.token).json()["reservation"]
        passing(timedelta(seconds=took_seconds))
        world.gus.settle(reservation)
    assert Balance.objects.get().mean_call_seconds == pytest.approx(12)


def test_a_top_up_counts_until_its_end(world: World, passing: Passing) -> None:
    budget = world.budget("key", kind=ScopeKind.KEY, limit="0.0012", window=Window.LIFETIME)
    assert world.gus.authorize(world.token).status_code == 200
    start = clock.now()
    budget.limits.create(
        kind=LimitKind.TOP_UP,
        amount_usd=Decimal("0.0024"),
        valid_from=start,
        valid_until=start + timedelta(days=2),
        reason="a launch",
    )
    assert world.gus.authorize(world.token).status_code == 200
    passing(timedelta(days=2))
    assert world.gus.authorize(world.token).status_code == 429


def test_a_planned_limit_is_in_force_from_its_moment_on(world: World, passing: Passing) -> None:
    budget = world.budget("key", kind=ScopeKind.KEY, limit="0", window=Window.LIFETIME)
    planned_at = clock.now() + timedelta(days=2)
    budget.limits.create(amount_usd=Decimal(1), valid_from=planned_at, reason="a plan")
    assert world.gus.authorize(world.token).status_code == 429
    passing(timedelta(days=2))
    assert world.gus.authorize(world.token).status_code == 200


def test_a_closed_budget_binds_nobody(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0")
    Budget.objects.update(closed_at=clock.now())
    assert world.gus.authorize(world.token).status_code == 200


def test_a_call_pays_the_prices_of_its_authorisation(world: World, passing: Passing) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    reservation = world.gus.authorize(world.token).json()["reservation"]
    passing(timedelta(minutes=1))
    at = (clock.now() + timedelta(days=1)).replace(hour=12, minute=1, second=0, microsecond=0)
    world.small.prices.update(valid_until=at)
    for unit in ("input", "output"):
        world.price(world.small, unit, "0.5", valid_from=at)
    assert world.gus.settle(reservation).json()["charged_usd"] == "0.000300000000"
