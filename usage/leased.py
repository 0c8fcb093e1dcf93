"""A call that a gateway's node decided under a lease, as its journal tells of it. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from usage.contexts import CONTEXTS
from usage.tokens import MAX_TOKENS

MAX_CHOICES = 128
# What `call` may hold.
FIELDS = frozenset(
    {
        "request_id",
        "route",
        "context",
        "n",
        "input_tokens",
        "max_output_tokens",
        "held_usd",
        "authorized_at",
    }
)
_RESERVATION = re.compile(r"rsv_[0-9a-f]{28}")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{8,64}")
_USD = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,12})?")


class LeasedCallError(ValueError):
    """What is told of the call cannot be read; the message names the field."""


def checked_leased_call(raw: Mapping[str, Any], *, reservation: str) -> dict[str, Any]:
    """Return `lease` and `call` as the SQL function reads them; empty for a call that the portal decided.

    Raises LeasedCallError.
    """
    lease, call = raw.get("lease"), raw.get("call")
    if lease is None:
        return {}
    if not isinstance(lease, str) or not 1 <= len(lease) <= 40 or "\x00" in lease:
        raise LeasedCallError("lease must be a text of 1 to 40 characters.")
    if not _RESERVATION.fullmatch(reservation):
        raise LeasedCallError("A node names its reservations rsv_ and 28 of 0-9, a-f.")
    if not isinstance(call, dict):
        raise LeasedCallError("A call under a lease needs `call`, which tells what was decided.")
    context = call.get("context", "standard")
    if context not in CONTEXTS:
        raise LeasedCallError(f"call.context {str(context)[:40]!r} is not known.")
    return {
        "lease": lease,
        "call": {
            "request_id": _matching(call, "request_id", _REQUEST_ID),
            "route": _route(call),
            "context": context,
            "choices": _count(call, "n", least=1, most=MAX_CHOICES, default=1),
            "input_bound": _count(call, "input_tokens"),
            "max_output": _count(call, "max_output_tokens"),
            "held_usd": _matching(call, "held_usd", _USD),
            "authorized_at": _moment(call),
        },
    }


def _matching(call: Mapping[str, Any], field: str, shape: re.Pattern[str]) -> str:
    value = call.get(field)
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise LeasedCallError(f"call.{field} cannot be read.")
    return value


def _route(call: Mapping[str, Any]) -> str:
    route = call.get("route")
    if not isinstance(route, str) or not 1 <= len(route) <= 100 or "\x00" in route:
        raise LeasedCallError("call.route must be a text of 1 to 100 characters.")
    return route


def _count(
    call: Mapping[str, Any], field: str, *, least: int = 0, most: int = MAX_TOKENS, default: int | None = None
) -> int:
    count = call.get(field, default)
    if not isinstance(count, int) or isinstance(count, bool) or not least <= count <= most:
        raise LeasedCallError(f"call.{field} must be a whole number from {least} to {most}.")
    return count


def _moment(call: Mapping[str, Any]) -> str:
    try:
        moment = datetime.fromisoformat(str(call.get("authorized_at")))
    except ValueError as error:
        raise LeasedCallError("call.authorized_at is not a time.") from error
    if moment.tzinfo is None:
        raise LeasedCallError("call.authorized_at must be a time with a zone.")
    return moment.astimezone(UTC).isoformat()
