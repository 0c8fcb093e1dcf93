"""Books finished calls that no reservation was made for: the log of a gateway that tells afterwards.

Exactly once, whatever is told again, in any order and page size: what is known by its name at its source is
not booked twice, and told with other figures it is a conflict. No watermark is kept, so none can be wrong.
"""

import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.db import connection, transaction

from core import clock
from usage.models import Quarantine, QuarantineReason
from usage.rows import COLUMNS, Copied, RowError, copied, external_id, kept
from usage.services.conflicts import tell_of_conflict
from usage.services.ingest import IngestCounts
from usage.services.retention import HOURS_KEPT

log = structlog.get_logger(__name__)

PAGE_ROWS = 50_000
LANES = 2
MOST_ROUNDS = 4
TOLD_TOO_OFTEN = f"The page tells this call with more than {MOST_ROUNDS} different figures."
COPY_SQL = f"COPY usage_import_row ({', '.join(name for name, _ in COLUMNS)}) FROM STDIN (FORMAT BINARY)"
DETAILS = {
    QuarantineReason.UNKNOWN_KEY: "No key has this public id.",
    QuarantineReason.UNKNOWN_MODEL: "No model and no alias has this name.",
    QuarantineReason.UNKNOWN_PROJECT: "The key belongs to another project, or there is none of this code.",
    QuarantineReason.UNPRICED: "The model had no price then. Add one from that day on, then tell it again.",
    QuarantineReason.BAD_TIME: "The month of this call is retired: nobody can tell whether it was booked.",
    QuarantineReason.CONFLICT: "The call was authorised here: its own settlement books it.",
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not booked, why, and in words."""

    raw: Any
    reason: QuarantineReason
    detail: str


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows, those to book of them by name in `rounds`, those that cannot be, and what is known so far."""

    rows: Sequence[Any]
    rounds: Sequence[dict[str, Copied]]
    refused: list[Refused]
    counts: IngestCounts


def import_rows(*, source: str, rows: Iterable[Any], page_rows: int = PAGE_ROWS) -> IngestCounts:
    """Book the rows of one source, a page a transaction, and return what became of them.

    `source` is the public id of the gateway; usage.rows says what a row holds. A row that cannot be booked
    goes to quarantine with its reason and never stops the others. May be stopped at any moment and run again
    from any row. `rows` are drawn as `import_pages` says.
    """
    total = IngestCounts()
    for counts in import_pages(source=source, rows=rows, page_rows=page_rows):
        total.add(counts)
    return total


def import_pages(
    *, source: str, rows: Iterable[Any], page_rows: int = PAGE_ROWS
) -> Generator[IngestCounts, None, None]:
    """Book rows as `import_rows` does and tell what became of each page, in the order of the rows.

    Two pages are in the database at once, each on a connection of its own, and this thread draws and checks
    the one after them: memory holds three. They are booked though nobody asks what became of them.
    In a transaction of the caller nothing leaves it: its connection books one page after the other.
    """
    remaining = iter(rows)
    pages = map(_checked, iter(lambda: list(islice(remaining, page_rows)), []))
    if connection.in_atomic_block:
        yield from (_keep(source, page) for page in pages)
    else:
        yield from _keep_in_lanes(source, pages)


def _keep_in_lanes(source: str, pages: Iterable[_Page]) -> Generator[IngestCounts, None, None]:
    """Book pages on two connections, in their order, and nothing of a page if one before it failed.

    While one page is booked the next is copied and placed and then waits here for its end, where PostgreSQL
    sees no deadlock: it may hold nothing by then that the other needs, no lock of an import and no row. That
    is why the source gets its number before.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_source_of(%s)", [source])
    told: deque[Future[IngestCounts]] = deque()
    before: Future[IngestCounts] | None = None
    with ThreadPoolExecutor(LANES, thread_name_prefix="import") as pool:
        try:
            for page in pages:
                if len(told) == LANES:
                    yield told.popleft().result()
                before = pool.submit(copy_context().run, _keep_in_lane, source, page, before)
                told.append(before)
        except Exception:  # rows that end in an error: first what became of those before
            yield from (each.result() for each in told)
            raise
        yield from (each.result() for each in told)


def _keep_in_lane(source: str, page: _Page, before: Future[IngestCounts] | None) -> IngestCounts:
    try:
        return _keep(source, page, before)
    finally:
        connection.close()


def import_page(*, source: str, rows: Sequence[Any]) -> IngestCounts:
    """Book one page of rows in one transaction: what import_rows does of each."""
    return _keep(source, _checked(rows))


def judge_page(
    *, source: str, rows: Sequence[Any], unreadable: Sequence[Refused] = ()
) -> tuple[IngestCounts, list[Refused]]:
    """Book one page of rows in one transaction, and return every row that went to quarantine with its reason.

    `unreadable` are rows of the page of which nothing could be made: they join the others in quarantine.
    """
    page = _checked(rows)
    page.refused.extend(unreadable)
    page.counts.read += len(unreadable)
    return _keep(source, page), page.refused


def _keep(source: str, page: _Page, before: Future[IngestCounts] | None = None) -> IngestCounts:
    """Book a page in one transaction, whole, once the page before it is committed. Raises its error."""
    with transaction.atomic():
        for batch in page.rounds:
            _place(source, batch)
            _wait_for(before)
            page.refused.extend(_book(source, page.rows, page.counts))
        _wait_for(before)
        _quarantine(source, page.refused)
    page.counts.quarantined += len(page.refused)
    return page.counts


def _wait_for(before: Future[IngestCounts] | None) -> None:
    if before is not None:
        before.result()


def _checked(rows: Sequence[Any]) -> _Page:
    """Check every row, and tell those to book from those that cannot be.

    A call that the page tells twice in the same way is one. Told in another way it is of the next round, when
    the books know the first, or whatever they knew before.
    """
    now, known = clock.now(), 0
    rounds: list[dict[str, Copied]] = []
    refused: list[Refused] = []
    for place, raw in enumerate(rows):
        try:
            row = copied(raw, now=now)
        except RowError as error:
            refused.append(Refused(raw, error.reason, str(error)))
            continue
        for batch in rounds:
            first = batch.setdefault(row[0], (place, *row))
            if first[0] == place:
                break
            if first[1:] == row:
                known += 1
                break
        else:
            if len(rounds) < MOST_ROUNDS:
                rounds.append({row[0]: (place, *row)})
            else:
                refused.append(Refused(raw, QuarantineReason.CONFLICT, TOLD_TOO_OFTEN))
    return _Page(rows, rounds, refused, IngestCounts(read=len(rows), known=known))


def _place(source: str, batch: dict[str, Copied]) -> None:
    """Copy the rows, and have them priced and attributed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_import_begin()")
        with cursor.copy(COPY_SQL) as copy:
            copy.set_types([kind for _, kind in COLUMNS])
            for row in batch.values():
                copy.write_row(row)
        cursor.execute("SELECT usage_import_place(%s)", [source])


def _book(source: str, rows: Sequence[Any], counts: IngestCounts) -> list[Refused]:
    """Book the rows that were placed; return those that the books refuse."""
    refused = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM usage_import(%s, %s, %s, %s)", _terms(source))
        for place, outcome, detail, calls in cursor.fetchall():
            match outcome:
                case "new":
                    counts.booked += calls
                case "known":
                    counts.known += calls
                case _:
                    reason = QuarantineReason(outcome)
                    refused.append(Refused(rows[place], reason, _detail(reason, detail)))
    return refused


def _terms(source: str) -> list[Any]:
    hours_from: datetime = clock.now() - HOURS_KEPT
    return [source, settings.TIME_ZONE, f"Imported from {source}.", hours_from]


def _detail(reason: QuarantineReason, detail: str) -> str:
    if detail and reason is QuarantineReason.CONFLICT:
        return f"Other figures than were {detail}."
    return DETAILS[reason]


def _quarantine(source: str, refused: Sequence[Refused]) -> None:
    """Keep each row once, by its reason and what it holds, and tell administrators of new conflicts."""
    if not refused:
        return
    rows = {(row.external_id, row.reason, row.row_hash): row for row in _quarantine_rows(source, refused)}
    conflicts = [row for row in rows.values() if row.reason == QuarantineReason.CONFLICT]
    told = set(
        Quarantine.objects.filter(
            source=source, reason=QuarantineReason.CONFLICT, row_hash__in=[row.row_hash for row in conflicts]
        ).values_list("external_id", "row_hash")
    )
    Quarantine.objects.bulk_create(rows.values(), ignore_conflicts=True, batch_size=1_000)
    new = [row for row in conflicts if (row.external_id, row.row_hash) not in told]
    log.warning("usage.quarantined", source=source, rows=len(rows), conflicts=len(new))
    if new:
        tell_of_conflict(source=source, calls=len(new), day=clock.now().date())


def _quarantine_rows(source: str, refused: Sequence[Refused]) -> Iterator[Quarantine]:
    now = clock.now()
    for row in refused:
        safe = kept(row.raw)
        yield Quarantine(
            source=source,
            external_id=external_id(row.raw),
            reason=row.reason,
            detail=row.detail[:500],
            row=safe,
            row_hash=hashlib.sha256(orjson.dumps(safe, option=orjson.OPT_SORT_KEYS)).hexdigest(),
            seen_at=now,
        )
