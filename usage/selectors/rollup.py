"""The one door to the day roll-up: every figure of spend on a page, in a CSV, in the API, in a metric and in
an export is a sum over these rows.

Nothing else reads the table, and nothing that people see reads the events (tests/usage/test_one_source.py).
"""

from typing import Any

from django.db.models import QuerySet

from usage.models import ProjectDay, UsageDay
from usage.types import Period, Scope

TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
# The day before which the roll-up is folded by project (usage_fold), in SQL.
FOLDED = "coalesce((SELECT min(until) FROM usage_folded), '-infinity')"
EVERYTHING = Scope(label="Organisation", everything=True)


def days_of(scope: Scope) -> QuerySet[UsageDay]:
    """Return the roll-up rows of a scope since the beginning."""
    return UsageDay.objects.filter(scope.rows)


def days_by_project(scope: Scope) -> tuple[str, tuple[Any, ...]]:
    """Return SQL that gives `project_id`, `day` and `cost_usd`, for the sums by them, with its terms.

    Days that are folded are read as such, a row a project in place of one a key and model. Raises
    EmptyResultSet for a scope without anything in it.
    """
    rows, terms = _sql(days_of(scope))
    if scope.key_ids != ():  # a folded day does not tell keys apart
        return rows, terms
    folded, folded_terms = _sql(ProjectDay.objects.filter(scope.rows))
    both = f"""
        SELECT project_id, day, cost_usd FROM ({folded}) f WHERE day < {FOLDED}
        UNION ALL SELECT project_id, day, cost_usd FROM ({rows}) r WHERE day >= {FOLDED}
    """  # noqa: S608  the input is in the terms
    return both, (*folded_terms, *terms)


def _sql(rows: QuerySet[Any]) -> tuple[str, tuple[Any, ...]]:
    return rows.values("project_id", "day", "cost_usd").order_by().query.sql_with_params()


def days_in(scope: Scope, period: Period) -> QuerySet[UsageDay]:
    """Return the roll-up rows of a scope and period."""
    return days_of(scope).filter(day__gte=period.first_day, day__lte=period.last_day)
