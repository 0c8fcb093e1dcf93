"""A race waits for a session of its own database, whoever waits in the others of the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from django.db import connection

from tests.racing import wait_until, waiting_for_locks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]

NUMBER = 7_283_911
WAITS = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted"
TAKE = "SELECT pg_advisory_xact_lock(%s)"


@contextmanager
def one_waits_in(database: str) -> Iterator[None]:
    """Let one session wait for another in a database, until the block ends."""
    address = {**connection.get_connection_params(), "dbname": database}
    with ExitStack() as stack:
        holder, waiter = (stack.enter_context(psycopg.connect(**address)) for _ in range(2))
        holder.execute(TAKE, [NUMBER])
        pool = stack.enter_context(ThreadPoolExecutor(1))
        waits = pool.submit(waiter.execute, TAKE, [NUMBER])
        with psycopg.connect(**address, autocommit=True) as observer:
            wait_until(lambda: observer.execute(WAITS, [waiter.info.backend_pid]).fetchone() == (1,))
        try:
            yield
        finally:
            holder.rollback()
            waits.result()


def test_only_sessions_of_this_database_are_counted() -> None:
    with one_waits_in("postgres"):
        assert waiting_for_locks() == 0
        with one_waits_in(connection.settings_dict["NAME"]):
            assert waiting_for_locks() == 1
