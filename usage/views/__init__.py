"""The pages of reconciliation."""

from usage.views.pages import list_days, show_day

__all__ = ["list_days", "show_day"]
