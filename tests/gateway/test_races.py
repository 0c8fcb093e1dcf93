"""Many callers at once against one small budget. Each race is first shown with the guard off, then gone
with it.
"""

from __future__ import annotations

import secrets as random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client

from budgets.models import Balance, Entry, Mode, Reservation, ScopeKind, Window
from budgets.selectors import unbalanced_balances
from core import clock
from tests.gateway.conftest import Gus, World, build_world
from usage.services import expire_holds

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]

THREADS = 8


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    built = build_world()
    yield built
    assert unbalanced_balances() == []


def at_once(act: Callable[[int], Any], *, times: int = THREADS) -> list[Any]:
    """Run `act(0..times-1)` in as many threads, released together, each with a connection of its own."""
    barrier = Barrier(times)

    def run(number: int) -> Any:
        try:
            barrier.wait(timeout=20)
            return act(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=times) as pool:
        return list(pool.map(run, range(times)))


def caller(world: World) -> Gus:
    return Gus(world.gus.gateway, Client())


def test_without_the_lock_read_check_add_overspends(world: World) -> None:
    """The naive way, in the same database: everybody reads before anybody writes."""
    budget = world.budget("key", kind=ScopeKind.KEY, limit="0.0012")
    world.gus.release(world.gus.authorize(world.token).json()["reservation"])
    barrier = Barrier(THREADS)

    def naive(_: int) -> bool:
        balance = Balance.objects.get(budget=budget)
        fits = balance.spent_usd + balance.reserved_usd + Decimal("0.0012") <= Decimal("0.0012")
        barrier.wait(timeout=20)
        return fits

    assert sum(at_once(naive)) == THREADS


@pytest.mark.parametrize(("budget", "fits"), [("0.00012", 0), ("0.0012", 1), ("0.0042", 3), ("0.0126", 10)])
@pytest.mark.parametrize("tokens", [100, ...])
@pytest.mark.parametrize("team", ["100", "0"])
def test_no_interleaving_spends_more_than_the_budget(
    world: World, budget: str, fits: int, tokens: Any, team: str
) -> None:
    """Also where a soft budget is exceeded, so that nothing is taken without looking at each call."""
    world.price(world.small, "request", "0")
    world.budget("key", kind=ScopeKind.KEY, limit=budget)
    world.budget("team", kind=ScopeKind.TEAM, limit=team, window=Window.MONTH, mode=Mode.SOFT)
    type(world.small.tier).objects.filter(number=1).update(
        default_max_output_tokens=100, floor_max_output_tokens=100
    )

    def call(_: int) -> list[int]:
        gus = caller(world)
        return [gus.authorize(world.token, max_output_tokens=tokens).status_code for _ in range(3)]

    codes = Counter(code for codes in at_once(call) for code in codes)
    assert codes == Counter(
        {code: count for code, count in ((200, fits), (429, 3 * THREADS - fits)) if count}
    )
    held = sum(Reservation.objects.values_list("held_usd", flat=True))
    assert held <= Decimal(budget)


def test_the_same_request_from_every_side_at_once_holds_once(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="1")
    request_id = random.token_hex(8)
    answers = at_once(lambda _: caller(world).authorize(world.token, request_id=request_id))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["reservation"] for answer in answers}) == 1
    assert Reservation.objects.count() == 1


def test_the_same_request_from_every_side_at_once_is_let_in_where_only_one_fits(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0012")
    world.gus.release(world.gus.authorize(world.token).json()["reservation"])
    for _ in range(5):
        request_id = random.token_hex(8)

        def ask(_: int, same: str = request_id) -> Any:
            return caller(world).authorize(world.token, request_id=same)

        answers = at_once(ask)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["reservation"] for answer in answers}) == 1
        world.gus.release(answers[0].json()["reservation"])


def test_the_same_settlement_from_every_side_at_once_posts_once(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="1")
    reservation = world.gus.authorize(world.token).json()["reservation"]
    answers = at_once(lambda _: caller(world).settle(reservation))
    assert Counter(answer.json()["status"] for answer in answers) == Counter(
        {"settled": 1, "duplicate": THREADS - 1}
    )
    assert Entry.objects.count() == 1


def test_settle_release_and_expiry_resolve_a_reservation_once(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="1")
    reservation = world.gus.authorize(world.token).json()["reservation"]
    Reservation.objects.update(
        authorized_at=clock.now() - timedelta(hours=3), expires_at=clock.now() - timedelta(hours=2)
    )
    acts: list[Callable[[Gus], Any]] = [
        lambda gus: gus.settle(reservation),
        lambda gus: gus.release(reservation),
        lambda _: expire_holds(),
    ]
    at_once(lambda number: acts[number % 3](caller(world)))
    assert Balance.objects.get().reserved_usd == 0
    assert Entry.objects.filter(kind__in=("settle", "late")).count() == 1


def test_batches_in_opposite_orders_do_not_deadlock(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    world.budget("team", kind=ScopeKind.TEAM, limit="10", window=Window.MONTH)
    world.grant(tier=2)
    reservations = [
        world.gus.authorize(world.token, model=("small", "large")[n % 2]).json()["reservation"]
        for n in range(20)
    ]

    def settle(number: int) -> int:
        order = reservations if number % 2 else reservations[::-1]
        items = [
            {"reservation": item, "usage": {"input_tokens": 1, "output_tokens": 1}, "finish": "stop"}
            for item in order
        ]
        status: int = caller(world).post("/gateway/v1/settle", {"items": items}).status_code
        return status

    assert set(at_once(settle)) == {200}
    assert Entry.objects.count() == 20


def test_raising_the_limit_while_calls_come_in_never_lets_more_through_than_the_new_limit(
    world: World,
) -> None:
    budget = world.budget("key", kind=ScopeKind.KEY, limit="0.0024")

    def act(number: int) -> int:
        if number == 0:
            world.limit(budget, "0.0060")
            return 0
        gus = caller(world)
        return sum(gus.authorize(world.token).status_code == 200 for _ in range(3))

    assert 2 <= sum(at_once(act)) <= 5
    with connection.cursor() as cursor:
        cursor.execute("SELECT reserved_usd <= 0.0060 FROM budgets_balance")
        assert cursor.fetchone()[0]
