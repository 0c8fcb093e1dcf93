"""Rules of the books: each is a query for the rows that break it, so that no row is the proof.

The rules themselves stand in the apps whose tables they read; `manage.py ledger_verify` runs them all, and
every night they are run piece by piece.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection

EVER = "-infinity"
# What a query is given that is asked of everything.
WHOLE: Mapping[str, Any] = {
    "first": -(2**63),
    "last": 2**63 - 1,
    "from_at": "-infinity",
    "to_at": "infinity",
    "summed_to": 0,
    "after_id": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a rule is cut along into pieces: a number of its rows, such as their id or hour.

    `span` is the query of the least and the greatest number that there is, `width` how many make a piece at
    first. A piece is named to the query by `%(first)s` and `%(last)s`, both within it; where the number is a
    time, by the moments `%(from_at)s` and `%(to_at)s`, the second after it.
    """

    span: str
    width: int
    moment: Callable[[int], datetime] | None = None

    def piece(self, first: int | None, last: int | None) -> dict[str, Any]:
        """Return how a piece is named to a query; None is no bound."""
        names: dict[str, Any] = {"first": first, "last": last}
        if self.moment is not None:
            from_at = None if first is None else self.moment(first)
            names = {"from_at": from_at, "to_at": None if last is None else self.moment(last + 1)}
        return {name: value for name, value in names.items() if value is not None}


def by_id(table: str, *, width: int = 100_000, column: str = "id") -> Cut:
    """Return the cut along the ids of a table."""
    span = f"SELECT coalesce(min({column}), 0), coalesce(max({column}), 0) FROM {table}"  # noqa: S608  constants
    return Cut(span=span, width=width)


def by_hour(oldest: str, *, width: int = 24) -> Cut:
    """Return the cut along hours, from the moment that an SQL expression gives to now."""
    hours = "floor(extract(epoch FROM {}) / 3600)::bigint"
    first, last = hours.format(f"coalesce({oldest}, now())"), hours.format("now()")
    return Cut(
        span=f"SELECT least({first}, {last}), {last}",
        width=width,
        moment=lambda hour: datetime.fromtimestamp(hour * 3_600, UTC),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Sums that are made piece by piece before a rule is asked, where no piece has all that it compares.

    `query` adds a piece to them. What has an id above `%(summed_to)s`, the one that `up_to` gives, may still
    be on its way into the database: the rule itself adds those, all of them where the number is 0.
    """

    up_to: str
    empties: str
    query: str
    cut: Cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A sentence that must be true, and the query for what breaks it.

    The query gives two texts, what is wrong and in what way, the first to name first. It may use
    `%(since)s`, from when on recorded rows matter, `params`, and the names of WHOLE, for a piece
    of its `cut`. One that `looks_back` is asked at night of what happened since the night before: from
    `%(from_at)s`, by entries with an id above `%(after_id)s`.
    """

    name: str
    query: str
    params: tuple[tuple[str, Any], ...] = ()
    cut: Cut | None = None
    sums: Sums | None = None
    looks_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """One row that breaks a rule."""

    subject: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that does not hold: how many rows break it, and the first of them."""

    rule: str
    count: int
    first: Broken


def broken(rule: Rule, *, since: datetime | None = None) -> list[Broken]:
    """Return every row that breaks the rule."""
    rows = _fetch(rule.query, rule, since, {})
    return [Broken(subject=subject, detail=detail) for subject, detail in rows]


def finding(
    rule: Rule, *, since: datetime | None = None, piece: Mapping[str, Any] | None = None
) -> Finding | None:
    """Return the first row that breaks the rule, in a piece or in all, and how many do, or None."""
    rows = f"({rule.query}) AS broken (subject, detail)"
    query = f"SELECT subject, detail, count(*) OVER () FROM {rows} LIMIT 1"  # noqa: S608  a rule is a constant
    for subject, detail, count in _fetch(query, rule, since, piece or {}):
        return Finding(rule=rule.name, count=count, first=Broken(subject=subject, detail=detail))
    return None


def _fetch(query: str, rule: Rule, since: datetime | None, piece: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, {**WHOLE, "since": since or EVER, **dict(rule.params), **piece})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
