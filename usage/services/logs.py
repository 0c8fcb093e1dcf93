"""Books what a gateway's ordinary log holds: calls of ours as its journal would tell them, others apart.

Lines that were read before change nothing, so a log may be read any number of times, in any order.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import orjson
import structlog
from django.db import connection, transaction
from django.db.models import Q

from budgets.models import Reservation, ReservationState
from catalog.pricing import STANDARD
from core import clock
from core.money import wire_usd
from usage.models import GatewayCall, ImportCursor, Quarantine, QuarantineReason, SourceKind
from usage.ports import LogPage, LogRow, RefusedRow, SourceUnavailableError, UnusedCall, UsageLog
from usage.services import cursors
from usage.services.bulk import import_page
from usage.services.ingest import ingest_page

log = structlog.get_logger(__name__)

PAGE_ROWS = 2_000
TELLS_WITHIN = timedelta(hours=1)
# Calls are found by their key, not by their name.
BOOKED_SQL = """
    SELECT external_id, at FROM usage_event
    WHERE call_key = ANY (ARRAY(SELECT usage_key_of(%s, name) FROM unnest(%s::text[]) AS name))
"""
READING = timedelta(seconds=40)  # then a pull stops after its page; the next one goes on


@dataclass(slots=True, kw_only=True)
class LogCounts:
    """What became of the lines. `ours` were decided by Purser, `others` were not; `waiting` are of calls
    whose settlement is still on its way; `freed` were never worked for and no longer hold anything;
    `skipped` were refused, or their use is unknown.
    """

    ours: int = 0
    others: int = 0
    waiting: int = 0
    refused: int = 0
    freed: int = 0
    skipped: int = 0

    def add(self, other: "LogCounts") -> None:
        """Add another page's counts to these."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def pull_log(*, source: UsageLog) -> LogCounts:
    """Read a log from its cursor to its end and book every line.

    The cursor moves in the transaction that books the page. Nothing is read while another reader has the
    source or before its next attempt; an unreadable source is written down on its cursor.
    """
    total = LogCounts()
    cursors.open_cursor(source=source.name, kind=SourceKind.LOG, gateway=source.gateway)
    if not cursors.claim(source=source.name):
        return total
    started, has_more = clock.now(), True
    try:
        while has_more and clock.now() - started < READING:
            position = ImportCursor.objects.get(source=source.name).position
            page = source.page(position, limit=PAGE_ROWS)
            total.add(_keep(source, page))
            has_more = page.has_more
    except SourceUnavailableError as error:
        cursors.note_failure(source=source.name, error=error)
    else:
        cursors.note_success(source=source.name)
    return total


@transaction.atomic
def book_log_rows(
    *, gateway: str, rows: Sequence[LogRow], refused: Sequence[RefusedRow], unused: Sequence[UnusedCall] = ()
) -> LogCounts:
    """Book one page of a log.

    A call that Purser decided is kept as the gateway's side of it, and settled if that was lost. One that it
    did not decide is booked by what the line tells, or goes to quarantine. One that names a decision which is
    not known here is read again while it is young: a gateway's node may have made it, and tells of it later.
    What is held for a call that nothing was done for is freed.
    """
    now = clock.now()
    ids = [row.reservation for row in rows if row.reservation]
    known = dict(
        Reservation.objects.filter(source=gateway, public_id__in=ids).values_list(
            "public_id", "authorized_at"
        )
    )
    settled = _booked(gateway, list(known))
    ours = [row for row in rows if row.reservation in known]
    others = [row for row in rows if not row.reservation]
    unknown = [row for row in rows if row.reservation and row.reservation not in known]
    forged = [row for row in unknown if now - row.at > TELLS_WITHIN]
    lost = [_journal_row(row) for row in ours if row.reservation not in settled]
    freed = _releases(gateway, unused)
    if lost or freed:
        ingest_page(source=gateway, rows=lost + freed, of_log=True)
    told = [row for row in ours if row.reservation in settled]
    _keep_calls(gateway, [(row.reservation, known[row.reservation], row) for row in told])
    _import(gateway, others)
    _quarantine(gateway, [_unknown(row) for row in forged] + list(refused))
    return LogCounts(
        ours=len(ours),
        others=len(others),
        waiting=len(unknown) - len(forged),
        refused=len(refused) + len(forged),
        freed=len(freed),
    )


@transaction.atomic
def read_again(*, sources: Sequence[str], back: Callable[[str], str]) -> int:
    """Move the cursors of sources as `back` says, so that what was read is read again; return how many."""
    cursors_of = ImportCursor.objects.select_for_update(no_key=True).order_by("pk").filter(source__in=sources)
    for cursor in cursors_of:
        cursor.position = back(cursor.position)
        cursor.save(update_fields=["position"])
    return len(cursors_of)


