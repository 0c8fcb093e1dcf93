"""Rules of the books: each is a query for the rows that break it, so that no row is the proof.

The rules themselves stand in the apps whose tables they read; `manage.py ledger_verify` runs them all.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

EVER = "-infinity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A sentence that must be true, and the query for what breaks it.

    The query gives two texts, what is wrong and in what way, the first to name first. It may use
    `%(since)s`, from when on recorded rows matter, and `params`.
    """

    name: str
    query: str
    params: tuple[tuple[str, Any], ...] = ()


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
    return [Broken(subject=subject, detail=detail) for subject, detail in _fetch(rule.query, rule, since)]


def finding(rule: Rule, *, since: datetime | None = None) -> Finding | None:
    """Return the first row that breaks the rule and their number, or None while it holds."""
    rows = f"({rule.query}) AS broken (subject, detail)"
    query = f"SELECT subject, detail, count(*) OVER () FROM {rows} LIMIT 1"  # noqa: S608  a rule is a constant
    for subject, detail, count in _fetch(query, rule, since):
        return Finding(rule=rule.name, count=count, first=Broken(subject=subject, detail=detail))
    return None


def _fetch(query: str, rule: Rule, since: datetime | None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, {"since": since or EVER, **dict(rule.params)})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
