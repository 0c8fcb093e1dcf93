"""Compares the portal's ledger with a gateway's own journal for one UTC day, call by call."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import orjson
import structlog
from django.db import connection, transaction

from core import clock
from usage.models import Discrepancy, DiscrepancyState, ImportCursor, ReconciliationRun, RunState

log = structlog.get_logger(__name__)

STALE_AFTER = timedelta(minutes=15)
SETTLES_WITHIN = timedelta(minutes=15)  # MISSING_AT_PORTAL counts after this
REPORTS_WITHIN = timedelta(hours=2)  # MISSING_AT_GATEWAY counts after this

SUMS_SQL = """
SELECT count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), {cost}
FROM {table} WHERE source = %(source)s AND at >= %(start)s AND at < %(end)s AND {counted}
"""

DIFFERENCES_SQL = """
WITH portal AS (
  SELECT external_id, input_tokens, output_tokens, cached_tokens, cost_usd, recorded_at FROM usage_event
  WHERE source = %(source)s AND at >= %(start)s AND at < %(end)s AND external_id NOT LIKE '%%:%%'
), gateway AS (
  SELECT external_id, input_tokens, output_tokens, cached_tokens, at FROM usage_gateway_call
  WHERE source = %(source)s AND at >= %(start)s AND at < %(end)s AND NOT released
)
SELECT external_id,
  CASE WHEN p.recorded_at IS NULL THEN 'missing_at_portal'
       WHEN g.at IS NULL THEN 'missing_at_gateway' ELSE 'token_mismatch' END,
  jsonb_build_object(
    'portal', json_build_object(
      'input', p.input_tokens, 'cached', p.cached_tokens, 'output', p.output_tokens),
    'gateway', json_build_object(
      'input', g.input_tokens, 'cached', g.cached_tokens, 'output', g.output_tokens)
  )::text,
  coalesce(p.cost_usd, 0)
FROM portal p FULL OUTER JOIN gateway g USING (external_id)
WHERE CASE WHEN p.recorded_at IS NULL THEN g.at < %(settled_before)s
           WHEN g.at IS NULL THEN p.recorded_at < %(reported_before)s
           ELSE (p.input_tokens, p.output_tokens, p.cached_tokens)
                IS DISTINCT FROM (g.input_tokens, g.output_tokens, g.cached_tokens) END
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """One side's figures of a day."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: Any = 0


def reconcile_day(*, source: str, day: date) -> ReconciliationRun:
    """Compare one UTC day of one gateway and write the run with its discrepancies.

    Running it again updates the same run: differences that went away are closed as corrected, new ones are
    opened. A source that was not read lately makes the run red ("unreadable"), never "no difference".
    """
    window = _window(source, day)
    with transaction.atomic():
        now = clock.now()
        run, _ = ReconciliationRun.objects.get_or_create(
            day=day,
            source=source,
            defaults={"state": RunState.UNREADABLE, "first_run_at": now, "last_run_at": now},
        )
        run = ReconciliationRun.objects.select_for_update(no_key=True).order_by("pk").get(pk=run.pk)
        portal, gateway = _portal_sums(window), _gateway_sums(window)
        found = _differences(window)
        _write_discrepancies(run, found)
        open_ones = run.discrepancies.filter(state=DiscrepancyState.OPEN)
        run.drift_usd = sum((item.amount_usd for item in open_ones), start=run.drift_usd * 0)
        run.state = _state(source, day, different=bool(open_ones))
        run.portal_calls, run.gateway_calls = portal.calls, gateway.calls
        run.portal_input_tokens, run.gateway_input_tokens = portal.input_tokens, gateway.input_tokens
        run.portal_output_tokens, run.gateway_output_tokens = portal.output_tokens, gateway.output_tokens
        run.portal_cost_usd = portal.cost_usd
        run.runs += 1
        run.last_run_at = now
        run.save()
    log.info("usage.reconciled", source=source, day=str(day), state=run.state, differences=len(found))
    return run


def _window(source: str, day: date) -> dict[str, Any]:
    start = datetime.combine(day, time.min, tzinfo=UTC)
    now = clock.now()
    return {
        "source": source,
        "start": start,
        "end": start + timedelta(days=1),
        "settled_before": now - SETTLES_WITHIN,
        "reported_before": now - REPORTS_WITHIN,
    }


def _portal_sums(window: Mapping[str, Any]) -> Sums:
    sql = SUMS_SQL.format(
        table="usage_event", cost="coalesce(sum(cost_usd), 0)", counted="external_id NOT LIKE '%%:%%'"
    )
    return _sums(sql, window)


def _gateway_sums(window: Mapping[str, Any]) -> Sums:
    return _sums(SUMS_SQL.format(table="usage_gateway_call", cost="0", counted="NOT released"), window)


def _sums(sql: str, window: Mapping[str, Any]) -> Sums:
    with connection.cursor() as cursor:
        cursor.execute(sql, dict(window))
        calls, input_tokens, output_tokens, cost_usd = cursor.fetchone()
    return Sums(calls=calls, input_tokens=input_tokens, output_tokens=output_tokens, cost_usd=cost_usd)


def _differences(window: Mapping[str, Any]) -> list[tuple[str, str, str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(DIFFERENCES_SQL, dict(window))
        return list(cursor.fetchall())


def _write_discrepancies(run: ReconciliationRun, found: list[tuple[str, str, str, Any]]) -> None:
    now = clock.now()
    Discrepancy.objects.bulk_create(
        [
            Discrepancy(
                run=run,
                external_id=external_id,
                kind=kind,
                detail=orjson.loads(detail),
                amount_usd=amount,
                opened_at=now,
            )
            for external_id, kind, detail, amount in found
        ],
        ignore_conflicts=True,
    )
    still = {(external_id, kind) for external_id, kind, _, _ in found}
    gone = [
        item.pk
        for item in run.discrepancies.filter(state=DiscrepancyState.OPEN)
        if (item.external_id, item.kind) not in still
    ]
    Discrepancy.objects.filter(pk__in=gone).update(
        state=DiscrepancyState.CORRECTED, closed_at=now, note="The two sides agree since then."
    )


def _state(source: str, day: date, *, different: bool) -> RunState:
    cursor = ImportCursor.objects.filter(source=source).first()
    end = datetime.combine(day, time.min, tzinfo=UTC) + timedelta(days=1)
    needed = min(end, clock.now() - STALE_AFTER)
    if cursor is None or cursor.last_success_at is None or cursor.last_success_at < needed:
        return RunState.UNREADABLE
    return RunState.DIFFERENT if different else RunState.MATCHED