@transaction.atomic
def _keep(source: UsageLog, page: LogPage) -> LogCounts:
    cursor = ImportCursor.objects.select_for_update(no_key=True).order_by("pk").get(source=source.name)
    counts = book_log_rows(gateway=source.gateway, rows=page.rows, refused=page.refused, unused=page.unused)
    counts.skipped = page.skipped
    cursor.position = page.next_cursor
    cursor.rows_read += len(page.rows) + len(page.refused) + page.skipped
    newest = max((row.at for row in page.rows), default=None)
    if newest and (cursor.last_row_at is None or newest > cursor.last_row_at):
        cursor.last_row_at = min(newest, clock.now())
    cursor.save(update_fields=["position", "rows_read", "last_row_at"])
    return counts


def _journal_row(row: LogRow) -> dict[str, Any]:
    """Write a call as a line of a journal (docs/gateway-api.md)."""
    return {
        "id": row.reservation,
        "at": row.at.isoformat(),
        "model": row.model,
        "served_model": row.model,
        "served_context": row.context or None,
        "usage": {**row.tokens, **({"units": dict(row.units)} if row.units else {})},
        "finish": row.finish,
        "cache_hit": row.cache_hit,
        "provider_id": row.provider_id,
        "cost_usd": row.cost_usd and wire_usd(row.cost_usd),
    }


def _releases(gateway: str, calls: Sequence[UnusedCall]) -> list[dict[str, Any]]:
    """Write those calls for which something is or was held as lines of a journal that free it."""
    named = Q(public_id__in=[call.reservation for call in calls if call.reservation])
    asked = Q(request_id__in=[call.request_id for call in calls if not call.reservation])
    found = Reservation.objects.filter(named | asked, source=gateway).exclude(state=ReservationState.RELEASED)
    names = {name: held.public_id for held in found for name in (held.public_id, held.request_id)}
    return [
        {
            "id": names[call.reservation or call.request_id],
            "kind": "release",
            "at": call.at.isoformat(),
            "model": call.model,
        }
        for call in calls
        if (call.reservation or call.request_id) in names
    ]


def _import(gateway: str, rows: Sequence[LogRow]) -> None:
    """Book calls that no reservation was made for; what cannot be booked is in quarantine then."""
    if not rows:
        return
    import_page(source=gateway, rows=[_import_row(row) for row in rows])
    booked = _booked(gateway, [row.external_id for row in rows])
    told = [row for row in rows if row.external_id in booked]
    _keep_calls(gateway, [(row.external_id, booked[row.external_id], row) for row in told])


def _booked(gateway: str, names: Sequence[str]) -> dict[str, datetime]:
    """Return those calls of a gateway that are in the books, each with its moment."""
    with connection.cursor() as cursor:
        cursor.execute(BOOKED_SQL, [gateway, list(names)])
        return dict(cursor.fetchall())


def _import_row(row: LogRow) -> dict[str, Any]:
    """Write a call that no reservation was made for as usage.rows has it."""
    return {
        "external_id": row.external_id,
        "at": row.at,
        "key": row.key,
        "model": row.model,
        **row.tokens,
        "units": dict(row.units),
        "context": row.context or STANDARD,
        "finish": row.finish,
        "cache_hit": row.cache_hit,
        "provider_call_id": row.provider_id,
    }


def _keep_calls(gateway: str, rows: Sequence[tuple[str, datetime, LogRow]]) -> None:
    """Keep the gateway's side of calls, each under the name and at the moment that the ledger has."""
    now = clock.now()
    GatewayCall.objects.bulk_create(
        [
            GatewayCall(
                source=gateway,
                external_id=external_id,
                at=at,
                pulled_at=now,
                model_name=row.model,
                finish=row.finish,
                cache_hit=row.cache_hit,
                cost_usd=row.cost_usd,
                provider_call_id=row.provider_id,
                **row.tokens,
            )
            for external_id, at, row in rows
        ],
        ignore_conflicts=True,
    )


def _unknown(row: LogRow) -> RefusedRow:
    return RefusedRow(
        raw={**row.raw, "id": row.external_id},
        reason=QuarantineReason.UNKNOWN_CALL,
        detail=f"It names the decision {row.reservation}, which Purser never made.",
    )


def _quarantine(gateway: str, rows: Sequence[RefusedRow]) -> None:
    made = []
    for row in rows:
        text = orjson.dumps(row.raw, option=orjson.OPT_SORT_KEYS, default=str)
        found = row.raw if isinstance(row.raw, dict) else {}
        made.append(
            Quarantine(
                source=gateway,
                external_id=str(found.get("id") or found.get("request_id") or "")[:100],
                reason=row.reason,
                detail=row.detail[:500],
                row=orjson.loads(text),
                row_hash=hashlib.sha256(text).hexdigest(),
            )
        )
    Quarantine.objects.bulk_create(made, ignore_conflicts=True)
    if made:
        log.warning("usage.quarantined", source=gateway, rows=len(made))
