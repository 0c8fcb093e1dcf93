"""The pages of blocked calls and of reconciliation."""

from usage.views.blocked import list_blocked
from usage.views.pages import list_days, show_day

__all__ = ["list_blocked", "list_days", "show_day"]
