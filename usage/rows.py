"""One finished call as a gateway tells it, whatever product wrote it, checked before it is copied. Pure.

A row is a mapping:

* `external_id`  the call's own name at its source, at most 100 characters
* `at`           when it began, with a zone, a datetime or its ISO text; a source tells it the same each time
* `key`          the public id of the key that paid
* `model`        the model's name or one of its aliases
* `input_tokens`, `cached_tokens`, `cache_write_tokens`, `output_tokens`, `reasoning_tokens`
                 inclusive totals, 0 where missing
* `project`      the code of the key's project, where the source knows it
* `units`        what is not counted in tokens, by unit
* `context`      the service class, "standard" where missing
* `finish`, `cache_hit`, `estimated`, `provider_call_id`
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import le
from typing import Any

import orjson

from usage.contexts import KNOWN_CONTEXTS
from usage.models import Finish, QuarantineReason
from usage.redaction import redacted, redacted_text
from usage.tokens import (
    MAX_TOKENS,
    TOKEN_FIELDS,
    PartsExceedError,
    TokenCountError,
    check_parts,
    checked_units,
)

EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
# How far the clock of a source may be ahead of ours.
AHEAD = timedelta(hours=1)
MAX_ROW_BYTES = 16_384
LARGEST_EXACT = 2**53  # of whole numbers in JSON
# The texts of a row, the most characters of each, and what stands for one that is missing.
TEXTS: tuple[tuple[str, int, str | None], ...] = (
    ("external_id", 100, None),
    ("key", 40, None),
    ("model", 100, None),
    ("project", 100, ""),
    ("context", 16, "standard"),
    ("provider_call_id", 100, ""),
)
MOST = tuple(most for _, most, _ in TEXTS)
FINISHES = frozenset(Finish.values)
# What `copied` gives: the columns of `usage_import_row`, their types as COPY names them.
COLUMNS = (
    ("place", "int4"),
    ("external_id", "text"),
    ("key", "text"),
    ("model", "text"),
    ("project", "text"),
    ("context", "text"),
    ("provider_call_id", "text"),
    ("at", "timestamptz"),
    *((name, "int8") for name in TOKEN_FIELDS),
    ("units", "text"),
    ("finish", "text"),
    ("cache_hit", "bool"),
    ("estimated", "bool"),
)
Copied = tuple[Any, ...]


class RowError(Exception):
    """The row cannot be booked; `reason` says how it goes into quarantine."""

    def __init__(self, reason: QuarantineReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def copied(raw: Any, *, now: datetime) -> Copied:
    """Return a row as COPY takes it, without its place. Raises RowError."""
    if not isinstance(raw, Mapping):
        raise RowError(QuarantineReason.MALFORMED, "A row must be an object.")
    get = raw.get
    texts = _texts([get(name, missing) for name, _, missing in TEXTS])
    tokens = [get(name, 0) for name in TOKEN_FIELDS]
    if not _are_sound(*tokens):
        raise _token_error(tokens)
    finish = get("finish", "stop")
    if finish not in FINISHES:
        raise RowError(QuarantineReason.MALFORMED, f"finish {str(finish)[:40]!a} is not known.")
    return (
        *texts,
        _moment(get("at"), now),
        *tokens,
        _units(get("units"), tokens),
        finish,
        get("cache_hit") is True,
        # A service class that nobody knows is charged at the dearest there is, and flagged.
        get("estimated") is True or texts[4] not in KNOWN_CONTEXTS,
    )


def kept(raw: Any) -> Any:
    """Return what the quarantine keeps of a row: JSON whatever it holds, without secrets, shortened where it
    is long.
    """
    safe = redacted(_safe(raw if isinstance(raw, Mapping) else {"row": raw}))
    text = orjson.dumps(safe, option=orjson.OPT_SORT_KEYS)
    if len(text) <= MAX_ROW_BYTES:
        return safe
    return {
        "external_id": external_id(raw),
        "bytes": len(text),
        "begins": text[:1_000].decode(errors="replace"),
    }


def external_id(raw: Any) -> str:
    """Return how a row is called in quarantine; empty when it does not say."""
    name = raw.get("external_id", "") if isinstance(raw, Mapping) else ""
    return redacted_text(_safe_text(str(name)))[:100]


def _texts(values: list[Any]) -> list[str]:
    """Check the texts of a row: those of the usual row all at once."""
    with suppress(TypeError):  # something is no text
        together = "".join(values)
        if (
            together.isascii()
            and together.isprintable()
            and all(values[:3])
            and all(map(le, map(len, values), MOST))
        ):
            return values
    return [_text(value, *of) for value, of in zip(values, TEXTS, strict=True)]


def _text(value: Any, name: str, most: int, missing: str | None) -> str:
    if isinstance(value, bytes | bytearray):
        raise RowError(QuarantineReason.BAD_UTF8, f"{name} is not text.")
    if value is None or (value == "" and missing is None):
        raise RowError(QuarantineReason.MALFORMED, f"{name} is missing.")
    if not isinstance(value, str):
        raise RowError(QuarantineReason.MALFORMED, f"{name} must be a text.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RowError(QuarantineReason.BAD_UTF8, f"{name} is not valid UTF-8.") from error
    if len(value) > most:
        raise RowError(QuarantineReason.OVERSIZE, f"{name} is longer than {most} characters.")
    if not value.isprintable():
        raise RowError(QuarantineReason.MALFORMED, f"{name} holds characters that cannot be shown.")
    return value


def _are_sound(input_: Any, cached: Any, cache_write: Any, output: Any, reasoning: Any) -> bool:
    """Whether five counts are whole, not negative, not absurd, and the parts no more than their wholes."""
    return (
        type(input_) is type(cached) is type(cache_write) is type(output) is type(reasoning) is int
        and input_ <= MAX_TOKENS
        and output <= MAX_TOKENS
        and cached >= 0
        and cache_write >= 0
        and cached + cache_write <= input_
        and 0 <= reasoning <= output
    )


def _token_error(tokens: list[Any]) -> RowError:
    for name, count in zip(TOKEN_FIELDS, tokens, strict=True):
        if (reason := _number_reason(count)) is not None:
            return RowError(reason, f"{name} is {_shown(count)}.")
        if not isinstance(count, int) or isinstance(count, bool):
            return RowError(QuarantineReason.MALFORMED, f"{name} must be a whole number.")
        if count < 0:
            return RowError(QuarantineReason.NEGATIVE, f"{name} is {_shown(count)}.")
        if count > MAX_TOKENS:
            return RowError(QuarantineReason.ABSURD_TOKENS, f"{name} is {_shown(count)}.")
    if tokens[4] > tokens[3]:
        return RowError(
            QuarantineReason.PARTS_EXCEED, "reasoning_tokens is part of output_tokens and cannot be more."
        )
    return RowError(
        QuarantineReason.PARTS_EXCEED,
        "cached_tokens and cache_write_tokens are parts of input_tokens and cannot be more.",
    )


def _number_reason(count: Any) -> QuarantineReason | None:
    """Say what is wrong with something that should be a finite number, as far as that is what is wrong."""
    if isinstance(count, str):
        try:
            count = float(count)
        except ValueError:
            return None
    if isinstance(count, float | Decimal):
        if math.isnan(count):
            return QuarantineReason.NOT_A_NUMBER
        if math.isinf(count):
            return QuarantineReason.INFINITE
    return None


def _units(units: Any, tokens: list[int]) -> str | None:
    if not units:
        return None
    if isinstance(units, Mapping):
        for name, count in units.items():
            if (reason := _number_reason(count)) is not None:
                raise RowError(reason, f"units.{str(name)[:40]!a} is {_shown(count)}.")
            if isinstance(count, int | float) and count < 0:
                raise RowError(QuarantineReason.NEGATIVE, f"units.{str(name)[:40]!a} is {_shown(count)}.")
    try:
        counted = checked_units(units) or {}
        check_parts(dict(zip(TOKEN_FIELDS, tokens, strict=True)), counted)
    except PartsExceedError as error:
        raise RowError(QuarantineReason.PARTS_EXCEED, str(error)) from error
    except TokenCountError as error:
        raise RowError(QuarantineReason.MALFORMED, str(error).encode("ascii", "replace").decode()) from error
    return orjson.dumps(counted, option=orjson.OPT_SORT_KEYS).decode()


def _moment(value: Any, now: datetime) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise RowError(QuarantineReason.MALFORMED, "at is not a time.") from error
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise RowError(QuarantineReason.MALFORMED, "at must be a time with a zone.")
    if not EARLIEST <= value <= now + AHEAD:
        raise RowError(QuarantineReason.BAD_TIME, "at is before 2025, or in the future.")
    return value


def _shown(count: Any) -> str:
    if isinstance(count, int) and abs(count) > 10**18:
        return "a number of too many digits"
    return _safe_text(str(count))[:40]


def _safe(value: Any) -> Any:
    """Return the same as JSON can hold it: what it cannot is written as text."""
    safe: Any
    match value:
        case None | bool():
            safe = value
        case int():
            safe = value if abs(value) < LARGEST_EXACT else _shown(value)
        case float():
            safe = value if math.isfinite(value) else str(value)
        case bytes() | bytearray():
            safe = _safe_text(bytes(value).decode(errors="replace"))
        case datetime():
            safe = value.isoformat()
        case Mapping():
            safe = {_safe_text(str(name)): _safe(item) for name, item in value.items()}
        case list() | tuple():
            safe = [_safe(item) for item in value]
        case _:
            safe = _safe_text(str(value))
    return safe


def _safe_text(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")
