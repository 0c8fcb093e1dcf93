"""Tables that their address sorts: `?sort=-spent` is one column with the largest value first."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from django.db.models import F, Subquery
from django.db.models.expressions import Expression, OrderBy
from django.http import HttpRequest

from core import addresses
from core.shapes import Column

AnyRow = TypeVar("AnyRow")
SqlColumn = (
    str | F | Expression | Subquery
)  # a name is of a column that is never empty; what may be is an expression
LARGEST_FIRST = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of a column; `sort` is what addresses call it, empty where nothing is sorted by it.

    The first click on one that `falls`, as on one of numbers, puts the largest first. One that is `quiet` is
    read out and not shown.
    """

    label: str
    sort: str = ""
    numeric: bool = False
    falls: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The column that a table is sorted by, and whether its largest value stands first."""

    name: str
    falls: bool

    def of(self, rows: Iterable[AnyRow], values: Mapping[str, Callable[[AnyRow], Any]]) -> tuple[AnyRow, ...]:
        """Return rows in this order: equal ones as they stood, those without a value last either way."""
        value, every = values[self.name], list(rows)
        known = [row for row in every if value(row) is not None]
        known.sort(key=value, reverse=self.falls)
        return (*known, *(row for row in every if value(row) is None))

    def sql(self, columns: Mapping[str, SqlColumn], *ties: str) -> tuple[str | OrderBy, ...]:
        """Return this order of a queryset, rows without a value last; `ties` end with what no two share."""
        column = columns[self.name]
        if isinstance(column, str):
            return (f"-{column}" if self.falls else column, *ties)
        return (OrderBy(column, descending=self.falls, nulls_last=True), *ties)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The columns of a table, and its `usual` order, which addresses leave out: `-spent`.

    A page of several tables sorts each by a `parameter` of its own.
    """

    heads: tuple[Head, ...]
    usual: str
    parameter: str = "sort"

    def without(self, *sorts: str) -> "Table":
        """Return the table without the columns that addresses call so."""
        return replace(self, heads=tuple(head for head in self.heads if head.sort not in sorts))

    @property
    def known(self) -> list[str]:
        """Return what addresses may ask for."""
        return [f"{way}{head.sort}" for head in self.heads if head.sort for way in ("", LARGEST_FIRST)]

    def order(self, request: HttpRequest) -> Order:
        """Return the order that the address asks for; what no column is called means the usual one."""
        wanted = addresses.choice(request, self.parameter, self.known, self.usual)
        return Order(name=wanted.removeprefix(LARGEST_FIRST), falls=wanted.startswith(LARGEST_FIRST))

    def columns(self, request: HttpRequest, kept: Collection[str], *, path: str = "") -> tuple[Column, ...]:
        """Return the heads with the way to each order; it keeps what is `kept`, which is no page number."""
        now = self.order(request)
        return tuple(self._column(request, kept, head, now, path=path) for head in self.heads)

    def _column(
        self, request: HttpRequest, kept: Collection[str], head: Head, now: Order, *, path: str
    ) -> Column:
        if not head.sort:
            return Column(label=head.label, numeric=head.numeric, quiet=head.quiet)
        is_current = head.sort == now.name
        falls = not now.falls if is_current else head.falls or head.numeric
        wanted = f"{LARGEST_FIRST if falls else ''}{head.sort}"
        asked = {self.parameter: "" if wanted == self.usual else wanted}
        url = addresses.link(request, kept, path=path, **asked)
        sorted_ = "" if not is_current else "descending" if now.falls else "ascending"
        return Column(label=head.label, url=url, numeric=head.numeric, sorted=sorted_)
