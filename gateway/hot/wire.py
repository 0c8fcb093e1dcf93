"""The wire of the decision API: bytes to checked values and back. Pure: no database, no framework.

Everything that can be refused without a database is refused here, so that one bad request costs nothing
behind it.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from core.errors import DomainError
from core.problems import CONTENT_TYPE, problem
from usage.tokens import MAX_TOKENS, TOKEN_FIELDS, TokenCountError, checked_tokens, checked_units

MAX_BODY_BYTES = 65_536
MAX_BATCH_BODY_BYTES = 1_048_576
MAX_BATCH_ITEMS = 1_000
MAX_DEPTH = 16
MAX_CHOICES = 128
REQUEST_ID = re.compile(r"[\x21-\x7e]{8,64}")
CONTEXTS = frozenset({"standard", "batch", "flex", "priority", "fast"})
FINISHES = frozenset({"stop", "length", "error", "cancelled"})
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

JsonObject = dict[str, Any]


class WireError(DomainError):
    """The request cannot be understood. Nothing was looked up and nothing is booked."""

    code = "invalid_request"
    status = HTTPStatus.BAD_REQUEST
    title = "Invalid request"


class BodyTooLargeError(WireError):
    """The body is over its limit."""

    code = "body_too_large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    title = "Body too large"


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
            "The decision API has /gateway/v1/authorize, /gateway/v1/settle and /gateway/v1/release."
        )


class PostOnlyError(WireError):
    """Decisions are asked by POST."""

    code = "method_not_allowed"
    status = HTTPStatus.METHOD_NOT_ALLOWED
    title = "Method not allowed"

    def __init__(self) -> None:
        super().__init__("Use POST.")


@dataclass(frozen=True, slots=True, kw_only=True)
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
class Answer:
    """What goes back: status, headers beside the content type, and the body, as JSON already or to be made
    so.
    """

    status: int
    body: JsonObject | bytes
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def content_type(self) -> str:
        return "application/json" if self.status < HTTPStatus.BAD_REQUEST else CONTENT_TYPE

    def encode(self) -> bytes:
        """Return the body as bytes; amounts are strings already."""
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


def parse_object(body: bytes, *, max_bytes: int = MAX_BODY_BYTES) -> JsonObject:
    """Read one JSON object within the size and depth limits. Raises BodyTooLargeError or WireError."""
    if len(body) > max_bytes:
        raise BodyTooLargeError(
            f"The body has {len(body)} bytes; at most {max_bytes} are read. Send sizes, not the input itself."
        )
    _refuse_depth(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WireError(f"The body is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise WireError("The body must be a JSON object.")
    return value


def parse_authorize(body: bytes) -> AuthorizeCall:
    """Check one authorize body. Raises WireError naming the field."""
    value = parse_object(body)
    fields = {
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
    _refuse_unknown(value, fields)
    request_id = _text(value, "request_id", most=64)
    if not REQUEST_ID.fullmatch(request_id):
        raise WireError("request_id must have 8 to 64 printable characters.", field="request_id")
    if (value.get("input_bytes") is None) == (value.get("input_tokens") is None):
        raise WireError("Send exactly one of input_bytes and input_tokens.", field="input_bytes")
    if not isinstance(value.get("stream", False), bool):
        raise WireError("stream must be true or false.", field="stream")
    context = _text(value, "context", most=16, default="standard")
    if context not in CONTEXTS:
        raise WireError(f"context must be one of {', '.join(sorted(CONTEXTS))}.", field="context")
    bound_field = "input_bytes" if value.get("input_bytes") is not None else "input_tokens"
    route = _text(value, "route", most=100)
    return AuthorizeCall(
        request_id=request_id,
        request_hash=hashlib.sha256(body).digest(),
        key=_text(value, "key", most=200),
        model=_text(value, "model", most=100),
        route=route,
        mode=ROUTE_MODES.get(route),
        project=_text(value, "project_id", most=63) if value.get("project_id") is not None else None,
        input_bound_tokens=_count(value, bound_field),
        max_output_tokens=_count(value, "max_output_tokens", least=1)
        if value.get("max_output_tokens") is not None
        else None,
        choices=_count(value, "n", least=1, most=MAX_CHOICES) if "n" in value else 1,
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
    _refuse_unknown(value, {"items"})
    items = value["items"]
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_BATCH_ITEMS:
        raise WireError(f"items must be a list of 1 to {MAX_BATCH_ITEMS} settlements.", field="items")
    return [_settlement_or_error(item) for item in items], True


def parse_settlement(value: Any) -> JsonObject:
    """Check one settlement and return it flat, as the SQL function reads it."""
    if not isinstance(value, dict):
        raise WireError("A settlement must be a JSON object.")
    _refuse_unknown(
        value, {"reservation", "usage", "served_model", "finish", "estimated", "cache_hit", "provider_id"}
    )
    usage = value.get("usage")
    if not isinstance(usage, dict):
        raise WireError("usage must be an object with token counts.", field="usage")
    _refuse_unknown(usage, {*TOKEN_FIELDS, "units"})
    finish = _text(value, "finish", most=16)
    if finish not in FINISHES:
        raise WireError(f"finish must be one of {', '.join(sorted(FINISHES))}.", field="finish")
    try:
        tokens = checked_tokens(usage)
        units = checked_units(usage.get("units"))
    except TokenCountError as error:
        raise UsageInvalidError(str(error), field=error.field) from error
    return {
        "reservation": _text(value, "reservation", most=40),
        **tokens,
        "units": units or {},
        "served_model": _text(value, "served_model", most=100)
        if value.get("served_model") is not None
        else None,
        "finish": finish,
        "estimated": _flag(value, "estimated"),
        "cache_hit": _flag(value, "cache_hit"),
        "provider_id": _text(value, "provider_id", most=100) if value.get("provider_id") else "",
    }


def parse_release(body: bytes) -> str:
    """Check a release body and return the reservation's id."""
    value = parse_object(body)
    _refuse_unknown(value, {"reservation", "reason"})
    if "reason" in value:
        _text(value, "reason", most=100)
    return _text(value, "reservation", most=40)


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


