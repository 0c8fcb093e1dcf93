"""Usage that a gateway pushes: a JSON list, JSON lines or CSV, read row by row, so that one bad row never
stops the others. The formats are in docs/gateway-api.md. Pure.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from usage.models import QuarantineReason
from usage.redaction import redacted_text
from usage.tokens import OPEN_UNITS, PARTS, TOKEN_FIELDS

MAX_ROW_BYTES = 65_536
MAX_DEPTH = 16
MAX_KEPT_CHARACTERS = 2_000  # of a row that cannot be read
LONGEST_INTEGER = 18  # digits: more fit no 64-bit number
# What a row may say, and what `usage.rows` calls it; `usage` beside them holds the counts.
NAMES: Mapping[str, str] = {
    "id": "external_id",
    "at": "at",
    "key_id": "key",
    "project_id": "project",
    "model": "model",
    "served_model": "served_model",
    "context": "context",
    "finish": "finish",
    "cache_hit": "cache_hit",
    "estimated": "estimated",
    "provider_id": "provider_call_id",
}
FIELDS = frozenset(NAMES) | {"usage", "request_id"}
COUNTS = frozenset(TOKEN_FIELDS) | {"units"}
CSV_FLAGS = ("cache_hit", "estimated")
CSV_UNITS = (*OPEN_UNITS, *PARTS)
CSV_COLUMNS = (FIELDS - {"usage"}) | set(TOKEN_FIELDS) | set(CSV_UNITS)
CSV_NEEDED = ("id", "at", "key_id", "model")
FLAGS = {"": None, "true": True, "false": False, "1": True, "0": False}
DECIMAL = re.compile(r"-?[0-9]{1,12}\.[0-9]{1,12}")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Row = dict[str, Any]


class UnreadableBodyError(ValueError):
    """Nothing of the body can be read as rows; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedRow:
    """One row as `usage.rows` reads it, and its place, counted from 1: its line in the body, or its position
    in a list. `served_model` beside it is what answered, where the gateway says so.

    With a `reason` it cannot be booked: `detail` says why, and `row` is what there is of it.
    """

    line: int
    row: Row
    reason: QuarantineReason | None = None
    detail: str = ""


def read_list(document: Any) -> Iterator[PushedRow]:
    """Give the rows of a JSON list, or of its `items`. Raises UnreadableBodyError for anything else."""
    rows = document.get("items") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise UnreadableBodyError("The body must be a JSON list of rows, or an object with `items`.")
    return (_checked(place, row) for place, row in enumerate(rows, 1))


def read_lines(body: bytes) -> Iterator[PushedRow]:
    """Give the rows of JSON lines; empty lines are none."""
    return (_from_text(number, line, _json_row) for number, line in _lines(body))


def read_csv(body: bytes) -> Iterator[PushedRow]:
    """Give the rows of CSV, one a line, below a head that names the columns. Raises UnreadableBodyError."""
    lines = _lines(body)
    _, first = next(lines, (0, b""))
    head = _head(first)
    return _csv_rows(lines, head)


def parse_json(text: str | bytes) -> Any:
    """Read JSON within the depth that is looked at. Numbers that JSON or the database cannot hold (NaN,
    Infinity, 10**30) come as text, which no count is. Raises ValueError.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = json.loads(text, parse_constant=str, parse_int=_integer, parse_float=_number)
    if _depth(value) > MAX_DEPTH:
        raise ValueError(f"It is nested more than {MAX_DEPTH} levels deep.")
    return value


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the lines that hold anything, with their numbers; an unfinished last line is one too."""
    start, number = len(BYTE_ORDER_MARK) if body.startswith(BYTE_ORDER_MARK) else 0, 0
    while start < len(body):
        number += 1
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        line = body[start:end].rstrip(b"\r")
        start = end + 1
        if line.strip():
            yield number, line


def _from_text(number: int, line: bytes, read: Callable[[str], Any]) -> PushedRow:
    """Read one line, or say why it cannot be read."""
    if len(line) > MAX_ROW_BYTES:
        detail = f"The row has {len(line):,} bytes; at most {MAX_ROW_BYTES:,} are read."
        return _refused(number, QuarantineReason.OVERSIZE, detail, line)
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        detail = f"Byte {error.start + 1} of the row is not UTF-8."
        return _refused(number, QuarantineReason.BAD_UTF8, detail, line)
    try:
        row = read(text)
    except (ValueError, RecursionError) as error:
        return _refused(number, QuarantineReason.MALFORMED, str(error), line)
    return _checked(number, row)


def _json_row(text: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"The row is not JSON: {error.msg} at character {error.pos + 1}.") from error


