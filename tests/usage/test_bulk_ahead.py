"""Two pages are in the database at once, and are booked in the order of the rows all the same."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from tests.cast import make_cast
from tests.factories import ApiKeyFactory
from tests.racing import START_WITHIN_SECONDS, wait_until, waiting_for_locks
from tests.usage.telling import Telling, make_telling, wrong
from usage.models import Quarantine, UsageEvent
from usage.services.bulk import import_pages, import_rows

# Sessions that have placed their page and wait in Python for the page before.
PLACED = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'
      AND query LIKE '%usage_import_place%'
"""
# What such a session holds that another may need: more than a look at a table, or a lock of the books.
HELD = f"""
    SELECT l.locktype, l.mode, l.relation::regclass::text FROM pg_locks l
    LEFT JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid IN ({PLACED}) AND l.mode <> 'AccessShareLock'
      AND (l.locktype IN ('advisory', 'tuple') OR l.locktype = 'relation' AND c.relpersistence = 'p')
"""  # noqa: S608  its parts are constants


@pytest.fixture
def telling(transactional_db: None) -> Telling:
    return make_telling(make_cast())


def asked(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(query)
        return list(cursor.fetchall())


def booked() -> set[str]:
    return set(UsageEvent.objects.values_list("external_id", flat=True))


def lent_connections() -> int:
    """Count the connections that are not back in the pool, this session's among them."""
    connection.ensure_connection()
    pool: Any = connection.pool  # type: ignore[attr-defined]  # of the PostgreSQL backend
    stats = pool.get_stats()
    return int(stats["pool_size"] - stats["pool_available"])


@contextmanager
def nothing_is_booked_of(source: str) -> Iterator[Event]:
    """Hold the lock of a source's imports in a session of its own until the event is set."""
    held, ended = Event(), Event()

    def hold() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended('usage_import ' || %s, 0))", [source]
                )
                held.set()
                assert ended.wait(START_WITHIN_SECONDS)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        try:
            assert held.wait(START_WITHIN_SECONDS)
            yield ended
        finally:
            ended.set()
            holder.result()


def test_a_page_is_placed_while_the_one_before_is_booked_and_holds_nothing(telling: Telling) -> None:
    source, seen = telling.gateway.public_id, []

    def rows() -> Iterator[Any]:
        yield from telling.rows(6)
        wait_until(lambda: asked(PLACED) and waiting_for_locks())
        seen.append((waiting_for_locks(), asked(HELD)))
        ended.set()
        yield telling.row(6)

    with nothing_is_booked_of(source) as ended:
        counts = [page.booked for page in import_pages(source=source, rows=rows(), page_rows=3)]

    assert counts == [3, 3, 1]
    assert seen == [(1, [])]
    assert wrong() == []


def test_told_first_is_booked_though_the_next_page_is_ready_sooner(telling: Telling) -> None:
    """The second page tells one call, again and again, and is placed before the first, which tells many."""
    first = [telling.row(number, at=telling.start) for number in range(2_000)]
    other = {**first[7], "output_tokens": 99_999}

    counts = import_rows(source=telling.gateway.public_id, rows=first + [other] * 2_000, page_rows=2_000)

    assert (counts.booked, counts.known, counts.quarantined) == (2_000, 1_999, 1)
    assert UsageEvent.objects.get(external_id=other["external_id"]).output_tokens == first[7]["output_tokens"]
    assert Quarantine.objects.get().reason == "conflict"
    assert wrong() == []


def test_a_page_that_fails_stops_those_after_it(telling: Telling) -> None:
    poisoned = telling.row(5)
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER TABLE usage_call ADD CONSTRAINT poison CHECK (input_tokens <> {poisoned['input_tokens']})"
        )
    try:
        pages = import_pages(source=telling.gateway.public_id, rows=telling.rows(20), page_rows=3)
        assert next(pages).booked == 3
        with pytest.raises(IntegrityError, match="poison"):
            list(pages)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE usage_call DROP CONSTRAINT poison")

    assert booked() == {row["external_id"] for row in telling.rows(3)}
    assert lent_connections() == 1
    assert wrong() == []


def test_who_stops_leaves_whole_pages_and_no_connection(telling: Telling) -> None:
    drawn: list[int] = []

    def rows() -> Iterator[Any]:
        for number in range(30):
            drawn.append(number)
            yield telling.row(number)

    pages = import_pages(source=telling.gateway.public_id, rows=rows(), page_rows=3)
    assert next(pages).booked == 3
    assert len(drawn) == 9  # one is told of, one is in its lane, and one is drawn
    pages.close()

    assert booked() == {row["external_id"] for row in telling.rows(6)}
    assert lent_connections() == 1
    assert wrong() == []


def test_rows_that_end_in_an_error_leave_what_was_booked_and_say_it(telling: Telling) -> None:
    def rows() -> Iterator[Any]:
        yield from telling.rows(5)
        raise OSError("the log is gone")

    pages = import_pages(source=telling.gateway.public_id, rows=rows(), page_rows=2)
    found = [next(pages).booked, next(pages).booked]
    with pytest.raises(OSError, match="the log is gone"):
        next(pages)

    assert found == [2, 2]
    assert booked() == {row["external_id"] for row in telling.rows(4)}
    assert lent_connections() == 1
    assert wrong() == []


def test_in_a_transaction_of_the_caller_nothing_leaves_it(telling: Telling) -> None:
    with transaction.atomic():
        new = ApiKeyFactory.create(project=telling.cast.ranking, owner=telling.cast.ada)
        rows = [telling.row(number, key=new.public_id) for number in range(6)]
        counts = import_rows(source=telling.gateway.public_id, rows=rows, page_rows=2)
        assert counts.booked == 6  # nobody else sees the key
        transaction.set_rollback(True)

    assert booked() == set()
    assert Quarantine.objects.count() == 0
