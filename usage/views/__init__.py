"""The pages of blocked calls, of reconciliation, and of pricing the past again."""

from usage.views.blocked import list_blocked
from usage.views.pages import list_days, show_day
from usage.views.repricing import list_repricings, new_repricing, show_repricing

__all__ = [
    "list_blocked",
    "list_days",
    "list_repricings",
    "new_repricing",
    "show_day",
    "show_repricing",
]
