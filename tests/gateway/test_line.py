"""The connection of one kind of decision: whole answers, errors of their kind, and a new one after a loss."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest
import uvloop

from gateway.hot.asgi import connect
from gateway.hot.line import Line, numbered

pytestmark = pytest.mark.django_db(transaction=True)

PID = "SELECT pg_backend_pid()"
ECHO = "SELECT %s::text"
LONG = "SELECT length(%s), repeat('b', 3000000)"
Story = Callable[[Line], Awaitable[None]]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def tell(request: pytest.FixtureRequest) -> Iterator[Callable[[Story], None]]:
    """Return what runs a story over one line, in each of the two loops that the portal may run in."""

    async def over(story: Story) -> None:
        line = Line(connect, patience_seconds=5)
        try:
            await asyncio.wait_for(story(line), timeout=30)
        finally:
            await line.close()

    with asyncio.Runner(loop_factory=request.param) as runner:
        yield lambda story: runner.run(over(story))


Tell = Callable[[Story], None]


async def pid_of(line: Line) -> int:
    [[pid]] = await line.fetch(PID, [])
    assert isinstance(pid, int)
    return pid


async def end(pid: int) -> None:
    other = Line(connect, patience_seconds=5)
    assert await other.fetch("SELECT pg_terminate_backend(%s::int)", [str(pid)]) == [(True,)]
    await other.close()


def test_rows_come_as_python_knows_them_over_one_connection(tell: Tell) -> None:
    async def story(line: Line) -> None:
        first = await pid_of(line)
        rows = await line.fetch("SELECT g, 'ä', NULL, 0.10::numeric FROM generate_series(1, 2) g", [])
        assert [(row[0], row[1], row[2], str(row[3])) for row in rows] == [
            (1, "ä", None, "0.10"),
            (2, "ä", None, "0.10"),
        ]
        assert await line.fetch(ECHO, ["100 % ü"]) == [("100 % ü",)]
        assert await line.fetch("SELECT 1 WHERE false", []) == []
        assert await pid_of(line) == first

    tell(story)


def test_what_fills_the_socket_goes_through_in_both_directions(tell: Tell) -> None:
    async def story(line: Line) -> None:
        assert await line.fetch(LONG, ["a" * 5_000_000]) == [(5_000_000, "b" * 3_000_000)]

    tell(story)


def test_an_error_of_a_statement_keeps_the_connection(tell: Tell) -> None:
    async def story(line: Line) -> None:
        first = await pid_of(line)
        with pytest.raises(psycopg.errors.DivisionByZero):
            await line.fetch("SELECT 1 / (%s::int - 1)", ["1"])
        with pytest.raises(psycopg.errors.UndefinedTable):
            await line.fetch("SELECT %s FROM nowhere", ["1"])
        assert await pid_of(line) == first

    tell(story)


def test_a_connection_that_was_ended_between_two_statements_costs_none_of_them(tell: Tell) -> None:
    async def story(line: Line) -> None:
        first = await pid_of(line)
        await end(first)
        await asyncio.sleep(0.2)
        assert await pid_of(line) != first

    tell(story)


def test_a_connection_that_is_ended_under_a_statement_costs_that_one(tell: Tell) -> None:
    async def story(line: Line) -> None:
        first = await pid_of(line)
        sleeping = asyncio.create_task(line.fetch("SELECT pg_sleep(20)", []))
        await asyncio.sleep(0.1)
        await end(first)
        with pytest.raises(psycopg.OperationalError):
            await sleeping
        assert await pid_of(line) != first

    tell(story)


def test_the_answer_to_a_statement_that_was_given_up_is_nobodys(tell: Tell) -> None:
    async def story(line: Line) -> None:
        given_up = asyncio.create_task(line.fetch("SELECT pg_sleep(0.2), 'late'", []))
        await asyncio.sleep(0.1)
        given_up.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await given_up
        assert await line.fetch(ECHO, ["mine"]) == [("mine",)]
        await asyncio.sleep(0.3)
        assert await line.fetch(ECHO, ["mine too"]) == [("mine too",)]

    tell(story)


def test_a_statement_that_takes_too_long_is_ended_by_the_server(tell: Tell, settings: Any) -> None:
    settings.DECISION_DEADLINE_SECONDS = 0.1

    async def story(line: Line) -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            await line.fetch("SELECT pg_sleep(20)", [])

    tell(story)


def test_a_database_that_says_nothing_is_given_up_and_asked_again_over_a_new_connection(tell: Tell) -> None:
    async def story(line: Line) -> None:
        first = await pid_of(line)
        await line.fetch("SET statement_timeout = 0", [])
        line._patience_seconds = 0.2
        with pytest.raises(psycopg.OperationalError, match="does not answer"):
            await line.fetch("SELECT pg_sleep(20)", [])
        assert await pid_of(line) != first
        await end(first)

    tell(story)


def test_a_statement_that_is_under_way_at_the_end_of_the_process_is_cancelled(tell: Tell) -> None:
    async def story(line: Line) -> None:
        await pid_of(line)
        sleeping = asyncio.create_task(line.fetch("SELECT pg_sleep(20)", []))
        await asyncio.sleep(0.1)
        await line.close()
        with pytest.raises(psycopg.errors.QueryCanceled):
            await sleeping

    tell(story)


def test_no_connection_comes_about_within_the_patience(tell: Tell) -> None:
    async def never() -> Any:
        await asyncio.sleep(60)

    async def story(_: Line) -> None:
        with pytest.raises(TimeoutError):
            await Line(never, patience_seconds=0.05).fetch(PID, [])

    tell(story)


def test_placeholders_are_numbered() -> None:
    assert numbered("SELECT f(%s::jsonb, %s), 1") == b"SELECT f($1::jsonb, $2), 1"
    assert numbered("SELECT 1") == b"SELECT 1"
