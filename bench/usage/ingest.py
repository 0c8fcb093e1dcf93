"""How fast calls are booked that a gateway tells of afterwards, and how much room one takes."""

import time
from collections.abc import Iterator
from typing import Any

from django.db import connection

from bench.results import Result
from bench.usage.sizes import Size
from bench.usage.world import Callers
from usage.models import UsageEvent
from usage.services import import_rows

ORM_ROWS = 1_000
COPY_CHUNK = 1 << 20
MONTHS = "SELECT relname FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE inhparent = 'usage_event'::regclass"
BYTES = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('usage_event') WHERE isleaf"


def u1_ingest(size: Size) -> Iterator[Result]:
    """Give rates of ingest against COPY of the same rows, the ORM and a second telling, and bytes an event."""
    callers = Callers()
    rows = list(callers.rows(size.rows))
    ingest = _rate(size.rows, lambda: _import(callers, rows))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE usage_event, usage_day, usage_hour, budgets_entry")
        cursor.execute(BYTES)
        bytes_an_event = float(cursor.fetchone()[0]) / size.rows
    again = _rate(size.rows, lambda: _import(callers, rows))
    copied = _copy_rate(size.rows)
    orm = _orm_rate()
    print(
        f"  ingest {ingest:,.0f}/s, told again {again:,.0f}/s, COPY {copied:,.0f}/s, ORM {orm:,.0f}/s",
        flush=True,
    )
    judged = size.judges_rows
    yield Result(name="ingest_vs_copy", value=ingest / copied, bar=0.2, judged=judged)
    yield Result(name="ingest_vs_orm_create", value=ingest / orm, bar=50, judged=judged)
    yield Result(name="told_again_vs_ingest", value=again / ingest, bar=1, judged=judged)
    yield Result(name="bytes_an_event", value=bytes_an_event, bar=150, at_least=False, judged=judged)


def _import(callers: Callers, rows: list[dict[str, Any]]) -> None:
    counts = import_rows(source=callers.source, rows=rows)
    if counts.booked + counts.known != len(rows):
        raise RuntimeError(f"not every row was booked: {counts}")


def _copy_rate(count: int) -> float:
    """COPY the very rows, prepared beforehand, into an empty table with the same months and key."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE copied_event (LIKE usage_event INCLUDING ALL) PARTITION BY RANGE (at)")
        cursor.execute(MONTHS)
        for (month,) in cursor.fetchall():
            cursor.execute(
                f"SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = '{month}'"  # noqa: S608
            )
            cursor.execute(f"CREATE TABLE copied_{month} PARTITION OF copied_event {cursor.fetchone()[0]}")
        with cursor.copy("COPY (SELECT * FROM usage_event) TO STDOUT (FORMAT BINARY)") as out:
            prepared = b"".join(bytes(part) for part in out)

        def copy() -> None:
            with cursor.copy("COPY copied_event FROM STDIN (FORMAT BINARY)") as into:
                for start in range(0, len(prepared), COPY_CHUNK):
                    into.write(prepared[start : start + COPY_CHUNK])

        rate = _rate(count, copy)
        cursor.execute("DROP TABLE copied_event")
    return rate


def _orm_rate() -> float:
    """Create events one by one, and nothing else: neither roll-ups nor entries nor balances."""
    events = list(UsageEvent.objects.all()[:ORM_ROWS])

    def create() -> None:
        for event in events:
            event.source = "orm"
            event.pk = ("orm", event.external_id, event.at)
            event.save(force_insert=True)

    return _rate(len(events), create)


def _rate(count: int, act: Any) -> float:
    start = time.perf_counter()
    act()
    return count / (time.perf_counter() - start)
