"""The pages of blocked calls, of reconciliation and of the months of the books."""

from usage.views.blocked import list_blocked
from usage.views.differences import assign_difference, resolve_difference, show_difference
from usage.views.pages import list_days, show_day
from usage.views.periods import close_for_good, close_softly, list_periods, reopen, show_period

__all__ = [
    "assign_difference",
    "close_for_good",
    "close_softly",
    "list_blocked",
    "list_days",
    "list_periods",
    "reopen",
    "resolve_difference",
    "show_day",
    "show_difference",
    "show_period",
]
