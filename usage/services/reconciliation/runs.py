"""What all levels share: the row of a run, and its discrepancies kept in step with what was found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson
from django.db import connection

from core import audit, clock
from core.money import ZERO
from usage.models import (
    Discrepancy,
    DiscrepancyClass,
    DiscrepancyState,
    Level,
    ReconciliationRun,
    RunState,
)
from usage.variance import LEAST_USD, SHARE

AGREE_NOW = "The two sides agree since then."
GREW = "It grew beyond the amount that was explained or accepted."
Names = frozenset[tuple[str, str]]  # the class and the external id of differences of one run

# Found again: figures of an open one follow, one that had gone away is open again (not a second booking that
# was taken back: the gateway keeps its row), and what a person said about the others stands, as long as they
# are not beyond the amount about which it was said: that is the one they keep. A booked call that the
# gateway's record lacks is not confirmed until its row comes, whatever was said about it.
KEEP_SQL = """
WITH found AS MATERIALIZED ({found}), grown AS MATERIALIZED (
  SELECT d.id, d.kind, d.external_id, d.state, d.amount_usd AS was_usd, f.amount_usd, d.note
  FROM found f JOIN usage_discrepancy d ON (d.kind, d.external_id) = (f.kind, f.external_id)
  WHERE d.run_id = %(run)s AND d.state IN ('explained', 'accepted') AND abs(f.amount_usd)
      - CASE WHEN sign(f.amount_usd) = sign(d.amount_usd) THEN abs(d.amount_usd) ELSE 0 END
      > greatest(%(least)s, %(share)s * abs(d.amount_usd))
), kept AS (
  INSERT INTO usage_discrepancy AS d (public_id, run_id, kind, external_id, at, model_name, detail, proposal,
    amount_usd, state, note, opened_at, unconfirmed)
  SELECT 'dsc_' || left(replace(gen_random_uuid()::text, '-', ''), 18), %(run)s, kind, external_id, at,
    model_name, detail, proposal, amount_usd, 'open', '', %(now)s, kind = 'missing_at_gateway' FROM found
  ON CONFLICT (run_id, kind, external_id) DO UPDATE SET detail = excluded.detail,
    amount_usd = excluded.amount_usd, proposal = excluded.proposal, state = 'open', closed_at = NULL,
    closed_by_id = NULL, unconfirmed = excluded.unconfirmed,
    note = CASE WHEN d.state = 'open' THEN d.note ELSE '' END
  WHERE d.state = 'open' OR d.id IN (SELECT id FROM grown)
    OR d.state = 'corrected' AND NOT (d.kind = 'duplicate' AND excluded.amount_usd = 0)
), gone AS (
  UPDATE usage_discrepancy d SET unconfirmed = false,
    state = CASE d.state WHEN 'open' THEN 'corrected' ELSE d.state END,
    closed_at = CASE d.state WHEN 'open' THEN %(now)s ELSE d.closed_at END,
    note = CASE d.state WHEN 'open' THEN %(agree)s ELSE d.note END
  WHERE d.run_id = %(run)s AND (d.state = 'open' OR d.unconfirmed)
    AND NOT EXISTS (SELECT FROM found f WHERE (f.kind, f.external_id) = (d.kind, d.external_id))
)
SELECT id, kind, external_id, state, was_usd, amount_usd, note FROM grown ORDER BY id
"""
FIGURES_SQL = """
SELECT i.kind, i.external_id, i.at, i.model_name, i.amount_usd, i.detail, i.proposal
FROM jsonb_to_recordset(%(items)s::jsonb) AS i (kind text, external_id text, at timestamptz, model_name text,
  amount_usd numeric, detail jsonb, proposal jsonb)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One difference in figures that are sums: what differs, in what way, and by how many US dollars."""

    kind: DiscrepancyClass
    external_id: str
    amount_usd: Decimal
    model_name: str = ""
    at: datetime | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    proposal: Mapping[str, Any] | None = None


def locked_run(*, source: str, day: date, level: Level, period_end: date | None = None) -> ReconciliationRun:
    """Return the row of a run, made if it is the first, locked until the transaction ends."""
    now = clock.now()
    made, _ = ReconciliationRun.objects.get_or_create(
        day=day,
        source=source,
        level=level,
        defaults={
            "state": RunState.UNREADABLE,
            "first_run_at": now,
            "last_run_at": now,
            "period_end": period_end,
        },
    )
    return ReconciliationRun.objects.select_for_update(no_key=True).order_by("pk").get(pk=made.pk)


def keep_calls(run: ReconciliationRun, query: str, params: Mapping[str, Any]) -> None:
    """Keep what a query finds, without reading it."""
    found = f"SELECT q.*, NULL::jsonb AS proposal FROM ({query}) q"  # noqa: S608  a constant of this app
    _keep(run, found, params)


def keep_found(run: ReconciliationRun, found: Sequence[Found]) -> Names:
    """Keep differences in sums; return the names of those that are open again because they grew."""
    items = [
        {
            "kind": each.kind,
            "external_id": each.external_id[:240],
            "at": each.at,
            "model_name": each.model_name[:100],
            "amount_usd": str(each.amount_usd),
            "detail": dict(each.detail),
            "proposal": each.proposal and dict(each.proposal),
        }
        for each in found
    ]
    return _keep(run, FIGURES_SQL, {"items": orjson.dumps(items, default=str).decode()})


def finish(run: ReconciliationRun, *, state: RunState, notice: str = "") -> ReconciliationRun:
    """Write the outcome of a run down."""
    run.state = state
    run.notice = notice[:240]
    run.runs += 1
    run.last_run_at = clock.now()
    run.save()
    return run


def open_amount(run: ReconciliationRun) -> Decimal:
    """Return the sum of the open discrepancies' amounts, each without its sign. One query."""
    amounts = run.discrepancies.filter(state=DiscrepancyState.OPEN).values_list("amount_usd", flat=True)
    return sum((abs(amount) for amount in amounts.iterator()), ZERO)


def is_open(run: ReconciliationRun) -> bool:
    """Whether anything of the run is open. One query."""
    return run.discrepancies.filter(state=DiscrepancyState.OPEN).exists()


def _keep(run: ReconciliationRun, found: str, params: Mapping[str, Any]) -> Names:
    """Keep what is found, and return what is open again, each with a line in the audit."""
    with connection.cursor() as cursor:
        cursor.execute(
            KEEP_SQL.format(found=found),
            {
                **params,
                "run": run.pk,
                "now": clock.now(),
                "agree": AGREE_NOW,
                "least": LEAST_USD,
                "share": SHARE,
            },
        )
        grown = cursor.fetchall()
    known = Discrepancy.objects.in_bulk([pk for pk, *_ in grown])
    for pk, _, _, state, was_usd, amount_usd, note in grown:
        audit.record(
            actor=None,
            action="discrepancy.reopened",
            subject=known[pk],
            before={"state": state, "amount_usd": was_usd, "reason": note},
            after={"state": DiscrepancyState.OPEN, "amount_usd": amount_usd},
            reason=GREW,
        )
    return frozenset((kind, external_id) for _, kind, external_id, *_ in grown)
