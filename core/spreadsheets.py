"""CSV that a spreadsheet opens without running anything that a person typed into a name."""

import csv
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from itertools import islice
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

CONTENT_TYPE = "text/csv; charset=utf-8"
ROWS_A_PIECE = 1_000
STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

Cell = str | int | Decimal | None
AnyModel = TypeVar("AnyModel", bound=Model)
AnyItem = TypeVar("AnyItem")
AnyRow = TypeVar("AnyRow")


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


def iso(moment: datetime | None) -> str | None:
    """Write a moment as ISO 8601 in UTC; None is an empty cell."""
    return None if moment is None else moment.astimezone(UTC).isoformat()


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table as CSV, with the lines that RFC 4180 asks for."""
    target = StringIO()
    writer = csv.writer(target)
    writer.writerow([inert(name) for name in head])
    writer.writerows([inert(cell) for cell in row] for row in rows)
    return target.getvalue()


def csv_response(name: str, head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> HttpResponse:
    """Return a table as a file to download; `name` has no ending and only letters, digits and hyphens."""
    response = HttpResponse(csv_text(head, rows), content_type=CONTENT_TYPE)
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def csv_pieces(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """Give a table as CSV a thousand rows at a time, so that no more of it is ever in memory."""
    source = iter(rows)
    names: Sequence[str] | None = head
    while True:
        some = list(islice(source, ROWS_A_PIECE))
        if names is None and not some:
            return
        target = StringIO()
        writer = csv.writer(target)
        if names is not None:
            writer.writerow([inert(name) for name in names])
        writer.writerows([inert(cell) for cell in row] for row in some)
        names = None
        yield target.getvalue()


def in_batches(
    queryset: QuerySet[AnyModel, AnyItem], rows_of: Callable[[list[AnyItem]], Iterable[AnyRow]]
) -> Iterator[AnyRow]:
    """Give the rows of a whole list, read through a cursor at the server; `rows_of` makes those of a part."""
    source = queryset.iterator(chunk_size=ROWS_A_PIECE)
    while found := list(islice(source, ROWS_A_PIECE)):
        yield from rows_of(found)


def csv_stream(
    request: HttpRequest, name: str, head: Sequence[str], rows: Iterable[Sequence[Cell]]
) -> StreamingHttpResponse:
    """Return a table of any length as a file sent while it is read; named as `csv_response` is."""
    pieces = csv_pieces(head, rows)
    content = _one_by_one(pieces) if isinstance(request, ASGIRequest) else pieces
    response = StreamingHttpResponse(content, content_type=CONTENT_TYPE)
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


async def _one_by_one(pieces: Iterator[str]) -> AsyncIterator[str]:
    """Read on only when the piece before is sent; Django would read a plain iterator to its end first."""

    def following() -> str:
        return next(pieces, "")

    while piece := await sync_to_async(following, thread_sensitive=True)():
        yield piece
