"""The SQL functions of migrations/0002_ledger.sql and the database's clock, as query expressions."""

from typing import Any

from django.db.models import BigIntegerField, DateTimeField, DecimalField, F, Func

from budgets.models import MONEY


class ClockTimestamp(Func):
    """The database's clock at this very moment."""

    function = "clock_timestamp"
    output_field = DateTimeField()


class WindowEdge(Func):
    """The start or the end of a budget's window at a moment; `edge` is `window_start` or `window_end`."""

    output_field = DateTimeField()

    def __init__(self, at: Any, *, edge: str) -> None:
        super().__init__(
            F("window"),
            F("window_anchor"),
            F("time_zone"),
            at,
            template=f"(budgets_window(%(expressions)s)).{edge}",
        )


class LimitAt(Func):
    """The limit of a budget in force at a moment, top-ups included; null is no limit."""

    function = "budgets_limit_at"
    output_field = DecimalField(**MONEY)


class LimitSince(Func):
    """Since when, in a window that began at a moment, the limit of a budget is what it is at another."""

    function = "budgets_limit_since"
    output_field = DateTimeField()


class ScopePart(Func):
    """The project, team or department that a budget's scope is part of now; `part` is `team_id` and so on."""

    output_field = BigIntegerField()

    def __init__(self, part: str) -> None:
        super().__init__(
            F("scope_kind"), F("scope_id"), template=f"(budgets_scope_of(%(expressions)s)).{part}"
        )
