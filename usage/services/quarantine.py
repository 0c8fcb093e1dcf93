"""Decides what becomes of rows that could not be booked: booked with what was missing, or dismissed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from core import audit, clock
from core.errors import AlreadyDoneError, InvalidInputError
from core.reasons import checked_reason
from teams.models import User
from teams.selectors import require_admin
from usage.models import Quarantine, QuarantineOutcome, QuarantineReason
from usage.services.bulk import judge_page

# At which field of a form a refusal is told.
FIELDS = {
    QuarantineReason.UNKNOWN_KEY: "key",
    QuarantineReason.UNKNOWN_MODEL: "model",
    QuarantineReason.UNPRICED: "model",
    QuarantineReason.BAD_TIME: "at",
    QuarantineReason.CONFLICT: "external_id",
    QuarantineReason.PARTS_EXCEED: "cached_tokens",
}
# What a row may tell beside the call that a person enters, by what `usage.rows` calls it.
CARRIED = ("units", "context", "cache_hit", "estimated", "provider_call_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedCall:
    """A call as a person says it was; `key` is the public id of its key, tokens are inclusive totals."""

    external_id: str
    at: datetime
    key: str
    model: str
    tokens: Mapping[str, int]
    finish: str


def can_be_assigned(entry: Quarantine) -> bool:
    """Whether a row tells of a call that is not booked: one that contradicts a booked call only corrects."""
    return entry.reason != QuarantineReason.CONFLICT


@transaction.atomic
def assign_quarantined(*, actor: User, entry: Quarantine, call: AssignedCall, reason: str) -> Quarantine:
    """Book the call of a row with what it lacked, once, under its own id and time; administrators may.

    Raises RoleNeededError, AlreadyDoneError for a row that somebody closed before or that contradicts a call
    that is booked, and InvalidInputError that names the field when it cannot be booked even so, or says no
    reason.
    """
    require_admin(actor, "book rows that were set aside")
    why = checked_reason(reason)
    mine = _open(entry)
    if not can_be_assigned(mine):
        raise AlreadyDoneError("This call is booked with other figures. Correct it, then dismiss the row.")
    counts, refused = judge_page(source=mine.source, rows=[_row(mine, call)])
    if refused:
        field = FIELDS.get(refused[0].reason, "external_id")
        raise InvalidInputError(refused[0].detail, field=field)
    _close(mine, actor=actor, outcome=QuarantineOutcome.BOOKED, reason=why)
    audit.record(
        actor=actor,
        action="quarantine.booked",
        subject=mine,
        before={"outcome": ""},
        after={
            "outcome": mine.outcome,
            "source": mine.source,
            "external_id": call.external_id,
            "key": call.key,
            "model": call.model,
            "booked_before": bool(counts.known),
            **call.tokens,
        },
        reason=why,
    )
    return mine


@transaction.atomic
def dismiss_quarantined(*, actor: User, entry: Quarantine, reason: str) -> Quarantine:
    """Close a row without booking it; administrators may.

    Raises RoleNeededError, InvalidInputError without a reason, and AlreadyDoneError for a row that somebody
    closed before.
    """
    require_admin(actor, "dismiss rows that were set aside")
    why = checked_reason(reason)
    mine = _open(entry)
    _close(mine, actor=actor, outcome=QuarantineOutcome.DISMISSED, reason=why)
    audit.record(
        actor=actor,
        action="quarantine.dismissed",
        subject=mine,
        before={"outcome": ""},
        after={"outcome": mine.outcome, "source": mine.source, "external_id": mine.external_id},
        reason=why,
    )
    return mine


def _row(entry: Quarantine, call: AssignedCall) -> dict[str, Any]:
    """Return the call as `usage.rows` reads it."""
    told = entry.row if isinstance(entry.row, dict) else {}
    served = told.get("served_context")  # as a journal calls it
    return {
        **({"context": served} if served else {}),
        **{name: told[name] for name in CARRIED if name in told},
        "external_id": call.external_id,
        "at": call.at,
        "key": call.key,
        "model": call.model,
        "finish": call.finish,
        **call.tokens,
    }


def _open(entry: Quarantine) -> Quarantine:
    mine = Quarantine.objects.select_for_update(no_key=True).order_by("pk").get(pk=entry.pk)
    if mine.resolved_at is not None:
        raise AlreadyDoneError(
            f"This row was {QuarantineOutcome(mine.outcome).label.lower()} by {mine.resolved_by or 'Purser'}"
            f" at {mine.resolved_at:%Y-%m-%d %H:%M} UTC: {mine.resolution}"
        )
    return mine


def _close(entry: Quarantine, *, actor: User, outcome: QuarantineOutcome, reason: str) -> None:
    entry.resolved_at, entry.resolved_by = clock.now(), actor
    entry.outcome, entry.resolution = outcome, reason
    entry.save(update_fields=["resolved_at", "resolved_by", "outcome", "resolution"])
