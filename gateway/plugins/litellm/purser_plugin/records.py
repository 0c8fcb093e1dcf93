"""The lines of the journal: a settlement or a release, with everything that the portal needs to book it
later, and before them a line of each call that this worker allowed by itself.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from .calls import Call

SETTLEMENT_FIELDS = (
    "reservation",
    "usage",
    "served_model",
    "served_context",
    "finish",
    "estimated",
    "cache_hit",
    "provider_id",
    "lease",
    "call",
)
RELEASE_FIELDS = ("reservation", "reason")
MAX_PROVIDER_ID = 100  # as much as the portal keeps


def settlement(
    call: Call,
    *,
    usage: Mapping[str, object],
    served_model: str,
    served_context: str | None = None,
    finish: str,
    estimated: bool = False,
    cache_hit: bool = False,
    provider_id: object = None,
    cost_usd: float | None = None,
) -> bytes:
    """Return the line of a call that consumed something (or was answered from the gateway's cache).

    `cost_usd` is what LiteLLM reckons. It is told by the journal alone, which Purser compares its books with.
    """
    return _line(
        call,
        kind="settle",
        usage=dict(usage),
        served_model=served_model,
        served_context=served_context,
        finish=finish,
        estimated=estimated,
        cache_hit=cache_hit,
        provider_id=str(provider_id)[:MAX_PROVIDER_ID] if provider_id else None,
        cost_usd=f"{cost_usd:.12f}" if cost_usd else None,
    )


def allowed(call: Call) -> bytes:
    """Return the line of a call under a lease that is about to be sent."""
    return _line(call, kind="allowed")


def release(call: Call, *, reason: str) -> bytes:
    """Return the line of a call that consumed nothing."""
    return _line(call, kind="release", reason=reason)


def _line(call: Call, **fields: object) -> bytes:
    head = {
        "id": call.reservation,
        "reservation": call.reservation,
        "request_id": call.request_id,
        "at": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "key_id": call.key_id,
        "model": call.model,
    }
    return json.dumps({**head, **fields, **call.leased}, separators=(",", ":")).encode()
