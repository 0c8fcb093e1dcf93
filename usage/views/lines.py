"""How reconciliations read: a source, a day, a call that differs, a row that could not be booked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.urls import reverse

from core import clock
from core.money import format_usd
from core.shapes import Tone
from usage.models import (
    Discrepancy,
    DiscrepancyClass,
    DiscrepancyState,
    Level,
    PeriodState,
    Quarantine,
    QuarantineReason,
    ReconciliationRun,
    RunState,
    SourceKind,
)
from usage.selectors.reconciliation import Drift
from usage.selectors.sources import LATE_AFTER, SEPARATOR

NOTHING = "—"
EXPLANATIONS = {
    DiscrepancyClass.MISSING_AT_PORTAL: "Not booked 15 minutes after its end. Booked late once it can be.",
    DiscrepancyClass.MISSING_AT_GATEWAY: (
        "Booked, and not in the journal after 2 hours. The charge stays, unconfirmed until the row comes."
    ),
    DiscrepancyClass.DUPLICATE: "The provider gave one answer, and it was booked twice.",
    DiscrepancyClass.TOKEN_MISMATCH: "Both sides know it and count other tokens.",
    DiscrepancyClass.PRICE_MISMATCH: "Both sides count the same and charge another amount.",
    DiscrepancyClass.ZERO_COST: "Tokens without a cost: neither from a cache nor of a free model.",
    DiscrepancyClass.BYPASS_UNKNOWN_KEY: "Somebody uses the account outside the gateways.",
    DiscrepancyClass.BYPASS_SHARED_KEY: "Somebody else may have a copy of the gateway's key. Rotate it.",
    DiscrepancyClass.PRICE_CHANGE: "The same volume costs another amount than at our price.",
}
LEVEL_WORDS = {Level.CALLS: "", Level.VOLUMES: "volumes", Level.MONEY: "money"}
STATE_TONES = {
    DiscrepancyState.OPEN: "warn",
    DiscrepancyState.EXPLAINED: "info",
    DiscrepancyState.CORRECTED: "ok",
    DiscrepancyState.ACCEPTED: "",
}
PERIOD_TONES = {
    PeriodState.OPEN: "",
    PeriodState.SOFT: "info",
    PeriodState.CLOSED: "ok",
    PeriodState.REOPENED: "warn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLine:
    """A source that is read; `calls_today` is what the last comparison of today counted at a gateway."""

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
    """One day of one source; the difference is the cost of the calls that differ, in US dollars. A gateway
    that keeps no record is no side, and where money is compared nobody counts calls.
    """

    url: str
    day: date
    source: str
    status: Tone
    portal: Side | None
    gateway: Side | None
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
    """A call that differs, or a key and model."""

    url: str
    external_id: str
    kind: str
    explanation: str
    model: str
    at: datetime | None
    portal: str
    gateway: str
    status: Tone
    unconfirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLine:
    """Differences of one day, level and class, and where they are listed."""

    url: str
    day: date
    level: str
    kind: str
    differences: int
    oldest_at: datetime
    amount_usd: Decimal
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceLine:
    """One difference in a list of many."""

    url: str
    is_open: bool
    external_id: str
    kind: str
    day: date
    source: str
    level: str
    model: str
    amount_usd: Decimal
    unpriced: bool
    owner: str
    opened_at: datetime
    status: Tone
    unconfirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineLine:
    """A row of the journal that could not be booked."""

    external_id: str
    reason: str
    detail: str
    seen_at: datetime
    status: Tone


def source_line(cursor: Any, *, names: Mapping[str, str], calls_today: int | None) -> SourceLine:
    """Return a source of `open_cursors` with how far it was read, and what is wrong with it if anything."""
    status, notice = _source_state(cursor)
    teller = cursor.source.partition(SEPARATOR)[0]
    name, kind = names.get(teller, teller), SourceKind(cursor.kind)
    return SourceLine(
        name=name if kind is SourceKind.JOURNAL else f"{name}, {kind.label.lower()}",
        status=status,
        notice=notice,
        pulled_at=cursor.last_success_at,
        read_up_to=cursor.last_row_at,
        calls_today=calls_today,
    )


def day_line(run: Any, *, names: Mapping[str, str]) -> DayLine:
    """Return a day that `selectors.reconciliation` counted."""
    counts_calls = run.level in {Level.CALLS, Level.VOLUMES}
    return DayLine(
        url=run_url(run),
        day=run.day,
        source=source_words(run, names),
        status=run_status(run),
        portal=Side(calls=run.portal_calls, tokens=run.portal_input_tokens + run.portal_output_tokens)
        if counts_calls
        else None,
        gateway=None
        if run.alone or not counts_calls
        else Side(calls=run.gateway_calls, tokens=run.gateway_input_tokens + run.gateway_output_tokens),
        cost_usd=run.portal_cost_usd,
        difference_usd=run.drift_usd,
    )


def run_url(run: ReconciliationRun) -> str:
    """Return the page of a run."""
    address = reverse("reconciliation:detail", args=[run.source, f"{run.day:%Y-%m-%d}"])
    return address if run.level == Level.CALLS else f"{address}?level={run.level}"


def source_words(run: ReconciliationRun, names: Mapping[str, str]) -> str:
    """Return what a run compared with, and in what."""
    words = LEVEL_WORDS[Level(run.level)]
    name = names.get(run.source, run.source)
    return f"{name}, {words}" if words else name


def run_status(run: Any) -> Tone:
    """Return the state of a day; a source that was not read is red, never "no difference"."""
    match run.state:
        case RunState.MATCHED:
            return Tone(tone="ok", text="Equal, provisional" if run.provisional else "Equal")
        case RunState.ALONE:
            return Tone(tone="info", text=run.get_state_display())
        case RunState.DIFFERENT if not run.open_calls:
            return Tone(tone="warn", text="Differs")
        case RunState.DIFFERENT:
            noun = "difference" if run.open_calls == 1 else "differences"
            return Tone(tone="warn", text=f"{run.open_calls:,} {noun}")
        case _:
            side = "Gateway" if run.level == Level.CALLS else "Provider"
            return Tone(tone="bad", text=f"{side} not read")


def sum_lines(run: ReconciliationRun) -> tuple[SumLine, ...]:
    """Return the day's figures on both sides. Gateways and usage figures of providers hold no cost; money is
    told without calls and tokens.
    """
    if run.level == Level.MONEY:
        return (_money("Cost", run.portal_cost_usd, run.provider_cost_usd),)
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
            SumLine(
                label=label,
                portal=f"{ours:,}",
                gateway=NOTHING if run.alone else f"{theirs:,}",
                difference=NOTHING if run.alone else f"{theirs - ours:,}",
            )
            for label, ours, theirs in counted
        ),
        cost,
    )


def variance_lines(run: ReconciliationRun) -> tuple[tuple[str, str, Decimal], ...]:
    """Return why money differs, part by part; the last line is all of it. None where no money is compared."""
    if run.level != Level.MONEY:
        return ()
    return (
        (
            "Keys that are known elsewhere",
            "Registered, and used outside the gateways on purpose.",
            run.elsewhere_usd,
        ),
        ("Keys that nobody knows", "Not in the registry: usage outside the gateways.", run.unknown_key_usd),
        (
            "Other volume, at our price",
            "The provider counted more or less than went through.",
            run.volume_usd,
        ),
        ("Another price, on the provider's volume", "The same tokens at another price.", run.price_usd),
        ("Charges without a model", "Fees, credits and what is not told by model.", run.other_usd),
        ("Together", "The provider's money less the ledger's.", run.provider_cost_usd - run.portal_cost_usd),
    )


def call_lines(found: Iterable[Discrepancy]) -> tuple[CallLine, ...]:
    """Return the calls that differ."""
    return tuple(
        CallLine(
            url=difference_url(each),
            external_id=each.external_id,
            kind=each.get_kind_display(),
            explanation=each.note or EXPLANATIONS[DiscrepancyClass(each.kind)],
            model=each.model_name or NOTHING,
            at=each.at,
            portal=side_words(each.detail, ("portal", "ours_usd")),
            gateway=side_words(each.detail, ("gateway", "provider", "theirs_usd")),
            status=state_tone(each),
            unconfirmed=each.unconfirmed,
        )
        for each in found
    )


def drift_lines(found: Iterable[Drift], url_of: Callable[[Drift], str]) -> tuple[DriftLine, ...]:
    """Return differences by day, level and class."""
    return tuple(
        DriftLine(
            url=url_of(each),
            day=each.day,
            level=Level(each.level).label,
            kind=DiscrepancyClass(each.kind).label,
            differences=each.differences,
            oldest_at=each.oldest_at,
            amount_usd=each.amount_usd,
            unpriced=each.unpriced,
        )
        for each in found
    )


def difference_lines(found: Iterable[Discrepancy], names: Mapping[str, str]) -> tuple[DifferenceLine, ...]:
    """Return differences as a list shows them."""
    return tuple(
        DifferenceLine(
            url=difference_url(each),
            is_open=each.state == DiscrepancyState.OPEN,
            external_id=each.external_id,
            kind=each.get_kind_display(),
            day=each.run.day,
            source=names.get(each.run.source, each.run.source),
            level=Level(each.run.level).label,
            model=each.model_name,
            amount_usd=each.amount_usd,
            unpriced=bool(each.unpriced),
            owner=each.owner.name if each.owner else "",
            opened_at=each.opened_at,
            status=state_tone(each),
            unconfirmed=each.unconfirmed,
        )
        for each in found
    )


def difference_url(difference: Discrepancy) -> str:
    """Return the page of a difference."""
    return reverse("reconciliation:difference", args=[difference.public_id])


def state_tone(difference: Discrepancy) -> Tone:
    """Return the state of a difference."""
    return Tone(tone=STATE_TONES[DiscrepancyState(difference.state)], text=difference.get_state_display())


def period_tone(state: PeriodState) -> Tone:
    """Return how far a month is closed."""
    return Tone(tone=PERIOD_TONES[state], text=state.label)


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


def _source_state(cursor: Any) -> tuple[Tone, str]:
    if cursor.lacks_credential:
        return Tone(tone="bad", text="No credential"), "cannot be read: no admin credential is entered"
    if cursor.last_error:
        return Tone(tone="bad", text="Not readable"), f"cannot be read: {cursor.last_error}"
    if cursor.last_success_at is None:
        return Tone(tone="warn", text="Never read"), "was never read. Is the worker running?"
    longest = LATE_AFTER[SourceKind(cursor.kind)]
    if clock.now() - cursor.last_success_at > longest:
        within = f"{longest.total_seconds() / 60:.0f} minutes"
        return Tone(tone="warn", text="Late"), f"was not read for {within} or more. Is the worker running?"
    return Tone(tone="ok", text="Read"), ""


def _money(label: str, ours: Decimal, theirs: Decimal) -> SumLine:
    return SumLine(
        label=label,
        portal=format_usd(ours),
        gateway=format_usd(theirs),
        difference=format_usd(theirs - ours),
    )


def side_words(detail: Mapping[str, Any], names: Iterable[str]) -> str:
    """Write what one side counted: `1,020 in (20 cached), 33 out`; a dash when it does not know the call."""
    side = next((detail[name] for name in names if detail.get(name)), None)
    if isinstance(side, str):
        return format_usd(Decimal(side), places=4)
    if not side or side.get("input") is None:
        return NOTHING
    cached = f" ({side['cached']:,} cached)" if side.get("cached") else ""
    cost = f", {format_usd(Decimal(side['cost_usd']), places=4)}" if side.get("cost_usd") else ""
    units = "".join(f", {Decimal(count):,f} {name}" for name, count in side.get("units", {}).items())
    return f"{side['input']:,} in{cached}, {side['output']:,} out{units}{cost}"
