"""Retry-After tells the truth: who comes back then is let in, and who comes a second sooner is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from budgets.models import Budget, LimitKind, RateLimit, ScopeKind, Window
from tests import factories
from tests.gateway.conftest import World
from tests.ledger.clockwork import move_to, moved_clock

NOON = datetime.fromisoformat("2027-03-28T12:00:00Z")  # of the day that has 23 hours in Berlin
HOUR = timedelta(hours=1)
Asking = Callable[[datetime], Any]


@pytest.fixture
def ask(world: World) -> Iterator[Asking]:
    """Ask at any moment, with a key that lasts: the database's clock stands there."""
    lasting = factories.ApiKeyFactory.create(
        project=world.project, owner=world.ada, expires_at=NOON + timedelta(days=2_000)
    )
    token = factories.revealed(lasting)

    def asks(at: datetime) -> Any:
        move_to(at)
        return world.gus.authorize(token)

    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_make_partitions(%s, %s)", [NOON.date(), NOON.date()])
    with moved_clock(NOON):
        yield asks


def planned(
    budget: Budget,
    amount: str | None,
    *,
    after: timedelta,
    until: timedelta | None = None,
    at: datetime = NOON,
) -> None:
    """Plan a limit, or with an end a top-up."""
    budget.limits.create(
        kind=LimitKind.TOP_UP if until else LimitKind.BASE,
        amount_usd=amount and Decimal(amount),
        valid_from=at + after,
        valid_until=at + until if until else None,
        reason="a plan",
    )


def opens_after(ask: Asking, at: datetime = NOON) -> int:
    """Return what a refusal says; hold that it is the first second at which the call is let in."""
    refused = ask(at)
    told = int(refused["Retry-After"])
    assert refused.json()["retry_after_seconds"] == told
    assert ask(at + timedelta(seconds=told - 1)).status_code == 429
    assert ask(at + timedelta(seconds=told)).status_code == 200
    return told


def spent(world: World, kind: ScopeKind = ScopeKind.PROJECT, **fields: Any) -> Budget:
    """Open a budget in which no call fits: the least output that is worth one makes it $0.001128."""
    return world.budget(kind, kind=kind, limit="0.0001", **fields)


@pytest.mark.parametrize("amount", ["5", "0.001128", None])
def test_a_limit_that_is_planned_sooner_is_what_to_wait_for(
    world: World, ask: Asking, amount: str | None
) -> None:
    planned(spent(world, window=Window.MONTH), amount, after=HOUR)
    assert opens_after(ask) == 3_600
    refused = ask(NOON).json()
    assert refused["code"] == "budget_exhausted"
    assert refused["budget"]["resets_at"] == "2027-04-01T00:00:00Z"
    assert "A higher limit is planned for 2027-03-28T13:00:00Z." in refused["detail"]


def test_a_plan_that_is_too_low_is_not_waited_for(world: World, ask: Asking) -> None:
    budget = spent(world, window=Window.MONTH)
    planned(budget, "0.001127", after=HOUR)
    planned(budget, "5", after=2 * HOUR)
    assert opens_after(ask) == 7_200


def test_a_plan_that_was_withdrawn_is_not_waited_for(world: World, ask: Asking) -> None:
    budget = spent(world)
    planned(budget, "5", after=HOUR)
    planned(budget, "0.0001", after=HOUR)
    refused = ask(NOON)
    assert (int(refused["Retry-After"]), "planned" in refused.json()["detail"]) == (43_200, False)


def test_a_plan_for_a_later_window_is_not_waited_for(world: World, ask: Asking) -> None:
    planned(spent(world), "5", after=timedelta(days=3))
    assert int(ask(NOON)["Retry-After"]) == 43_200


