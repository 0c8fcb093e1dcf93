"""Joins the calls that arrive while a statement runs into the next one: group commit without a timer.

A process has one combiner for each kind of decision and at most one statement of each kind under way. A call
that comes alone is asked at once; under load a statement carries as many as have gathered, so that locks,
planning and the commit's flush to disk are paid once for all of them.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
import structlog

from gateway.hot.decisions import Ask, Kind, Row, answers, statement
from gateway.hot.wire import Answer

log = structlog.get_logger(__name__)

MOST_ITEMS = 256

Fetch = Callable[[str, Sequence[Any]], Awaitable[Sequence[Row]]]


class Combiner:
    """Asks of one kind, in the order of their arrival."""

    def __init__(self, kind: Kind, fetch: Fetch) -> None:
        self._kind = kind
        self._fetch = fetch
        self._waiting: deque[tuple[Ask, asyncio.Future[Answer]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def answer(self, ask: Ask) -> Answer:
        """Return the answer to one ask.

        Raises what the database raised; every ask of the failed statement gets it, and none hangs. An ask
        that is cancelled before its statement starts is not asked.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while batch := self._next_batch():
                await self._answer_batch(batch)
        finally:
            self._running = None

    def _next_batch(self) -> list[tuple[Ask, asyncio.Future[Answer]]]:
        batch: list[tuple[Ask, asyncio.Future[Answer]]] = []
        size = 0
        while self._waiting:
            ask, future = self._waiting[0]
            if batch and size + len(ask.items) > MOST_ITEMS:
                break
            self._waiting.popleft()
            if not future.done():
                batch.append((ask, future))
                size += len(ask.items)
        return batch

    async def _answer_batch(self, batch: list[tuple[Ask, asyncio.Future[Answer]]]) -> None:
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
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, found, strict=True):
                if not future.done():
                    future.set_result(answer)
