"""What can be done with usage: book what a gateway's journal holds, compare the two sides, correct what was
charged, keep the tables in shape.
"""

from usage.services.alerts import forget_pace, tell_of_forecasts, tell_of_spend, watch_spend
from usage.services.bulk import import_page, import_rows
from usage.services.conflicts import tell_of_conflicts
from usage.services.corrections import Corrected, Correction, correct_calls
from usage.services.cursors import read_now
from usage.services.following import follow_settlements
from usage.services.holds import expire_holds, make_partitions, reclaim_leases
from usage.services.ingest import IngestCounts, ingest_page, pull_source
from usage.services.invoices import upload_invoice
from usage.services.logs import book_log_rows, pull_log
from usage.services.periods import close_period, reopen_period, soft_close_period
from usage.services.price_checks import check_prices
from usage.services.reconciliation import (
    accept,
    assign,
    confirm_price,
    correct,
    explain,
    reconcile_costs,
    reconcile_day,
    reconcile_due_accounts,
    reconcile_invoice,
    reconcile_recent_days,
    reconcile_volumes,
)
from usage.services.registry import add_account, close_account, register_key, retire_key
from usage.services.reports import keep_day, pull_report
from usage.services.repricing import approve_repricing, propose_repricing, reject_repricing, run_repricings
from usage.services.retention import (
    RECOUNT,
    fold_days,
    forget_hours,
    recount,
    recount_yesterday,
    retire_months,
)
from usage.services.runaways import join_minutes, stop_runaways

__all__ = [
    "RECOUNT",
    "Corrected",
    "Correction",
    "IngestCounts",
    "accept",
    "add_account",
    "approve_repricing",
    "assign",
    "book_log_rows",
    "check_prices",
    "close_account",
    "close_period",
    "confirm_price",
    "correct",
    "correct_calls",
    "expire_holds",
    "explain",
    "fold_days",
    "follow_settlements",
    "forget_hours",
    "forget_pace",
    "import_page",
    "import_rows",
    "ingest_page",
    "join_minutes",
    "keep_day",
    "make_partitions",
    "propose_repricing",
    "pull_log",
    "pull_report",
    "pull_source",
    "read_now",
    "reclaim_leases",
    "reconcile_costs",
    "reconcile_day",
    "reconcile_due_accounts",
    "reconcile_invoice",
    "reconcile_recent_days",
    "reconcile_volumes",
    "recount",
    "recount_yesterday",
    "register_key",
    "reject_repricing",
    "reopen_period",
    "retire_key",
    "retire_months",
    "run_repricings",
    "soft_close_period",
    "stop_runaways",
    "tell_of_conflicts",
    "tell_of_forecasts",
    "tell_of_spend",
    "upload_invoice",
    "watch_spend",
]
