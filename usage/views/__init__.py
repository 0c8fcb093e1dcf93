"""The pages of blocked calls, of reconciliation and of reports."""

from usage.views.blocked import list_blocked
from usage.views.pages import list_days, show_day
from usage.views.reports import export_focus, list_teams, show_statement

__all__ = ["export_focus", "list_blocked", "list_days", "list_teams", "show_day", "show_statement"]
