"""Level 1: the ledger against a gateway's own record of one UTC day, call by call."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.db import connection, transaction

from core import clock
from core.deadline import seconds_left
from usage.models import (
    Discrepancy,
    DiscrepancyClass,
    DiscrepancyState,
    Level,
    ReconciliationRun,
    RunState,
)
from usage.selectors.call_books import FOR_LONG_READS, DayOfCalls, day_of_calls
from usage.selectors.sources import gateways_told, reads_of_gateways
from usage.services.reconciliation import runs

log = structlog.get_logger(__name__)

STALE_AFTER = timedelta(minutes=15)
BOOKED_LATE = "Booked late, from the gateway's record."
IGNORED = "The second row of the same answer is ignored and counted."
LATE_AT_ONCE = 500
LEFT_TO_COMPARE = 25.0  # seconds; what is not booked by then is with the next run
NONE_FOUND = """
    SELECT NULL::text AS kind, NULL::text AS external_id, NULL::timestamptz AS at, '' AS model_name,
      0::numeric AS amount_usd, '{}'::jsonb AS detail WHERE false
"""
# What the ledger lacks and the portal has authorised, as a settlement is told.
LATE_SQL = """
    SELECT d.id, jsonb_build_object('source', g.source, 'reservation', g.external_id,
      'served_model', g.model_name, 'finish', g.finish, 'cache_hit', g.cache_hit, 'estimated', false,
      'provider_id', g.provider_call_id,
      'input_tokens', g.input_tokens, 'cached_tokens', g.cached_tokens,
      'cache_write_tokens', g.cache_write_tokens, 'output_tokens', g.output_tokens,
      'reasoning_tokens', g.reasoning_tokens)::text
    FROM usage_discrepancy d
    JOIN usage_gateway_call g ON g.source = %(source)s AND g.external_id = d.external_id AND g.at = d.at
    JOIN budgets_reservation r ON r.public_id = g.external_id AND r.source = g.source
    WHERE d.run_id = %(run)s AND d.kind = 'missing_at_portal' AND d.state = 'open'
      AND (%(only)s::bigint IS NULL OR d.id = %(only)s)
    ORDER BY d.id LIMIT %(limit)s
"""


def reconcile_day(*, source: str, day: date) -> ReconciliationRun:
    """Compare one UTC day of one gateway and write the run with its discrepancies.

    Sums of hours are compared first, and only the calls of hours that differ are looked at. What the gateway
    has and the ledger lacks is booked late where the portal authorised it. Running it again updates the same
    run: differences that went away are closed as corrected, new ones are opened. A source that was not read
    lately makes the run red ("unreadable"), never "no difference". One that keeps no journal or log has no
    other side: only calls that came twice or cost nothing are looked for, and the run says so.
    """
    with transaction.atomic():
        run = runs.locked_run(source=source, day=day, level=Level.CALLS)
        run.alone = source not in gateways_told()
        _allow_long_queries()
        books = _compare(run)
        while seconds_left() > LEFT_TO_COMPARE and book_late(run):
            books = _compare(run)
        _ignore_seconds(run)
        run.portal_calls, run.gateway_calls = books.portal.calls, books.gateway.calls
        run.portal_input_tokens = books.portal.input_tokens
        run.gateway_input_tokens = books.gateway.input_tokens
        run.portal_output_tokens = books.portal.output_tokens
        run.gateway_output_tokens = books.gateway.output_tokens
        run.portal_cost_usd, run.no_twins = books.portal.cost_usd, books.no_twins
        run.drift_usd = runs.open_amount(run)
        notice = "" if run.alone else _unreadable(source, day)
        agrees = RunState.ALONE if run.alone else RunState.MATCHED
        state = RunState.DIFFERENT if runs.is_open(run) else agrees
        runs.finish(run, state=RunState.UNREADABLE if notice else state, notice=notice)
    log.info("usage.reconciled", source=source, day=str(day), level=1, state=run.state)
    return run


def book_late(run: ReconciliationRun, *, only: Discrepancy | None = None) -> int:
    """Book calls that the gateway has and the ledger lacks, each in its own window; return how many.

    A call can be attributed when the portal authorised it: its reservation says whose it is.
    """
    rows = _late_rows(run, only)
    if not rows:
        return 0
    with connection.cursor() as cursor:
        items = [orjson.loads(item) for _, item in rows]
        cursor.execute(
            "SELECT place, status FROM usage_settle(%s::jsonb, %s) ORDER BY place",
            [orjson.dumps(items).decode(), settings.TIME_ZONE],
        )
        statuses = [status for _, status in cursor.fetchall()]
    booked = [pk for (pk, _), status in zip(rows, statuses, strict=True) if status in {"settled", "late"}]
    Discrepancy.objects.filter(pk__in=booked).update(
        state=DiscrepancyState.CORRECTED, closed_at=clock.now(), note=BOOKED_LATE
    )
    return len(booked)


def _compare(run: ReconciliationRun) -> DayOfCalls:
    books = day_of_calls(run.source, run.day, no_twins=run.no_twins, alone=run.alone)
    if books.may_differ:
        runs.keep_calls(run, *books.calls())
    else:
        runs.keep_calls(run, NONE_FOUND, {})
    return books


def _late_rows(run: ReconciliationRun, only: Discrepancy | None) -> Sequence[tuple[int, str]]:
    params: dict[str, Any] = {
        "source": run.source,
        "run": run.pk,
        "only": only.pk if only else None,
        "limit": LATE_AT_ONCE,
    }
    with connection.cursor() as cursor:
        cursor.execute(LATE_SQL, params)
        return list(cursor.fetchall())


def _ignore_seconds(run: ReconciliationRun) -> None:
    """Close second rows of an answer that cost nothing: they are ignored, and counted."""
    run.discrepancies.filter(
        kind=DiscrepancyClass.DUPLICATE, state=DiscrepancyState.OPEN, amount_usd=0
    ).update(state=DiscrepancyState.EXPLAINED, closed_at=clock.now(), note=IGNORED)


def _allow_long_queries() -> None:
    """A day may have millions of calls; pages have to be quicker than this."""
    with connection.cursor() as cursor:
        for name, value in FOR_LONG_READS.items():
            cursor.execute("SELECT set_config(%s, %s, true)", [name, value])


def _unreadable(source: str, day: date) -> str:
    """Say why a gateway's record of a day is not known, if it is not. Each of its sources counts."""
    read = [read_at for gateway, read_at in reads_of_gateways() if gateway == source]
    end = datetime.combine(day, time.min, tzinfo=UTC) + timedelta(days=1)
    needed = min(end, clock.now() - STALE_AFTER)
    oldest = min((at for at in read if at), default=None)
    if oldest is None or None in read:
        return "The gateway's record was never read."
    if oldest < needed:
        return f"The gateway's record was last read at {oldest:%Y-%m-%d %H:%M} UTC."
    return ""
