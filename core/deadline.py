"""Ends a job in time: each of its statements gets what is left until its end, and none begins after it.

A thread cannot be ended, but the database ends a statement: so this, and not the worker, is what keeps a job
to its time. Whoever has more to do than fits goes on in its next run (core.walks, core.clock.time_left).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from django.db import OperationalError, connection
from psycopg.errors import QueryCanceled
from psycopg.pq import TransactionStatus

_ends_at: ContextVar[float | None] = ContextVar("ends_at", default=None)


class OverTimeError(OperationalError):
    """There was no time left: the database ended the statement, or it did not begin."""


@contextmanager
def ends_within(seconds: float, *, anew: bool = False) -> Iterator[None]:
    """Let every statement end within `seconds` from now; one inside another may only shorten it, unless it
    begins `anew`: for the few rows that say that there was no time.

    Raises OverTimeError where one does not. What is read or written past Django's cursors is not seen.
    """
    outer = _ends_at.get()
    ends_at = time.monotonic() + seconds
    token = _ends_at.set(ends_at if outer is None or anew else min(outer, ends_at))
    try:
        with connection.execute_wrapper(_in_time) if outer is None else nullcontext():
            yield
    finally:
        _ends_at.reset(token)
        if outer is None and _may_be_told():
            connection.connection.execute("RESET statement_timeout")


def seconds_left() -> float:
    """Return how long statements may still take; infinity outside of a job."""
    ends_at = _ends_at.get()
    return float("inf") if ends_at is None else ends_at - time.monotonic()


def _in_time(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    if _may_be_told():
        left_ms = int(seconds_left() * 1_000)
        if left_ms <= 0:
            raise OverTimeError("There is no time left for another statement.")
        connection.connection.execute(f"SET statement_timeout = {left_ms}")
    try:
        return execute(sql, params, many, context)
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise OverTimeError(*error.args) from error.__cause__
        raise


def _may_be_told() -> bool:
    """Whether the connection is there and takes statements: a failed transaction takes only its end."""
    raw = connection.connection
    return raw is not None and not raw.closed and raw.info.transaction_status != TransactionStatus.INERROR
