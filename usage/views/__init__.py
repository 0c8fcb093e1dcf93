"""The pages of blocked calls, of reconciliation and of quarantine."""

from usage.views.blocked import list_blocked
from usage.views.pages import list_days, show_day
from usage.views.quarantine import assign_row, dismiss_row, list_quarantine, show_quarantined

__all__ = [
    "assign_row",
    "dismiss_row",
    "list_blocked",
    "list_days",
    "list_quarantine",
    "show_day",
    "show_quarantined",
]
