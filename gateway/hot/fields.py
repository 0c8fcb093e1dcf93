"""Reads the fields of a request's JSON and says what is wrong with one. Pure: no database, no framework."""

import re
from collections.abc import Set as AbstractSet
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import orjson

from core.errors import DomainError
from usage.tokens import MAX_TOKENS

MAX_BODY_BYTES = 65_536
MAX_DEPTH = 16
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
NO_MARKS = bytes(sorted(set(range(256)) - set(b'[]{}"')))
USD = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,12})?")

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


def refuse_unknown(value: JsonObject, known: AbstractSet[str]) -> None:
    """Refuse fields that nobody reads. Raises WireError."""
    if not value.keys() <= known:
        unknown = sorted(set(value) - known)
        raise WireError(
            f"Unknown field {unknown[0][:60]!r}. Known are {', '.join(sorted(known))}.", field=unknown[0][:60]
        )


def read_text(value: JsonObject, field: str, *, most: int, default: str | None = None) -> str:
    """Return a text of 1 to `most` characters. Raises WireError."""
    found = value.get(field, default)
    if not isinstance(found, str) or not 1 <= len(found) <= most or "\x00" in found:
        raise WireError(f"{field} must be a text of 1 to {most} characters.", field=field)
    return found


def read_count(value: JsonObject, field: str, *, least: int = 0, most: int = MAX_TOKENS) -> int:
    """Return a whole number. Raises WireError."""
    count = value.get(field)
    if not isinstance(count, int) or isinstance(count, bool) or not least <= count <= most:
        raise WireError(f"{field} must be a whole number from {least} to {most}.", field=field)
    return count


def read_usd(value: JsonObject, field: str) -> Decimal:
    """Return an amount of US dollars, which is written as a text. Raises WireError."""
    text = value.get(field)
    if not isinstance(text, str) or not USD.fullmatch(text):
        raise WireError(
            f"{field} must be US dollars as a text such as 0.041200000000, below a billion.", field=field
        )
    return Decimal(text)


def read_flag(value: JsonObject, field: str) -> bool:
    """Return true or false, false where it is missing. Raises WireError."""
    flag = value.get(field, False)
    if not isinstance(flag, bool):
        raise WireError(f"{field} must be true or false.", field=field)
    return flag


def _refuse_depth(body: bytes) -> None:
    """Count brackets outside strings before parsing: a deep document is refused without being built."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    if b"\\" in body:
        brackets = STRING.sub(b"", body).translate(None, NO_BRACKETS)
    else:
        brackets = b"".join(body.translate(None, NO_MARKS).split(b'"')[::2])
    depth = 0
    for byte in brackets:
        if byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise WireError(f"The body is nested more than {MAX_DEPTH} levels deep.")
        else:
            depth -= 1
