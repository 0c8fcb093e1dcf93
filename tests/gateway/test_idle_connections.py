"""A connection that nobody uses is closed in its time, though plain requests do not set its alarm anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.hot.asgi import decisions
from gateway.hot.http import DecisionProtocol
from gateway.hot.wire import Answer
from tests.gateway.test_short_way import PLAIN

KEPT_SECONDS = 5
ANSWER = Answer(status=200, body={})


class Clock:
    """The clock of an event loop, moved by the test, with the alarms that were set on it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alarms: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, alarm: Callable[[], None]) -> asyncio.TimerHandle:
        self.alarms.append((self.now + seconds, alarm))
        return cast("asyncio.TimerHandle", object())

    def ring(self) -> None:
        """Let the one alarm ring at its time."""
        [(self.now, alarm)] = self.alarms
        self.alarms.clear()
        alarm()


class Socket(asyncio.Transport):
    """The transport of a connection whose other end only listens."""

    is_closed = False

    def write(self, data: Any) -> None:
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert data.endswith(b"\r\n\r\n{}")

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


class Connection:
    """One connection on that clock, and the waiters of its requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        config = Config("portal.asgi:application", log_config=None, timeout_keep_alive=KEPT_SECONDS)
        config.load()
        self.clock, self.socket, self.waiters = Clock(), Socket(), list[Any]()
        monkeypatch.setattr(decisions, "decide_soon", self._keep)
        loop = cast("asyncio.AbstractEventLoop", self.clock)
        self.protocol = DecisionProtocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)
        self.protocol._is_plain = True  # whatever logs the tests keep
        self.protocol.connection_made(self.socket)

    def _keep(self, _request: object, waiter: object) -> bool:
        self.waiters.append(waiter)
        return True

    def ask(self) -> None:
        self.protocol.data_received(PLAIN + b"{}")

    def answer(self) -> None:
        self.waiters.pop().set_result(ANSWER)


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    return Connection(monkeypatch)


def test_it_is_closed_when_nobody_asked_for_so_long_after_the_last_answer(connection: Connection) -> None:
    for _ in range(3):
        connection.ask()
        connection.answer()
        connection.clock.now += 2
    last = connection.clock.now - 2
    connection.clock.ring()
    assert connection.clock.now == 100 + KEPT_SECONDS
    assert not connection.socket.is_closed
    connection.clock.ring()
    assert connection.clock.now == last + KEPT_SECONDS
    assert connection.socket.is_closed


def test_a_call_that_takes_longer_than_that_is_answered_and_its_connection_kept(
    connection: Connection,
) -> None:
    connection.ask()
    connection.answer()
    connection.ask()
    connection.clock.ring()
    assert connection.clock.alarms == []
    connection.clock.now += 60
    connection.answer()
    assert not connection.socket.is_closed
    connection.clock.ring()
    assert connection.socket.is_closed


def test_a_request_that_is_not_whole_yet_is_waited_for(connection: Connection) -> None:
    connection.ask()
    connection.answer()
    connection.protocol.data_received(PLAIN)
    connection.clock.ring()
    assert not connection.socket.is_closed
    connection.protocol.data_received(b"{}")
    connection.answer()
    connection.clock.ring()
    assert connection.socket.is_closed


def test_a_connection_that_was_closed_is_left_alone(connection: Connection) -> None:
    connection.ask()
    connection.answer()
    connection.socket.close()
    connection.clock.ring()
    assert connection.clock.alarms == []
