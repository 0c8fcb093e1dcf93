"""The wire of the decision API: bytes to checked values and back. Pure: no database, no framework.

Everything that can be refused without a database is refused here, so that one bad request costs nothing
behind it.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import orjson

from core.errors import DomainError
from core.problems import CONTENT_TYPE, problem
from gateway.hot.fields import (
    JsonObject,
    WireError,
    parse_object,
    read_count,
    read_flag,
    read_text,
    read_usd,
    refuse_unknown,
)
from usage.contexts import CONTEXTS, ServedContextError, checked_served_context
from usage.leased import FIELDS as LEASED_FIELDS
from usage.leased import MAX_CHOICES, LeasedCallError, checked_leased_call
from usage.tokens import MAX_TOKENS, TOKEN_FIELDS, TokenCountError, checked_tokens, checked_units

HeaderLines = tuple[tuple[bytes, bytes], ...]

JSON = "application/json"
NOT_KEPT = (b"cache-control", b"no-store")
ALLOWED_LINES: HeaderLines = ((b"content-type", JSON.encode()), NOT_KEPT)
REFUSED_LINES: HeaderLines = ((b"content-type", CONTENT_TYPE.encode()), NOT_KEPT)
MAX_BATCH_BODY_BYTES = 1_048_576
MAX_BATCH_ITEMS = 1_000
# A member of an enumeration takes a microsecond to look up.
OK, BAD_REQUEST = int(HTTPStatus.OK), int(HTTPStatus.BAD_REQUEST)
REQUEST_ID = re.compile(r"[\x21-\x7e]{8,64}")
FINISHES = frozenset({"stop", "length", "error", "cancelled"})
USAGE_FIELDS = frozenset({*TOKEN_FIELDS, "units"})
SETTLEMENT_FIELDS = frozenset(
    {
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
    }
)
AUTHORIZE_FIELDS = frozenset(
    {
        "request_id",
        "key",
        "model",
        "route",
        "project_id",
        "input_bytes",
        "input_tokens",
        "max_output_tokens",
        "n",
        "context",
        "stream",
        "units",
    }
)
ROUTE_MODES: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/embeddings": "embedding",
    "/v1/audio/transcriptions": "transcription",
    "/v1/audio/speech": "speech",
    "/v1/images/generations": "image",
}


class UsageInvalidError(WireError):
    """The usage contradicts itself or is beyond reason; nothing is booked."""

    code = "usage_invalid"
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "Usage invalid"


class NoSuchPathError(WireError):
    """There is no such call."""

    code = "not_found"
    status = HTTPStatus.NOT_FOUND
    title = "Not found"

    def __init__(self) -> None:
        super().__init__(
            "The decision API has authorize, settle, release, leases, leases/poll and leases/return "
            "under /gateway/v1/."
        )


class FaultError(DomainError):
    """Purser failed; nothing is held or booked by this call."""

    code = "internal_error"
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    title = "Internal error"

    def __init__(self) -> None:
        super().__init__("Purser failed to decide. The log says why; ask again.")


class PostOnlyError(WireError):
    """Decisions are asked by POST."""

    code = "method_not_allowed"
    status = HTTPStatus.METHOD_NOT_ALLOWED
    title = "Method not allowed"

    def __init__(self) -> None:
        super().__init__("Use POST.")


@dataclass(slots=True, kw_only=True)  # not frozen, which makes it three times as fast to make
class AuthorizeCall:
    """One checked question. `input_bound_tokens` bounds the input from above, `request_hash` tells a repeat
    from a reuse.
    """

    request_id: str
    request_hash: bytes
    key: str
    model: str
    route: str
    mode: str | None
    project: str | None
    input_bound_tokens: int
    max_output_tokens: int | None
    choices: int
    context: str
    units: JsonObject | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseCall:
    """One checked wish for a lease: what the calls will be, which node decides, and how much it wants."""

    node: str
    lease: str | None
    want_usd: Decimal
    call: AuthorizeCall


@dataclass(slots=True, kw_only=True)  # not frozen, as above
class Answer:
    """What goes back: status, headers beside the content type, and the body, as JSON already or to be made
    so.
    """

    status: int
    body: JsonObject | bytes
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def content_type(self) -> str:
        return JSON if self.status < BAD_REQUEST else CONTENT_TYPE

    def encode(self) -> bytes:
        """Return the body as bytes; amounts are strings already."""
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)

    def header_lines(self) -> HeaderLines:
        """Return the headers beside the length of the body, names in lower case."""
        lines = ALLOWED_LINES if self.status < BAD_REQUEST else REFUSED_LINES
        if self.headers:
            lines += tuple((name.lower().encode(), value.encode()) for name, value in self.headers)
        return lines


def parse_authorize(body: bytes) -> AuthorizeCall:
    """Check one authorize body. Raises WireError naming the field."""
    value = parse_object(body)
    refuse_unknown(value, AUTHORIZE_FIELDS)
    request_id = read_text(value, "request_id", most=64)
    if not REQUEST_ID.fullmatch(request_id):
        raise WireError("request_id must have 8 to 64 printable characters.", field="request_id")
    if (value.get("input_bytes") is None) == (value.get("input_tokens") is None):
        raise WireError("Send exactly one of input_bytes and input_tokens.", field="input_bytes")
    if not isinstance(value.get("stream", False), bool):
        raise WireError("stream must be true or false.", field="stream")
    context = read_text(value, "context", most=16, default="standard")
    if context not in CONTEXTS:
        raise WireError(f"context must be one of {', '.join(sorted(CONTEXTS))}.", field="context")
    bound_field = "input_bytes" if value.get("input_bytes") is not None else "input_tokens"
    route = read_text(value, "route", most=100)
    return AuthorizeCall(
        request_id=request_id,
        request_hash=hashlib.sha256(body).digest(),
        key=read_text(value, "key", most=200),
        model=read_text(value, "model", most=100),
        route=route,
        mode=ROUTE_MODES.get(route),
        project=read_text(value, "project_id", most=63) if value.get("project_id") is not None else None,
        input_bound_tokens=read_count(value, bound_field),
        max_output_tokens=read_count(value, "max_output_tokens", least=1)
        if value.get("max_output_tokens") is not None
        else None,
        choices=read_count(value, "n", least=1, most=MAX_CHOICES) if "n" in value else 1,
        context=context,
        units=_units(value),
    )


def parse_settlements(body: bytes) -> tuple[list[JsonObject | DomainError], bool]:
    """Check a settle body and return its items, bad ones as the error that refuses them, and whether it was
    a batch.

    A single bad settlement raises; in a batch one bad item never stops the others.
    """
    value = parse_object(body, max_bytes=MAX_BATCH_BODY_BYTES)
    if "items" not in value:
        return [parse_settlement(value)], False
    refuse_unknown(value, {"items"})
    items = value["items"]
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_BATCH_ITEMS:
        raise WireError(f"items must be a list of 1 to {MAX_BATCH_ITEMS} settlements.", field="items")
    return [_settlement_or_error(item) for item in items], True


def parse_settlement(value: Any) -> JsonObject:
    """Check one settlement and return it flat, as the SQL function reads it."""
    if not isinstance(value, dict):
        raise WireError("A settlement must be a JSON object.")
    refuse_unknown(value, SETTLEMENT_FIELDS)
    usage = value.get("usage")
    if not isinstance(usage, dict):
        raise WireError("usage must be an object with token counts.", field="usage")
    refuse_unknown(usage, USAGE_FIELDS)
    finish = read_text(value, "finish", most=16)
    if finish not in FINISHES:
        raise WireError(f"finish must be one of {', '.join(sorted(FINISHES))}.", field="finish")
    try:
        tokens = checked_tokens(usage)
        units = checked_units(usage.get("units"))
    except TokenCountError as error:
        raise UsageInvalidError(str(error), field=error.field) from error
    return {
        "reservation": read_text(value, "reservation", most=40),
        **tokens,
        "units": units or {},
        "served_model": read_text(value, "served_model", most=100)
        if value.get("served_model") is not None
        else None,
        "finish": finish,
        "estimated": read_flag(value, "estimated"),
        "cache_hit": read_flag(value, "cache_hit"),
        "provider_id": read_text(value, "provider_id", most=100) if value.get("provider_id") else "",
        **_served_context(value),
        **_leased_call(value),
    }


def parse_release(body: bytes) -> str:
    """Check a release body and return the reservation's id."""
    value = parse_object(body)
    refuse_unknown(value, {"reservation", "reason"})
    if "reason" in value:
        read_text(value, "reason", most=100)
    return read_text(value, "reservation", most=40)