def _refuse_depth(body: bytes) -> None:
    """Count brackets outside strings before parsing: a deep document is refused without being built."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for match in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', body, re.DOTALL):
        token = match.group()
        if token in (b"{", b"["):
            depth += 1
            if depth > MAX_DEPTH:
                raise WireError(f"The body is nested more than {MAX_DEPTH} levels deep.")
        elif token in (b"}", b"]"):
            depth -= 1


def _refuse_unknown(value: JsonObject, known: set[str]) -> None:
    unknown = sorted(set(value) - known)
    if unknown:
        raise WireError(
            f"Unknown field {unknown[0][:60]!r}. Known are {', '.join(sorted(known))}.", field=unknown[0][:60]
        )


def _text(value: JsonObject, field: str, *, most: int, default: str | None = None) -> str:
    text = value.get(field, default)
    if not isinstance(text, str) or not 1 <= len(text) <= most or "\x00" in text:
        raise WireError(f"{field} must be a text of 1 to {most} characters.", field=field)
    return text


def _count(value: JsonObject, field: str, *, least: int = 0, most: int = MAX_TOKENS) -> int:
    count = value.get(field)
    if not isinstance(count, int) or isinstance(count, bool) or not least <= count <= most:
        raise WireError(f"{field} must be a whole number from {least} to {most}.", field=field)
    return count


def _units(value: JsonObject) -> JsonObject | None:
    try:
        return checked_units(value.get("units"))
    except TokenCountError as error:
        raise WireError(str(error), field=error.field) from error


def _flag(value: JsonObject, field: str) -> bool:
    flag = value.get(field, False)
    if not isinstance(flag, bool):
        raise WireError(f"{field} must be true or false.", field=field)
    return flag
