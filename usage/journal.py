"""One row of a gateway's journal, checked. The format is in docs/gateway-api.md. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from core.money import told_usd
from usage.contexts import ServedContextError, checked_served_context
from usage.leased import LeasedCallError, checked_leased_call
from usage.models import Finish, QuarantineReason
from usage.tokens import TOKEN_FIELDS, TokenCountError, checked_tokens, checked_units

EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)


class JournalRowError(Exception):
    """The row cannot be booked; `reason` says how it goes into quarantine."""

    def __init__(self, reason: QuarantineReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """A checked row: when, which reservation, which tokens, the lease that its node decided it under, and the
    settlement as the SQL function reads it. `cost_usd` is what the gateway reckons: compared, never booked.

    `allowed` is the row of a call under a lease that was about to be sent, `released` of one that consumed
    nothing.
    """

    external_id: str
    at: datetime
    model: str
    allowed: bool
    released: bool
    lease: str | None
    tokens: Mapping[str, int]
    cost_usd: Decimal | None
    settlement: Mapping[str, Any]
    raw: dict[str, Any]


def read_row(raw: Any) -> JournalRow:
    """Check one row. Raises JournalRowError with the reason that the quarantine shows."""
    if not isinstance(raw, dict):
        raise JournalRowError(QuarantineReason.MALFORMED, "A row must be a JSON object.")
    external_id = _text(raw, "id", most=40)
    allowed, released = raw.get("kind") == "allowed", raw.get("kind") == "release"
    tokens = dict.fromkeys(TOKEN_FIELDS, 0) if allowed or released else _tokens(raw)
    finish = raw.get("finish", "error")
    if finish not in Finish.values:
        raise JournalRowError(QuarantineReason.MALFORMED, f"finish {str(finish)[:40]!r} is not known.")
    served = raw.get("served_model")
    leased = _leased(raw, external_id)
    if allowed and not leased:
        raise JournalRowError(QuarantineReason.MALFORMED, "A call that was allowed here needs its lease.")
    return JournalRow(
        external_id=external_id,
        at=_moment(raw),
        model=_text(raw, "model", most=100),
        allowed=allowed,
        released=released,
        lease=leased.get("lease"),
        tokens=tokens,
        cost_usd=told_usd(raw.get("cost_usd")),
        settlement={
            "reservation": external_id,
            **tokens,
            "units": _units(raw),
            "served_model": served if isinstance(served, str) else None,
            "finish": finish,
            "estimated": raw.get("estimated") is True,
            "cache_hit": raw.get("cache_hit") is True,
            "provider_id": str(raw.get("provider_id") or "")[:100],
            **_served_context(raw),
            **leased,
        },
        raw=raw,
    )


def _leased(raw: Mapping[str, Any], external_id: str) -> dict[str, Any]:
    try:
        return checked_leased_call(raw, reservation=external_id)
    except LeasedCallError as error:
        raise JournalRowError(QuarantineReason.MALFORMED, str(error)) from error


def _served_context(raw: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return checked_served_context(raw)
    except ServedContextError as error:
        raise JournalRowError(QuarantineReason.MALFORMED, str(error)) from error


def _tokens(raw: Mapping[str, Any]) -> dict[str, int]:
    usage = raw.get("usage")
    if not isinstance(usage, dict):
        raise JournalRowError(QuarantineReason.MALFORMED, "usage is missing.")
    try:
        return checked_tokens(usage)
    except TokenCountError as error:
        raise JournalRowError(QuarantineReason.BAD_TOKENS, str(error)) from error


def _units(raw: Mapping[str, Any]) -> dict[str, int | float]:
    usage = raw.get("usage")
    try:
        return checked_units(usage.get("units") if isinstance(usage, dict) else None) or {}
    except TokenCountError as error:
        raise JournalRowError(QuarantineReason.BAD_TOKENS, str(error)) from error


def _text(raw: Mapping[str, Any], field: str, *, most: int) -> str:
    value = raw.get(field)
    if not isinstance(value, str) or not 1 <= len(value) <= most or "\x00" in value:
        raise JournalRowError(
            QuarantineReason.MALFORMED, f"{field} must be a text of 1 to {most} characters."
        )
    return value


def _moment(raw: Mapping[str, Any]) -> datetime:
    try:
        at = datetime.fromisoformat(str(raw.get("at")))
    except ValueError as error:
        raise JournalRowError(QuarantineReason.MALFORMED, "at is not a time.") from error
    if at.tzinfo is None or at < EARLIEST:
        raise JournalRowError(QuarantineReason.MALFORMED, "at must be a time with a zone, since 2025.")
    return at.astimezone(UTC)
