"""Runs the same step in several sessions at once, each from the same starting line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

from django.db import connection, transaction

START_WITHIN_SECONDS = 20.0

# A lock of a transaction's number names no database; who waits for one holds locks of tables too. The other
# databases of the cluster are those of the tests that run beside.
WAITING = """
SELECT count(DISTINCT waiting.pid) FROM pg_locks waiting
JOIN pg_locks any_other ON any_other.pid = waiting.pid
JOIN pg_database ON pg_database.oid = any_other.database AND datname = current_database()
WHERE NOT waiting.granted
"""


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Start all acts together, each on a connection of its own; return what each returned or raised."""
    start = Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        try:
            connection.ensure_connection()
            start.wait(START_WITHIN_SECONDS)
            return act()
        except Exception as error:  # noqa: BLE001  the outcome of a racer is what the test asserts
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def winners(outcomes: Sequence[Any]) -> list[Any]:
    """Return what the acts that were not refused returned."""
    return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]


def losers(outcomes: Sequence[Any]) -> list[Exception]:
    """Return what the refused acts raised."""
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]


def while_it_waits(first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """Start the second act while the first has done its part and not committed; return what came of it."""
    done = Event()

    def hold() -> None:
        with transaction.atomic():
            first()
            done.set()
            deadline = time.monotonic() + START_WITHIN_SECONDS
            while not waiting_for_locks() and time.monotonic() < deadline:
                time.sleep(0.01)

    def follow() -> Any:
        assert done.wait(20)
        return second()

    held, outcome = at_once(hold, follow)
    assert held is None, held
    return outcome


def waiting_for_locks() -> int:
    """Count this database's sessions that wait; unlike pg_stat_activity also anew within a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(WAITING)
        return int(cursor.fetchone()[0])


def wait_until(is_true: Callable[[], object]) -> None:
    """Return when something has become true; fail when it does not."""
    until = time.monotonic() + START_WITHIN_SECONDS
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.01)
