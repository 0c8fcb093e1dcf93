"""The combiner: calls share statements without hurting each other, and none waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg

from gateway.hot.combiner import MOST_ITEMS, Combiner
from gateway.hot.decisions import Ask, Kind
from gateway.hot.fields import parse_object
from gateway.hot.wire import Answer


class Database:
    """A database that answers each item with its own number; it can be slow, away, or choke on one item."""

    def __init__(self, *, poison: int = -1, is_away: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.poison, self.is_away = poison, is_away
        self.gate = asyncio.Event()

    async def fetch(self, sql: str, params: Sequence[Any]) -> list[tuple[int, str, str]]:
        numbers = [call["number"] for call in parse_object(f'{{"calls": {params[0]}}}'.encode())["calls"]]
        self.batches.append(numbers)
        await self.gate.wait()
        if self.is_away:
            raise psycopg.OperationalError("the server closed the connection")
        if self.poison in numbers:
            raise psycopg.DataError("invalid byte sequence")
        return [(place, "allow", str(number)) for place, number in enumerate(numbers, 1)]


def ask(number: int) -> Ask:
    return Ask(
        kind=Kind.AUTHORIZE,
        gateway_id=1,
        nonce=str(number),
        items=[{"number": number, "route": "/v1/chat/completions", "context": "standard"}],
        answer=lambda rows: Answer(status=200, body=rows[0][2].encode()),
    )


async def ask_all(database: Database, numbers: Sequence[int], *, leaving: int | None = None) -> list[Any]:
    """Ask while a first statement is under way, so that these share the next one; one may leave first."""
    combiner = Combiner(Kind.AUTHORIZE, database.fetch, deadline_seconds=30)
    first = asyncio.create_task(combiner.answer(ask(1000)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(combiner.answer(ask(number))) for number in numbers]
    await asyncio.sleep(0)
    if leaving is not None:
        tasks[leaving].cancel()
        await asyncio.sleep(0)
    database.gate.set()
    return (await asyncio.gather(first, *tasks, return_exceptions=True))[1:]


def bodies(found: Sequence[Any]) -> list[Any]:
    return [int(each.encode()) if isinstance(each, Answer) else type(each) for each in found]


def test_calls_that_wait_share_the_next_statement_and_each_gets_its_own_answer() -> None:
    async def story() -> None:
        database = Database()
        assert bodies(await ask_all(database, [3, 1, 2])) == [3, 1, 2]
        assert database.batches == [[1000], [3, 1, 2]]

    asyncio.run(story())


def test_a_poisoned_call_does_not_hurt_the_others() -> None:
    async def story() -> None:
        database = Database(poison=2)
        assert bodies(await ask_all(database, [1, 2, 3])) == [1, psycopg.DataError, 3]
        assert database.batches == [[1000], [1, 2, 3], [1], [2], [3]]

    asyncio.run(story())


def test_a_database_that_is_away_is_told_to_everybody_and_asked_once() -> None:
    async def story() -> None:
        database = Database(is_away=True)
        assert bodies(await ask_all(database, [1, 2])) == [psycopg.OperationalError] * 2
        assert database.batches == [[1000], [1, 2]]

    asyncio.run(story())


def test_a_waiter_that_left_is_not_asked_for() -> None:
    async def story() -> None:
        database = Database()
        assert bodies(await ask_all(database, [1, 2, 3], leaving=1)) == [1, asyncio.CancelledError, 3]
        assert database.batches == [[1000], [1, 3]]

    asyncio.run(story())


def test_a_statement_carries_no_more_than_it_may() -> None:
    async def story() -> None:
        database = Database()
        numbers = list(range(MOST_ITEMS + 1))
        assert bodies(await ask_all(database, numbers)) == numbers
        assert [len(batch) for batch in database.batches] == [1, MOST_ITEMS, 1]

    asyncio.run(story())


def test_a_combiner_that_rested_asks_again() -> None:
    async def story() -> None:
        database = Database()
        database.gate.set()
        combiner = Combiner(Kind.AUTHORIZE, database.fetch, deadline_seconds=30)
        for number in range(2):
            assert (await combiner.answer(ask(number))).body == str(number).encode()
        assert database.batches == [[0], [1]]

    asyncio.run(story())


def test_who_waits_for_a_database_that_says_nothing_is_told_at_the_deadline() -> None:
    async def story() -> None:
        database = Database()
        combiner = Combiner(Kind.AUTHORIZE, database.fetch, deadline_seconds=0.05)
        async with asyncio.timeout(10):  # the gate of the database stays shut
            found = await asyncio.gather(
                *(combiner.answer(ask(number)) for number in range(3)), return_exceptions=True
            )
            late = await asyncio.gather(combiner.answer(ask(3)), return_exceptions=True)
        assert bodies([*found, *late]) == [TimeoutError] * 4
        database.gate.set()
        assert bodies([await combiner.answer(ask(4))]) == [4]

    asyncio.run(story())