def parse_lease(body: bytes) -> LeaseCall:
    """Check a wish for a lease. Raises WireError."""
    value = parse_object(body)
    refuse_unknown(value, {"node", "lease", "key", "model", "route", "project_id", "want_usd"})
    route = read_text(value, "route", most=100)
    call = AuthorizeCall(
        request_id="lease",
        request_hash=b"",
        key=read_text(value, "key", most=200),
        model=read_text(value, "model", most=100),
        route=route,
        mode=ROUTE_MODES.get(route),
        project=read_text(value, "project_id", most=63) if value.get("project_id") is not None else None,
        input_bound_tokens=MAX_TOKENS,
        max_output_tokens=None,
        choices=1,
        context="standard",
        units=None,
    )
    return LeaseCall(
        node=read_text(value, "node", most=64),
        lease=read_text(value, "lease", most=40) if value.get("lease") is not None else None,
        want_usd=read_usd(value, "want_usd"),
        call=call,
    )


def parse_lease_poll(body: bytes) -> tuple[str, list[JsonObject]]:
    """Check a poll; give the node and the calls in flight that it tells of. Raises WireError.

    A call that cannot be read is left out: neither the others nor the answer wait for it.
    """
    value = parse_object(body, max_bytes=MAX_BATCH_BODY_BYTES)
    refuse_unknown(value, {"node", "allowed"})
    told = value.get("allowed", [])
    if not isinstance(told, list) or len(told) > MAX_BATCH_ITEMS:
        raise WireError(f"allowed must be a list of at most {MAX_BATCH_ITEMS} calls.", field="allowed")
    return read_text(value, "node", most=64), [item for each in told if (item := _in_flight(each))]


