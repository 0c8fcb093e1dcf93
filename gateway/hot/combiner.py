"""Joins the calls that arrive while a statement runs into the next one: group commit.

A process has one combiner for each kind of decision and at most one statement of each kind under way. A call
that comes alone is asked at once; under load a statement carries as many as have gathered, so that locks,
planning and the commit's flush to disk are paid once for all of them. Clients that were answered together ask
again one after the other: the next statement waits until as many have come as the last one carried, or for a
millisecond, else the first of them would go alone and all others wait for it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import psycopg
import structlog

from gateway.hot.decisions import Ask, Kind, Row, answers, statement
from gateway.hot.wire import Answer

log = structlog.get_logger(__name__)

MOST_ITEMS = 256
GATHER_SECONDS = 0.001

Fetch = Callable[[str, Sequence[Any]], Awaitable[Sequence[Row]]]


class Waiter(Protocol):
    """Who waits for an answer; a future is one. It is `done` when it was answered or has left."""

    def done(self) -> bool: ...

    def set_result(self, result: Answer, /) -> None: ...

    def set_exception(self, exception: Exception, /) -> None: ...


class Combiner:
    """Asks of one kind, in the order of their arrival."""

    def __init__(self, kind: Kind, fetch: Fetch, *, deadline_seconds: float) -> None:
        self._kind = kind
        self._fetch = fetch
        self._deadline_seconds = deadline_seconds
        self._waiting: deque[tuple[Ask, Waiter]] = deque()
        self._due: deque[tuple[float, Waiter]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._last_size = 1
        self._gathered: asyncio.Future[None] | None = None

    async def answer(self, ask: Ask) -> Answer:
        """Return the answer to one ask.

        Raises what the database raised; every ask of the failed statement gets it, and none hangs. An ask
        that is cancelled before its statement starts is not asked.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.ask(ask, future)
        return await future

    def ask(self, ask: Ask, waiter: Waiter) -> None:
        """Ask on behalf of a waiter, who gets the answer, what the database raised, or TimeoutError when the
        deadline is over.
        """
        loop = asyncio.get_running_loop()
        self._waiting.append((ask, waiter))
        self._due.append((loop.time() + self._deadline_seconds, waiter))
        if self._alarm is None:
            self._alarm = loop.call_at(self._due[0][0], self._ring)
        if self._running is None:
            self._running = loop.create_task(self._run())
        elif self._gathered and len(self._waiting) >= self._last_size:
            self._stop_gathering()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                batch = self._next_batch()
                self._last_size = len(batch)
                await self._answer_batch(batch)
                self._forget_answered()
        finally:
            self._running = None

    async def _drain(self) -> None:
        gathered = 0
        while gathered < len(self._waiting) < MOST_ITEMS:
            gathered = len(self._waiting)
            await asyncio.sleep(0)

    async def _gather(self) -> None:
        await self._drain()
        if len(self._waiting) >= self._last_size:
            return
        loop = asyncio.get_running_loop()
        self._gathered = loop.create_future()
        timer = loop.call_later(GATHER_SECONDS, self._stop_gathering)
        await self._gathered
        timer.cancel()

    def _stop_gathering(self) -> None:
        if self._gathered and not self._gathered.done():
            self._gathered.set_result(None)

    def _next_batch(self) -> list[tuple[Ask, Waiter]]:
        batch: list[tuple[Ask, Waiter]] = []
        size = 0
        while self._waiting:
            ask, waiter = self._waiting[0]
            if batch and size + len(ask.items) > MOST_ITEMS:
                break
            self._waiting.popleft()
            if not waiter.done():
                batch.append((ask, waiter))
                size += len(ask.items)
        return batch

    async def _answer_batch(self, batch: list[tuple[Ask, Waiter]]) -> None:
        asks = [ask for ask, _ in batch]
        try:
            found = answers(asks, await self._fetch(*statement(self._kind, asks)))
        except Exception as error:
            if isinstance(error, psycopg.Error) and not isinstance(error, psycopg.OperationalError):
                log.exception("decision.batch_failed", kind=self._kind, calls=len(batch))
                if len(batch) > 1:  # one of them cannot be asked: the others must not suffer for it
                    for one in batch:
                        await self._answer_batch([one])
                    return
            for _, waiter in batch:
                if not waiter.done():
                    waiter.set_exception(error)
        else:
            for (_, waiter), answer in zip(batch, found, strict=True):
                if not waiter.done():
                    waiter.set_result(answer)

    def _forget_answered(self) -> None:
        while self._due and self._due[0][1].done():
            self._due.popleft()

    def _ring(self) -> None:
        """Tell those whose deadline is over; one timer stands for all, because they are due in order."""
        loop = asyncio.get_running_loop()
        while self._due and (self._due[0][1].done() or self._due[0][0] <= loop.time()):
            _, waiter = self._due.popleft()
            if not waiter.done():
                waiter.set_exception(TimeoutError())
        self._alarm = loop.call_at(self._due[0][0], self._ring) if self._due else None
