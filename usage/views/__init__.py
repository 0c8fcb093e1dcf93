"""The pages of blocked calls, of reconciliation, and of what gateways and providers say."""

from usage.views.blocked import list_blocked
from usage.views.invoices import list_invoices, show_invoice, upload
from usage.views.pages import list_days, show_day
from usage.views.providers import (
    add_account,
    change_key_place,
    close_account,
    list_accounts,
    register_key,
    retire_key,
    show_account,
)
from usage.views.sources import list_sources, read_now

__all__ = [
    "add_account",
    "change_key_place",
    "close_account",
    "list_accounts",
    "list_blocked",
    "list_days",
    "list_invoices",
    "list_sources",
    "read_now",
    "register_key",
    "retire_key",
    "show_account",
    "show_day",
    "show_invoice",
    "upload",
]