def parse_lease_return(body: bytes) -> tuple[str, Decimal]:
    """Check a return; give the lease and what its node keeps, in US dollars. Raises WireError."""
    value = parse_object(body)
    refuse_unknown(value, {"lease", "keep_usd"})
    return read_text(value, "lease", most=40), read_usd(value, "keep_usd")


def refusal(
    error: DomainError,
    *,
    retry_after_seconds: int | None = None,
    should_retry: bool | None = None,
    **extra: Any,
) -> Answer:
    """Return a problem document that is an OpenAI error too, with the headers that tell a client when to
    come back.
    """
    members = {**error.extra, **extra}
    if retry_after_seconds is not None:
        members["retry_after_seconds"] = retry_after_seconds
    body = problem(
        status=int(error.status), code=error.code, title=error.title, detail=error.detail, **members
    )
    body["error"] = {"message": error.detail, "type": error.code, "param": error.field, "code": error.code}
    headers: list[tuple[str, str]] = []
    if retry_after_seconds is not None:
        headers.append(("Retry-After", str(retry_after_seconds)))
    if should_retry is not None:
        headers.append(("x-should-retry", "true" if should_retry else "false"))
    return Answer(status=int(error.status), body=body, headers=tuple(headers))


def _settlement_or_error(item: Any) -> JsonObject | DomainError:
    try:
        return parse_settlement(item)
    except DomainError as error:
        return error


def _in_flight(value: Any) -> JsonObject | None:
    """Return a call under a lease that is told of before its end; None for one that cannot be read."""
    if not isinstance(value, dict) or value.get("lease") is None:
        return None
    try:
        refuse_unknown(value, {"reservation", "lease", "call"})
        return {"reservation": read_text(value, "reservation", most=40), **_leased_call(value)}
    except WireError:
        return None


def _leased_call(value: JsonObject) -> JsonObject:
    """Check the part of a settlement that tells of a call which its node decided under a lease."""
    call = value.get("call")
    if value.get("lease") is not None and isinstance(call, dict):
        refuse_unknown(call, LEASED_FIELDS)
    try:
        return checked_leased_call(value, reservation=read_text(value, "reservation", most=40))
    except LeasedCallError as error:
        raise WireError(str(error), field="call") from error


def _served_context(value: JsonObject) -> JsonObject:
    try:
        return checked_served_context(value)
    except ServedContextError as error:
        raise WireError(str(error), field="served_context") from error


def _units(value: JsonObject) -> JsonObject | None:
    try:
        return checked_units(value.get("units"))
    except TokenCountError as error:
        raise WireError(str(error), field=error.field) from error
