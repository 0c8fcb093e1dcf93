"""What books locks balances at its very end: a hold never waits for the roll-ups of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from time import monotonic, sleep
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from budgets.models import ScopeKind
from budgets.selectors import unbalanced_balances
from tests.gateway.conftest import Gus, World, build_world
from tests.gateway.test_push import push, row
from tests.racing import at_once, somebody_waits

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]

WITHIN_SECONDS = 20


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    built = build_world()
    yield built
    assert unbalanced_balances() == []


def settle(world: World, gus: Gus) -> Callable[[], Any]:
    reservation = world.gus.authorize(world.token).json()["reservation"]
    return lambda: gus.settle(reservation)


def push_one(world: World, gus: Gus) -> Callable[[], Any]:
    return lambda: push(gus, [row(world, "pushed")])


@pytest.mark.parametrize("booking", [settle, push_one])
def test_a_hold_does_not_wait_for_what_is_booked_behind_it(
    world: World, booking: Callable[[World, Gus], Callable[[], Any]]
) -> None:
    world.budget("team", kind=ScopeKind.TEAM, limit="10")
    world.gus.settle(world.gus.authorize(world.token).json()["reservation"])  # makes the rows of the hour
    book = booking(world, Gus(world.gus.gateway, Client()))
    locked, asked, booked = Event(), Event(), Event()

    def hold_the_hour() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT FROM usage_hour FOR UPDATE")
            locked.set()
            asked.wait(WITHIN_SECONDS)

    def book_behind_it() -> int:
        locked.wait(WITHIN_SECONDS)
        status: int = book().status_code
        booked.set()
        return status

    def ask() -> tuple[int, bool]:
        until = monotonic() + WITHIN_SECONDS
        while not (locked.is_set() and somebody_waits()) and monotonic() < until:
            sleep(0.01)
        status = Gus(world.gus.gateway, Client()).authorize(world.token).status_code
        found = status, booked.is_set()
        asked.set()
        return found

    assert at_once(hold_the_hour, book_behind_it, ask) == [None, 200, (200, False)]
