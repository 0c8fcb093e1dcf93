"""How fast calls are booked that a gateway tells of afterwards, and how much room one takes."""

import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import F

from bench.results import Result
from bench.usage.sizes import Size
from bench.usage.world import Callers
from budgets.models import Balance, Entry, EntryKind
from usage.models import UsageDay, UsageEvent, UsageHour
from usage.selectors.ledger import SUMS
from usage.services import import_rows

ORM_ROWS = 300
ROUNDS = 5
PATH = 6  # budgets of a call
DAY_OF = ("owner_id", "project_id", "team_id", "department_id", "model_id", "tier_id")
COPY_CHUNK = 1 << 20
MONTHS = """
    SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
    FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = 'usage_call'::regclass
"""
# With the tables of what calls share.
BYTES = """
    SELECT sum(pg_total_relation_size(relid)) FROM (
      SELECT relid FROM pg_partition_tree('usage_call') WHERE isleaf
      UNION ALL VALUES ('usage_attribution'::regclass), ('usage_source')) kept
"""


def u1_ingest(size: Size) -> Iterator[Result]:
    """Give rates of ingest against COPY of the same rows, the ORM and a second telling; bytes an event.

    Ingest and COPY take turns, a part of the rows each, because the speed of a machine changes meanwhile.
    """
    callers = Callers()
    rows = list(callers.rows(size.rows))
    part = len(rows) // ROUNDS
    rounds = [_turn(callers, rows[number * part : (number + 1) * part]) for number in range(ROUNDS)]
    ingest, copied, narrow = (statistics.median(rates) for rates in zip(*rounds, strict=True))
    told = rows[: ROUNDS * part]
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE usage_call, usage_day, usage_hour, budgets_entry")
        cursor.execute(BYTES)
        bytes_an_event = float(cursor.fetchone()[0]) / len(told)
    again = _rate(len(told), lambda: _import(callers, told))
    orm, orm_alone = _orm_rate(callers)
    print(
        f"  ingest {ingest:,.0f}/s, told again {again:,.0f}/s, COPY {copied:,.0f}/s, narrow {narrow:,.0f}/s",
        flush=True,
    )
    print(f"  ORM {orm:,.0f}/s in every book, {orm_alone:,.0f}/s for the event alone", flush=True)
    judged = size.judges_rows
    against_copy, against_narrow = (
        statistics.median(turn[0] / turn[against] for turn in rounds) for against in (1, 2)
    )
    yield Result(name="ingest_vs_copy", value=against_copy, bar=0.2, judged=judged)
    yield Result(name="ingest_vs_copy_of_narrow_rows", value=against_narrow, bar=0.2, judged=False)
    yield Result(name="ingest_vs_orm_create", value=ingest / orm, bar=50, judged=judged)
    yield Result(name="ingest_vs_orm_create_of_events_alone", value=ingest / orm_alone, bar=50, judged=False)
    yield Result(name="told_again_vs_ingest", value=again / ingest, bar=1, judged=judged)
    yield Result(name="bytes_an_event", value=bytes_an_event, bar=150, at_least=False, judged=judged)


