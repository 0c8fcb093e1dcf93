"""The lines of a provider's bill, read from CSV or JSON. Pure.

CSV has a head with description and amount, and may have model and quantity. JSON is a list of objects with
these members, or an object whose `lines` is one. Amounts are US dollars; credits are negative.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from io import StringIO
from typing import Any

from core.money import MAX_USD, SCALE, quantise

MAX_LINES = 5_000
MAX_TOLD = 20
COLUMNS = ("description", "model", "quantity", "amount")
NEEDED = {"description", "amount"}
AMOUNT = re.compile(r"(-?)\$?(-?)(\d{1,3}(?:,\d{3})+|\d+)?(\.\d+)?", re.ASCII)
MAX_QUANTITY = Decimal("1e21")
DESCRIPTION, MODEL = 240, 100


class InvoiceDocumentError(ValueError):
    """The document cannot be used; `problems` has a sentence for each line at fault."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(" ".join(self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a bill. None is a line without a quantity."""

    description: str
    model_name: str
    quantity: Decimal | None
    amount_usd: Decimal


def read_document(content: bytes) -> tuple[Line, ...]:
    """Return the lines of an uploaded document. Raises InvoiceDocumentError with every line at fault."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvoiceDocumentError([f"The file is not UTF-8 text (byte {error.start + 1})."]) from error
    if text.lstrip().startswith(("[", "{")):
        return read_lines(_json_lines(text), first=1)
    return read_lines(_csv_lines(text), first=2)


def read_lines(rows: Iterable[Any], *, first: int = 1) -> tuple[Line, ...]:
    """Return lines from objects, the first of which people count as line `first`.

    Raises InvoiceDocumentError.
    """
    lines: list[Line] = []
    problems: list[str] = []
    for number, row in enumerate(rows, start=first):
        if number - first >= MAX_LINES:
            raise InvoiceDocumentError([f"A bill has at most {MAX_LINES:,} lines."])
        try:
            lines.append(_line(row))
        except ValueError as error:
            problems.append(f"Line {number}: {error}")
    if problems:
        more = len(problems) - MAX_TOLD
        raise InvoiceDocumentError(
            problems[:MAX_TOLD] + ([f"{more:,} more lines cannot be read."] if more > 0 else [])
        )
    if not lines:
        raise InvoiceDocumentError(["The document has no lines."])
    return tuple(lines)


def read_amount(text: str) -> Decimal:
    """Return an amount of US dollars, negative for a credit (`-$1,250.00`). Raises ValueError."""
    cleaned = text.strip()
    found = AMOUNT.fullmatch(cleaned)
    if not found or (found[1] and found[2]) or not (found[3] or found[4]):
        raise ValueError(
            f"{cleaned[:40]!r} is no amount. Write US dollars such as 1250.00, or -3.50 for a credit."
        )
    sign = "-" if found[1] or found[2] else ""
    amount = Decimal(f"{sign}{(found[3] or '0').replace(',', '')}{found[4] or ''}")
    if abs(amount) >= MAX_USD or amount != amount.quantize(SCALE):
        raise ValueError(f"{cleaned[:40]!r} is too large, or has more than twelve decimals.")
    return quantise(amount)


def _csv_lines(text: str) -> Iterator[Mapping[str, Any]]:
    reader = csv.reader(StringIO(text), strict=True)
    try:
        head = [name.strip().lower() for name in next(reader, [])]
        if not set(head) >= NEEDED or not set(head) <= set(COLUMNS) or len(set(head)) != len(head):
            raise InvoiceDocumentError(
                [f"The first line names columns of these: {', '.join(COLUMNS)}; always the first and last."]
            )
        for cells in reader:
            if len(cells) not in {0, len(head)}:
                yield {"cells": len(cells), "columns": len(head)}
            elif cells:
                yield dict(zip(head, cells, strict=True))
    except csv.Error as error:
        raise InvoiceDocumentError([f"Line {reader.line_num}: this is not CSV ({error})."]) from error


def _json_lines(text: str) -> list[Any]:
    try:
        document = json.loads(text, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvoiceDocumentError([f"This is not JSON{where}."]) from error
    lines = document.get("lines") if isinstance(document, dict) else document
    if isinstance(document, dict) and str(document.get("currency", "USD")).upper() != "USD":
        raise InvoiceDocumentError([not_dollars(str(document["currency"]))])
    if not isinstance(lines, list):
        raise InvoiceDocumentError(["The document has no list of lines."])
    return lines


def not_dollars(currency: str) -> str:
    """Say what can be done about a bill in another currency."""
    named = currency.strip().upper()[:8] or "no currency"
    return (
        f"The bill is in {named}, and Purser keeps US dollars. Enter the amounts in dollars, as the"
        " provider's own statement in USD has them."
    )


def _no_number(name: str) -> None:
    raise ValueError(name)


def _line(row: Any) -> Line:
    if not isinstance(row, Mapping):
        raise ValueError("it is not an object.")  # noqa: TRY004  one kind of fault for every line
    if "cells" in row:
        raise ValueError(f"it has {row['cells']} cells, and the head {row['columns']}.")
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        raise ValueError(f"{str(unknown[0])[:40]!r} is not known. Known are {', '.join(COLUMNS)}.")
    return Line(
        description=_text(row, "description", most=DESCRIPTION, needed=True),
        model_name=_text(row, "model", most=MODEL, needed=False),
        quantity=_quantity(_plain(row.get("quantity"))),
        amount_usd=read_amount(_plain(row.get("amount"))),
    )


def _text(row: Mapping[str, Any], name: str, *, most: int, needed: bool) -> str:
    value = row.get(name)
    text = value.strip() if isinstance(value, str) else ""
    if (value is not None and not isinstance(value, str)) or "\x00" in text:
        raise ValueError(f"{name} must be text.")
    if len(text) > most or (needed and not text):
        raise ValueError(f"{name} must have 1 to {most} characters.")
    return text


def _quantity(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        quantity = Decimal(text.replace(",", ""))
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not quantity.is_finite() or abs(quantity) >= MAX_QUANTITY:
        raise ValueError(f"{text[:40]!r} is no quantity.")
    return quantity.quantize(Decimal("1e-6"))


def _plain(value: Any) -> str:
    """Return a cell or a JSON number as text."""
    match value:
        case None:
            return ""
        case str():
            return value.strip()
        case bool():
            return str(value)
        case int() | Decimal():
            return f"{value:f}"
        case _:
            return str(type(value).__name__)
