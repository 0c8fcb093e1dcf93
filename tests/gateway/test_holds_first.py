"""What books locks balances at its very end: a hold never waits for the roll-ups of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from threading import Event
from time import monotonic, sleep
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from budgets.models import ScopeKind
from budgets.selectors import unbalanced_balances
from tests.gateway.conftest import Gus, World, build_world
from tests.gateway.test_pull import Journal
from tests.gateway.test_pull import row as line
from tests.gateway.test_push import push, row
from tests.racing import at_once, waiting_for_locks
from usage.models import UsageEvent
from usage.services import pull_source
from usage.services.corrections import Correction, correct_calls

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]

WITHIN_SECONDS = 20
WHY = "The price list was wrong."
ROUNDS = 12


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    built = build_world()
    yield built
    assert unbalanced_balances() == []


def settle(world: World, reservation: str) -> Callable[[], Any]:
    gus = Gus(world.gus.gateway, Client())
    return lambda: gus.settle(reservation)


def push_one(world: World, reservation: str) -> Callable[[], Any]:
    gus = Gus(world.gus.gateway, Client())
    return lambda: push(gus, [row(world, "pushed")])


def pull(world: World, reservation: str) -> Callable[[], Any]:
    journal = Journal(world.gus.gateway.public_id, rows=[line(reservation)])
    return lambda: pull_source(source=journal)


def correct(world: World, reservation: str) -> Callable[[], Any]:
    return lambda: correct_calls(actor=None, ref="r", reason=WHY, corrections=[of(charged())])


def charged() -> UsageEvent:
    found: UsageEvent = UsageEvent.objects.get(calls=1)
    return found


def of(event: UsageEvent) -> Correction:
    return Correction(
        source=event.source, external_id=event.external_id, at=event.at, amount_usd=Decimal("0.0001")
    )


@pytest.mark.parametrize("booking", [settle, push_one, pull, correct])
def test_a_hold_does_not_wait_for_what_is_booked_behind_it(
    world: World, booking: Callable[[World, str], Callable[[], Any]]
) -> None:
    world.budget("team", kind=ScopeKind.TEAM, limit="10")
    world.gus.settle(world.gus.authorize(world.token).json()["reservation"])  # makes the rows of the hour
    book = booking(world, world.gus.authorize(world.token).json()["reservation"])
    locked, asked, booked = Event(), Event(), Event()

    def hold_the_hour() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT FROM usage_hour FOR UPDATE")
            locked.set()
            asked.wait(WITHIN_SECONDS)

    def book_behind_it() -> None:
        locked.wait(WITHIN_SECONDS)
        book()
        booked.set()

    def ask() -> tuple[int, bool]:
        until = monotonic() + WITHIN_SECONDS
        while not (locked.is_set() and waiting_for_locks()) and monotonic() < until:
            sleep(0.01)
        status = Gus(world.gus.gateway, Client()).authorize(world.token).status_code
        found = status, booked.is_set()
        asked.set()
        return found

    assert at_once(hold_the_hour, book_behind_it, ask) == [None, None, (200, False)]
    assert booked.is_set()


class Traffic:
    """Everything that books, of one key, day and hour."""

    def __init__(self, world: World) -> None:
        self.world = world
        held = [world.gus.authorize(world.token).json()["reservation"] for _ in range(3 * ROUNDS)]
        for each in held[:ROUNDS]:
            world.gus.settle(each)
        self.events = list(UsageEvent.objects.filter(calls=1))
        self.open = held[ROUNDS : 2 * ROUNDS]
        lost = [line(each) for each in held[2 * ROUNDS :]]
        self.journal = Journal(world.gus.gateway.public_id, rows=lost, page_size=3)

    def settlements(self) -> None:
        gus = Gus(self.world.gus.gateway, Client())
        assert {gus.settle(each).status_code for each in self.open} == {200}

    def pushes(self) -> None:
        gus = Gus(self.world.gus.gateway, Client())
        for number in range(ROUNDS):
            rows = [row(self.world, f"p{number}.{n}") for n in range(5)]
            assert push(gus, rows).status_code == 200

    def pulls(self) -> None:
        assert pull_source(source=self.journal).booked == ROUNDS

    def corrections(self) -> None:
        for number, event in enumerate(self.events):
            correct_calls(actor=None, ref=f"r{number}", reason=WHY, corrections=[of(event)])

    def holds(self) -> None:
        gus = Gus(self.world.gus.gateway, Client())
        assert {gus.authorize(self.world.token).status_code for _ in range(ROUNDS)} == {200}


def test_whatever_books_at_the_same_moment_waits_in_one_order(world: World) -> None:
    for name in ("team", "project", "key"):
        world.budget(name, kind=ScopeKind(name), limit="1000")
    traffic, before = Traffic(world), deadlocks()
    acts = (traffic.settlements, traffic.pushes, traffic.pulls, traffic.corrections, traffic.holds)
    assert at_once(*acts) == [None] * 5
    assert deadlocks() == before


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        (found,) = cursor.fetchone()
    return int(found)
