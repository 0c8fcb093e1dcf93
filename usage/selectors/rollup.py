"""The one door to the day roll-up: every figure of spend on a page, in a CSV, in the API, in a metric and in
an export is a sum over these rows.

Nothing else reads the table, and nothing that people see reads the events (tests/usage/test_one_source.py).
"""

from django.db.models import QuerySet

from usage.models import UsageDay
from usage.types import Period, Scope

TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
EVERYTHING = Scope(label="Organisation", everything=True)


def days_of(scope: Scope) -> QuerySet[UsageDay]:
    """Return the roll-up rows of a scope since the beginning."""
    return UsageDay.objects.filter(scope.rows)


def days_in(scope: Scope, period: Period) -> QuerySet[UsageDay]:
    """Return the roll-up rows of a scope and period."""
    return days_of(scope).filter(day__gte=period.first_day, day__lte=period.last_day)
