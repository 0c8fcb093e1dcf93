"""The pages of blocked calls, reconciliation, quarantine, sources, providers, bills, and repricing."""

from usage.views.blocked import list_blocked
from usage.views.differences import assign_difference, resolve_difference, show_difference
from usage.views.invoices import list_invoices, show_invoice, upload
from usage.views.pages import list_days, show_day
from usage.views.periods import close_for_good, close_softly, list_periods, reopen, show_period
from usage.views.providers import (
    add_account,
    change_key_place,
    close_account,
    list_accounts,
    register_key,
    retire_key,
    show_account,
)
from usage.views.quarantine import assign_row, dismiss_row, list_quarantine, show_quarantined
from usage.views.reports import export_focus, list_teams, show_statement
from usage.views.repricing import list_repricings, new_repricing, show_repricing
from usage.views.sources import list_sources, read_now

__all__ = [
    "add_account",
    "assign_difference",
    "assign_row",
    "change_key_place",
    "close_account",
    "close_for_good",
    "close_softly",
    "dismiss_row",
    "export_focus",
    "list_accounts",
    "list_blocked",
    "list_days",
    "list_invoices",
    "list_periods",
    "list_quarantine",
    "list_repricings",
    "list_sources",
    "list_teams",
    "new_repricing",
    "read_now",
    "register_key",
    "reopen",
    "resolve_difference",
    "retire_key",
    "show_account",
    "show_day",
    "show_difference",
    "show_invoice",
    "show_period",
    "show_quarantined",
    "show_repricing",
    "show_statement",
    "upload",
]
