"""How reconciliations read: a source, a day, a call that differs, a row that could not be booked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.urls import reverse

from core import clock
from core.money import format_usd
from core.shapes import Tone
from usage.models import (
    DiscrepancyClass,
    DiscrepancyState,
    ImportCursor,
    Quarantine,
    QuarantineReason,
    ReconciliationRun,
    RunState,
)
from usage.selectors.reconciliation import Difference

STALE_AFTER = timedelta(minutes=15)
NOTHING = "—"
EXPLANATIONS = {
    DiscrepancyClass.MISSING_AT_PORTAL: "Not booked 15 minutes after its end. The next pull books it late.",
    DiscrepancyClass.MISSING_AT_GATEWAY: "Booked, and not in the journal after 2 hours. The charge stays.",
    DiscrepancyClass.TOKEN_MISMATCH: "Both sides know the call and count other tokens.",
}
STATE_TONES = {
    DiscrepancyState.OPEN: "warn",
    DiscrepancyState.EXPLAINED: "info",
    DiscrepancyState.CORRECTED: "ok",
    DiscrepancyState.ACCEPTED: "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLine:
    """A gateway whose journal is read; `calls_today` is what the last comparison of today counted there."""

    name: str
    status: Tone
    notice: str
    pulled_at: datetime | None
    read_up_to: datetime | None
    calls_today: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one side counted on a day."""

    calls: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayLine:
    """One day of one source; the difference is the cost of the calls that differ, in US dollars."""

    url: str
    day: date
    source: str
    status: Tone
    portal: Side
    gateway: Side
    cost_usd: Decimal
    difference_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SumLine:
    """One figure of a day on both sides, written out."""

    label: str
    portal: str
    gateway: str
    difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLine:
    """A call that differs."""

    external_id: str
    kind: str
    explanation: str
    model: str
    at: datetime | None
    portal: str
    gateway: str
    status: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineLine:
    """A row of the journal that could not be booked."""

    external_id: str
    reason: str
    detail: str
    seen_at: datetime
    status: Tone


def source_line(cursor: ImportCursor, *, names: Mapping[str, str], calls_today: int | None) -> SourceLine:
    """Return a source with how far it was read, and what is wrong with it if anything."""
    status, notice = _source_state(cursor)
    return SourceLine(
        name=names.get(cursor.source, cursor.source),
        status=status,
        notice=notice,
        pulled_at=cursor.last_success_at,
        read_up_to=cursor.last_row_at,
        calls_today=calls_today,
    )


def day_line(run: Any, *, names: Mapping[str, str]) -> DayLine:
    """Return a day that `selectors.reconciliation` counted."""
    return DayLine(
        url=reverse("reconciliation:detail", args=[run.source, f"{run.day:%Y-%m-%d}"]),
        day=run.day,
        source=names.get(run.source, run.source),
        status=run_status(run),
        portal=Side(calls=run.portal_calls, tokens=run.portal_input_tokens + run.portal_output_tokens),
        gateway=Side(calls=run.gateway_calls, tokens=run.gateway_input_tokens + run.gateway_output_tokens),
        cost_usd=run.portal_cost_usd,
        difference_usd=run.drift_usd,
    )


def run_status(run: Any) -> Tone:
    """Return the state of a day; a source that was not read is red, never "no difference"."""
    match run.state:
        case RunState.MATCHED:
            return Tone(tone="ok", text="Equal")
        case RunState.DIFFERENT:
            noun = "difference" if run.open_calls == 1 else "differences"
            return Tone(tone="warn", text=f"{run.open_calls:,} {noun}")
        case _:
            return Tone(tone="bad", text="Gateway not read")


def sum_lines(run: ReconciliationRun) -> tuple[SumLine, ...]:
    """Return the day's figures on both sides; a gateway's journal holds no cost."""
    counted = (
        ("Calls", run.portal_calls, run.gateway_calls),
        ("Input tokens", run.portal_input_tokens, run.gateway_input_tokens),
        ("Output tokens", run.portal_output_tokens, run.gateway_output_tokens),
    )
    cost = SumLine(
        label="Cost",
        portal=format_usd(run.portal_cost_usd),
        gateway=NOTHING,
        difference=format_usd(run.drift_usd),
    )
    return (
        *(
            SumLine(label=label, portal=f"{ours:,}", gateway=f"{theirs:,}", difference=f"{theirs - ours:,}")
            for label, ours, theirs in counted
        ),
        cost,
    )


def call_lines(found: Iterable[Difference]) -> tuple[CallLine, ...]:
    """Return the calls that differ."""
    return tuple(
        CallLine(
            external_id=each.discrepancy.external_id,
            kind=each.discrepancy.get_kind_display(),
            explanation=each.discrepancy.note or EXPLANATIONS[DiscrepancyClass(each.discrepancy.kind)],
            model=each.model or NOTHING,
            at=each.at,
            portal=_tokens(each.discrepancy.detail.get("portal")),
            gateway=_tokens(each.discrepancy.detail.get("gateway")),
            status=Tone(
                tone=STATE_TONES[DiscrepancyState(each.discrepancy.state)],
                text=each.discrepancy.get_state_display(),
            ),
        )
        for each in found
    )


def quarantine_lines(found: Iterable[Quarantine]) -> tuple[QuarantineLine, ...]:
    """Return the rows that could not be booked."""
    return tuple(
        QuarantineLine(
            external_id=row.external_id or NOTHING,
            reason=QuarantineReason(row.reason).label,
            detail=row.resolution or row.detail,
            seen_at=row.seen_at,
            status=Tone(tone="ok", text="Resolved") if row.resolved_at else Tone(tone="warn", text="Open"),
        )
        for row in found
    )


def _source_state(cursor: ImportCursor) -> tuple[Tone, str]:
    if cursor.last_error:
        return Tone(tone="bad", text="Not readable"), f"cannot be read: {cursor.last_error}"
    if cursor.last_success_at is None:
        return Tone(tone="warn", text="Never read"), "was never read. Is the worker running?"
    if clock.now() - cursor.last_success_at > STALE_AFTER:
        return Tone(tone="warn", text="Late"), "was not read for 15 minutes or more. Is the worker running?"
    return Tone(tone="ok", text="Read"), ""


def _tokens(side: Mapping[str, int | None] | None) -> str:
    """Write what one side counted: `1,020 in (20 cached), 33 out`; a dash when it does not know the call."""
    if not side or side.get("input") is None:
        return NOTHING
    cached = f" ({side['cached']:,} cached)" if side.get("cached") else ""
    return f"{side['input']:,} in{cached}, {side['output']:,} out"
