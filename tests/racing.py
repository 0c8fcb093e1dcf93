"""Runs the same step in several sessions at once, each from the same starting line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from django.db import connection

START_WITHIN_SECONDS = 20.0


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