def test_a_top_up_to_come_is_waited_for_and_one_that_ends_is_none(world: World, ask: Asking) -> None:
    budget = spent(world, window=Window.LIFETIME)
    planned(budget, "0.0006", after=-HOUR, until=HOUR)
    planned(budget, "0.0006", after=HOUR, until=3 * HOUR)  # begins as the one before ends
    planned(budget, "0.0006", after=2 * HOUR, until=4 * HOUR)
    assert opens_after(ask) == 7_200


def test_a_lifetime_never_resets(world: World, ask: Asking) -> None:
    spent(world, window=Window.LIFETIME)
    refused = ask(NOON)
    assert refused.json()["budget"]["resets_at"] is None
    assert "It never resets." in refused.json()["detail"]
    assert int(refused["Retry-After"]) == 366 * 86_400  # longer than any window, and what a client can count


def test_of_several_the_one_that_opens_last_is_waited_for(world: World, ask: Asking) -> None:
    planned(spent(world, ScopeKind.TEAM, window=Window.QUARTER), "5", after=HOUR)
    day = spent(world)
    planned(day, "0.0001", after=timedelta(0))
    refused = ask(NOON)
    assert refused.json()["budget"]["id"] == day.public_id
    assert int(refused["Retry-After"]) == 43_200


@pytest.mark.parametrize(
    ("zone", "at", "told"),
    [
        ("Europe/Berlin", "2027-03-27T23:00:00Z", 23 * 3_600),
        ("Europe/Berlin", "2027-03-28T00:59:59Z", 21 * 3_600 + 1),  # a second before 02:00 becomes 03:00
        ("Europe/Berlin", "2027-10-30T22:00:00Z", 25 * 3_600),
        ("Europe/Berlin", "2027-10-31T01:00:00Z", 22 * 3_600),  # 02:00, for the second time
        ("America/Santiago", "2027-09-05T03:59:59.25Z", 1),  # midnight is skipped
        ("Europe/Berlin", "2027-03-28T21:59:59Z", 1),
        ("Europe/Berlin", "2027-03-28T21:59:59.999999Z", 1),
    ],
)
def test_a_night_in_which_clocks_change_is_counted_by_the_second(
    world: World, ask: Asking, zone: str, at: str, told: int
) -> None:
    moment = datetime.fromisoformat(at)
    budget = spent(world, time_zone=zone)
    refused = ask(moment)
    assert int(refused["Retry-After"]) == told
    opening = moment + timedelta(seconds=told)
    planned(budget, "5", after=timedelta(0), at=opening)  # what the next window is given
    assert ask(opening - timedelta(seconds=1)).status_code == 429
    assert ask(opening).status_code == 200


def test_a_held_budget_is_not_waited_for_longer_than_its_window(world: World, ask: Asking) -> None:
    world.budget("project", kind=ScopeKind.PROJECT, limit="0.0015")
    end = NOON.replace(hour=0) + timedelta(days=1)
    held = ask(end - timedelta(seconds=90)).json()["reservation"]
    move_to(end - timedelta(seconds=60))
    world.gus.settle(held, input_tokens=100, output_tokens=10)  # it took 30 seconds
    assert ask(end - timedelta(seconds=59)).status_code == 200
    refused = ask(end - timedelta(seconds=50))
    assert (refused.json()["code"], refused["Retry-After"]) == ("budget_held", "30")
    assert opens_after(ask, end - timedelta(seconds=2)) == 2


def test_a_rate_is_waited_for_first_and_the_budget_after_it(world: World, ask: Asking) -> None:
    RateLimit.objects.create(scope_kind="project", scope_id=world.project.pk, requests_per_minute=1)
    world.budget("project", kind=ScopeKind.PROJECT, limit="0.0012")
    assert ask(NOON).status_code == 200
    fast = ask(NOON + timedelta(seconds=20))
    assert (fast.json()["code"], fast["Retry-After"]) == ("rate_limited", "40")
    dear = ask(NOON + timedelta(seconds=60))
    assert (dear.json()["code"], dear["x-should-retry"]) == ("budget_held", "true")