def _checked(place: int, row: Any) -> PushedRow:
    if not isinstance(row, dict):
        return _malformed(place, {"text": row}, "A row must be a JSON object.")
    if not row.keys() <= FIELDS:
        return _malformed(place, row, _unknown(set(row) - FIELDS, FIELDS))
    usage = row.get("usage")
    if not isinstance(usage, dict):
        return _malformed(place, row, "usage is missing.")
    if not usage.keys() <= COUNTS:
        return _malformed(place, row, f"usage: {_unknown(set(usage) - COUNTS, COUNTS)}")
    return PushedRow(line=place, row=translated(row))


def translated(row: Mapping[str, Any]) -> Row:
    """Return a row of the wire as `usage.rows` reads it; what is null is not there."""
    named = {ours: row[name] for name, ours in NAMES.items() if row.get(name) is not None}
    return {**named, **{name: count for name, count in row["usage"].items() if count is not None}}


def _unknown(unknown: set[str], known: frozenset[str]) -> str:
    return f"Unknown field {min(unknown)[:60]!r}. Known are {', '.join(sorted(known))}."


def _malformed(place: int, row: Row, detail: str) -> PushedRow:
    return PushedRow(line=place, row=row, reason=QuarantineReason.MALFORMED, detail=detail)


def _refused(place: int, reason: QuarantineReason, detail: str, line: bytes) -> PushedRow:
    text = line[:MAX_KEPT_CHARACTERS].decode(errors="backslashreplace")
    return PushedRow(line=place, row={"text": redacted_text(text)}, reason=reason, detail=detail)


def _head(line: bytes) -> list[str]:
    try:
        head = [name.strip() for name in _cells(line.decode())]
    except ValueError as error:
        raise UnreadableBodyError(f"The first line must name the columns: {error}") from error
    unknown = sorted(set(head) - CSV_COLUMNS)
    if unknown:
        known = ", ".join(sorted(CSV_COLUMNS))
        raise UnreadableBodyError(f"Unknown column {unknown[0][:60]!r}. Known are {known}.")
    missing = [name for name in CSV_NEEDED if name not in head]
    if missing or len(set(head)) < len(head):
        raise UnreadableBodyError(
            f"The first line must name each column once, and among them {', '.join(CSV_NEEDED)}."
        )
    return head


def _csv_rows(lines: Iterable[tuple[int, bytes]], head: list[str]) -> Iterator[PushedRow]:
    def read(text: str) -> Row:
        cells = _cells(text)
        if len(cells) != len(head):
            raise ValueError(f"The row has {len(cells)} cells and the head {len(head)}.")
        return _row_of(dict(zip(head, cells, strict=True)))

    for number, line in lines:
        yield _from_text(number, line, read)


def _cells(text: str) -> list[str]:
    """Split one line at its commas, as RFC 4180 quotes them. Raises ValueError."""
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"The row is not CSV: {error}.") from error


def _row_of(cells: Mapping[str, str]) -> Row:
    """Return a row as JSON would tell it; an empty cell is a field that is not there."""
    row: Row = {name: cell for name, cell in cells.items() if cell and name in FIELDS}
    row["usage"] = {name: _count(cells[name]) for name in TOKEN_FIELDS if cells.get(name)}
    if units := {name: _measure(cells[name]) for name in CSV_UNITS if cells.get(name)}:
        row["usage"]["units"] = units
    for name in CSV_FLAGS:
        flag = cells.get(name, "").strip().lower()
        if flag not in FLAGS:
            raise ValueError(f"{name} must be true or false.")
        if FLAGS[flag] is not None:
            row[name] = FLAGS[flag]
    return row


def _count(cell: str) -> int | str:
    """Return a whole number; other text stays as it is, so that what is wrong can be seen."""
    digits = cell.strip()
    return int(digits) if digits.isascii() and digits.removeprefix("-").isdigit() and _fits(digits) else cell


def _measure(cell: str) -> int | float | str:
    """Return what may have parts, such as seconds, as a number; other text stays as it is."""
    text = cell.strip()
    return float(text) if DECIMAL.fullmatch(text) else _count(cell)


def _fits(digits: str) -> bool:
    return len(digits.removeprefix("-")) <= LONGEST_INTEGER


def _integer(digits: str) -> int | str:
    return int(digits) if _fits(digits) else digits


def _number(text: str) -> float | str:
    number = float(text)
    return number if abs(number) < float("inf") else text


def _depth(value: Any) -> int:
    """Count the levels of JSON, one more than is looked at at most."""
    level, groups = 0, [value] if isinstance(value, dict | list) else []
    while groups and level <= MAX_DEPTH:
        level += 1
        inner = (each for group in groups for each in (group.values() if isinstance(group, dict) else group))
        groups = [each for each in inner if isinstance(each, dict | list)]
    return level
