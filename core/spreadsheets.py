"""CSV that a spreadsheet opens without running anything that a person typed into a name."""

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal
from io import StringIO

from django.http import HttpResponse

STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

Cell = str | int | Decimal | None


def inert(cell: Cell) -> str:
    """Write a cell so that no spreadsheet takes it for a formula; numbers stay numbers, None is empty.

    Source: OWASP, CSV injection: a quote in front of a text that begins with = + - @, a tab or a line end.
    """
    match cell:
        case None:
            return ""
        case Decimal():
            return f"{cell:f}"
        case str() if cell.startswith(STARTS_A_FORMULA):
            return f"'{cell}"
        case _:
            return str(cell)


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table as CSV, with the lines that RFC 4180 asks for."""
    target = StringIO()
    writer = csv.writer(target)
    writer.writerow([inert(name) for name in head])
    writer.writerows([inert(cell) for cell in row] for row in rows)
    return target.getvalue()


def csv_response(name: str, head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> HttpResponse:
    """Return a table as a file to download; `name` has no ending and only letters, digits and hyphens."""
    response = HttpResponse(csv_text(head, rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response