def _turn(callers: Callers, rows: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Book these rows, then COPY what was booked, wide and narrow; return the three rates, rows a second."""
    ingest = _rate(len(rows), lambda: _import(callers, rows))
    time_of = (rows[0]["at"], rows[-1]["at"])
    wide = _copy_rate(time_of, "usage_event", "source, external_id, at")
    narrow = _copy_rate(time_of, "usage_call", "usage_key(source_id, packed, shape)")
    print(
        f"  {len(rows):,} rows: ingest {ingest:,.0f}/s, COPY {wide:,.0f}/s, narrow {narrow:,.0f}/s",
        flush=True,
    )
    return ingest, wide, narrow


def _import(callers: Callers, rows: list[dict[str, Any]]) -> None:
    counts = import_rows(source=callers.source, rows=rows)
    if counts.booked + counts.known != len(rows):
        raise RuntimeError(f"not every row was booked: {counts}")


def _copy_rate(time_of: tuple[datetime, datetime], table: str, unique: str) -> float:
    """COPY the rows of a time, prepared beforehand, into an empty table with the same months and a key."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE copied (LIKE {table}) PARTITION BY RANGE (at)")
        cursor.execute("ALTER TABLE copied DROP COLUMN IF EXISTS call_key")
        cursor.execute("CREATE INDEX ON copied USING brin (at) WITH (pages_per_range = 32)")
        cursor.execute(
            "SELECT string_agg(attname, ', ') FROM pg_attribute"
            " WHERE attrelid = 'copied'::regclass AND attnum > 0 AND NOT attisdropped"
        )
        columns = cursor.fetchone()[0]
        cursor.execute(MONTHS)
        for month, bounds in cursor.fetchall():
            cursor.execute(f"CREATE TABLE copied_{month} PARTITION OF copied {bounds}")
            cursor.execute(f"CREATE UNIQUE INDEX ON copied_{month} ({unique})")
        told = f"SELECT {columns} FROM {table} WHERE at BETWEEN %s AND %s"  # noqa: S608  names of columns
        with cursor.copy(f"COPY ({told}) TO STDOUT (FORMAT BINARY)", time_of) as out:
            prepared = b"".join(bytes(part) for part in out)

        start = time.perf_counter()
        with cursor.copy(f"COPY copied ({columns}) FROM STDIN (FORMAT BINARY)") as into:
            for first in range(0, len(prepared), COPY_CHUNK):
                into.write(prepared[first : first + COPY_CHUNK])
        rate = float(cursor.rowcount) / (time.perf_counter() - start)
        cursor.execute("DROP TABLE copied")
    return rate


def _orm_rate(callers: Callers) -> tuple[float, float]:
    """Create events one by one: in every book that ingest keeps, and in no other book."""
    events = list(UsageEvent.objects.all()[: 2 * ORM_ROWS])
    budgets = [budget.pk for budget in callers.group.budgets[:PATH]]
    for event in events:
        event.source = "orm"
        event.pk = ("orm", event.external_id, event.at)

    def alone() -> None:
        for event in events[:ORM_ROWS]:
            event.save(force_insert=True)

    def in_books() -> None:
        for event in events[ORM_ROWS:]:
            _create(event, budgets)

    rate = _rate(ORM_ROWS, alone)
    return _rate(ORM_ROWS, in_books), rate


def _create(event: UsageEvent, budgets: Sequence[int]) -> None:
    """Keep one call in the books that ingest keeps, a row at a time."""
    sums = {name: F(name) + getattr(event, name) for name in SUMS}
    with transaction.atomic():
        event.save(force_insert=True)
        day, _ = UsageDay.objects.get_or_create(
            day=event.at.date(), key_id=event.key_id, **{name: getattr(event, name) for name in DAY_OF}
        )
        UsageDay.objects.filter(pk=day.pk).update(**sums)
        hour, _ = UsageHour.objects.get_or_create(
            hour=event.at.replace(minute=0, second=0, microsecond=0),
            **{name: getattr(event, name) for name in DAY_OF if name != "owner_id"},
        )
        UsageHour.objects.filter(pk=hour.pk).update(**sums)
        Entry.objects.create(
            kind=EntryKind.LATE,
            amount_usd=event.cost_usd,
            budget_ids=budgets,
            window_starts=[event.at] * len(budgets),
            key_id=event.key_id,
            project_id=event.project_id,
            team_id=event.team_id,
            department_id=event.department_id,
            model_id=event.model_id,
            effective_at=event.at,
            recorded_at=event.recorded_at,
        )
        Balance.objects.filter(budget_id__in=budgets).update(spent_usd=F("spent_usd") + event.cost_usd)


def _rate(count: int, act: Any) -> float:
    start = time.perf_counter()
    act()
    return count / (time.perf_counter() - start)
