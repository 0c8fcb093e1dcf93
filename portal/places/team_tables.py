"""The tables of a team's page: their lines, their columns, and what each is sorted by."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from core.sorting import Head, Table
from portal.places.people import MemberRow
from usage.types import MonthRow

KEPT = ("people", "projects", "months")
PEOPLE = Table(
    parameter="people",
    usual="name",
    heads=(
        Head(label="Person", sort="name"),
        Head(label="Role", sort="role"),
        Head(label="Since", sort="since", falls=True),
        Head(label="Spent this month", sort="spent", numeric=True),
        Head(label="Keys", sort="keys", numeric=True),
        Head(label="Actions", quiet=True),
    ),
)
PROJECTS = Table(
    parameter="projects",
    usual="-spent",
    heads=(
        Head(label="Project", sort="name"),
        Head(label="Spent", sort="spent", numeric=True),
        Head(label="Budget", sort="limit", numeric=True),
        Head(label="Used", sort="used", falls=True),
    ),
)
MONTHS = Table(
    parameter="months",
    usual="-month",
    heads=(
        Head(label="Month", sort="month", falls=True),
        Head(label="Calls", sort="calls", numeric=True),
        Head(label="Spent", sort="spent", numeric=True),
        Head(label="Of the dearest month", quiet=True),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectLine:
    """A project of the team in the running month; without an address it is another team's now."""

    name: str
    url: str
    is_open: bool
    spent_usd: Decimal
    limit_usd: Decimal | None
    used_percent: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthLine:
    """One of the last twelve months; `percent` is of the dearest of them."""

    month: MonthRow
    percent: Decimal | None
    url: str


MEMBER_SORTS: dict[str, Callable[[MemberRow], Any]] = {
    "name": lambda row: (not row.url, row.name.casefold()),  # who is in it stands before who was
    "role": lambda row: row.role,
    "since": lambda row: row.since,
    "spent": lambda row: row.spent_usd,
    "keys": lambda row: row.keys,
}
PROJECT_SORTS: dict[str, Callable[[ProjectLine], str | Decimal | None]] = {
    "name": lambda line: line.name.casefold(),
    "spent": lambda line: line.spent_usd,
    "limit": lambda line: line.limit_usd,
    "used": lambda line: line.used_percent,
}
MONTH_SORTS: dict[str, Callable[[MonthLine], date | int | Decimal]] = {
    "month": lambda line: line.month.period.first_day,
    "calls": lambda line: line.month.calls,
    "spent": lambda line: line.month.total_usd,
}
