"""Books what a gateway's own journal holds: whatever a settlement lost on its way is found here.

Rows that were settled before change nothing, so a page may be read any number of times, in any order.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.db import connection, transaction

from budgets.models import Lease, Reservation
from core import clock
from usage.journal import JournalRow, JournalRowError, read_row
from usage.models import GatewayCall, ImportCursor, Quarantine, QuarantineReason, SourceKind
from usage.ports import SourceUnavailableError, UsageSource
from usage.services.cursors import note_failure, open_cursor

log = structlog.get_logger(__name__)

PAGE_ROWS = 500
PAGES_PER_PULL = 100  # a pull stays short; the next one goes on where it stopped


@dataclass(slots=True, kw_only=True)
class IngestCounts:
    """What became of the rows that were read."""

    read: int = 0
    booked: int = 0
    known: int = 0
    released: int = 0
    quarantined: int = 0

    def add(self, other: "IngestCounts") -> None:
        """Add another page's counts to these."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def pull_source(*, source: UsageSource) -> IngestCounts:
    """Read a source from its cursor to its end and book every row.

    The cursor moves in the transaction that books the page. Two pulls at once wait for each other on the
    cursor's row. An unreadable source is written down on its cursor, where pages and /readyz show it, and
    raises no further.
    """
    total = IngestCounts()
    open_cursor(source=source.name, kind=SourceKind.JOURNAL)
    goes_on = clock.time_left()
    for _ in range(PAGES_PER_PULL):
        try:
            counts, has_more = _pull_page(source)
        except SourceUnavailableError as error:
            note_failure(source=source.name, error=error)
            break
        total.add(counts)
        if not (has_more and goes_on()):
            break
    return total


def ingest_page(*, source: str, rows: Sequence[dict[str, Any]], of_log: bool = False) -> IngestCounts:
    """Book one page of journal rows. One bad row goes to quarantine and never stops the others.

    Rows that are told `of_log` are an ordinary log's word for settlements that have not come: what the
    gateway tells of these calls later counts (usage.services.following).
    """
    with transaction.atomic():
        counts = IngestCounts(read=len(rows))
        good: list[JournalRow] = []
        for raw in rows:
            try:
                good.append(read_row(raw))
            except JournalRowError as error:
                _quarantine(source, raw, error.reason, str(error))
                counts.quarantined += 1
        ended = [row for row in good if not row.allowed]
        _draw([row for row in good if row.allowed], ended, source)
        _keep_gateway_calls(source, ended, of_log=of_log)
        _settle(ended, source, counts)  # at the end, because holds wait for the balances that it locks
    return counts


def _pull_page(source: UsageSource) -> tuple[IngestCounts, bool]:
    position = ImportCursor.objects.get(source=source.name).position
    page = source.page(position, limit=PAGE_ROWS)
    with transaction.atomic():
        cursor = ImportCursor.objects.select_for_update(no_key=True).order_by("pk").get(source=source.name)
        counts = ingest_page(source=source.name, rows=page.rows)
        cursor.position = page.next_cursor
        cursor.rows_read += counts.read
        cursor.last_success_at = clock.now()
        cursor.last_error, cursor.failures, cursor.next_attempt_at = "", 0, None
        newest = _newest(page.rows)
        if newest and (cursor.last_row_at is None or newest > cursor.last_row_at):
            cursor.last_row_at = newest
        cursor.save()
    return counts, page.has_more


def _draw(allowed: Sequence[JournalRow], ended: Sequence[JournalRow], source: str) -> None:
    """Make reservations of the calls under leases: of those that ended, and, because the gateway may have
    died, of those that nothing more is told of yet.
    """
    told = {row.external_id for row in ended}
    rows = [row for row in allowed if row.external_id not in told]
    rows += [row for row in ended if row.lease is not None and not row.released]
    if rows:
        items = [{**row.settlement, "source": source} for row in rows]
        with connection.cursor() as cursor:
            cursor.execute("SELECT usage_draw(%s::jsonb)", [orjson.dumps(items).decode()])


def _settle(rows: Sequence[JournalRow], source: str, counts: IngestCounts) -> None:
    """Settle and release calls by one statement, so that balances are locked once."""
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT place, status FROM usage_settle(%s::jsonb, %s) ORDER BY place",
            [orjson.dumps([_item(row, source) for row in rows]).decode(), settings.TIME_ZONE],
        )
        outcomes = cursor.fetchall()
    for row, (_, status) in zip(rows, outcomes, strict=True):
        if status == "unknown" and not (row.released and _was_leased(source, row)):
            _quarantine(
                source, row.raw, QuarantineReason.UNKNOWN_CALL, "The portal never authorised this call."
            )
            counts.quarantined += 1
        elif row.released:
            counts.released += 1
        elif status == "duplicate":
            counts.known += 1
        elif status == "conflict":
            counts.quarantined += 1
        else:
            counts.booked += 1


def _item(row: JournalRow, source: str) -> dict[str, Any]:
    if row.released:
        return {"source": source, "reservation": row.external_id, "release": True}
    return {**row.settlement, "source": source}


def _was_leased(source: str, row: JournalRow) -> bool:
    """Whether a node decided the call under a lease of ours: the portal hears only of those that cost."""
    return row.lease is not None and Lease.objects.filter(source=source, public_id=row.lease).exists()


def _keep_gateway_calls(source: str, rows: Sequence[JournalRow], *, of_log: bool) -> None:
    """Keep the gateway's side, each call in the window that the ledger gives it: at the moment of its
    authorisation.
    """
    now = clock.now()
    ids = [row.external_id for row in rows]
    authorized = dict(
        Reservation.objects.filter(source=source, public_id__in=ids).values_list("public_id", "authorized_at")
    )
    calls = {
        row.external_id: GatewayCall(
            source=source,
            external_id=row.external_id,
            at=authorized.get(row.external_id, row.at),
            pulled_at=now,
            model_name=row.model,
            finish=row.settlement.get("finish", "error"),
            cache_hit=row.settlement.get("cache_hit", False),
            released=row.released,
            cost_usd=row.cost_usd,
            provider_call_id=row.settlement.get("provider_id", ""),
            settled_by_log=of_log and not row.released,
            **row.tokens,
        )
        for row in rows
    }
    GatewayCall.objects.bulk_create(calls.values(), ignore_conflicts=True)


def _quarantine(source: str, raw: Any, reason: QuarantineReason, detail: str) -> None:
    text = orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)
    external_id = str(raw.get("id", "") if isinstance(raw, dict) else "")[:100]
    Quarantine.objects.bulk_create(
        [
            Quarantine(
                source=source,
                external_id=external_id,
                reason=reason,
                detail=detail[:500],
                row=raw,
                row_hash=hashlib.sha256(text).hexdigest(),
            )
        ],
        ignore_conflicts=True,
    )
    log.warning("usage.quarantined", source=source, external_id=external_id, reason=reason)


def _newest(rows: Sequence[dict[str, Any]]) -> datetime | None:
    moments = []
    for raw in rows:
        try:
            moments.append(read_row(raw).at)
        except JournalRowError:
            continue
    latest = max(moments, default=None)
    return min(latest, clock.now() + timedelta(minutes=10)) if latest else None
