"""What can be done with usage: book what a gateway's journal holds, compare the two sides, keep the tables
in shape.
"""

from usage.services.bulk import import_page, import_rows
from usage.services.cursors import read_now
from usage.services.holds import expire_holds, make_partitions, reclaim_leases
from usage.services.ingest import IngestCounts, ingest_page, pull_source
from usage.services.invoices import upload_invoice
from usage.services.logs import book_log_rows, pull_log
from usage.services.reconcile import reconcile_day
from usage.services.registry import add_account, close_account, register_key, retire_key
from usage.services.reports import keep_day, pull_report
from usage.services.retention import Recount, forget_hours, recount, recount_yesterday, retire_months

__all__ = [
    "IngestCounts",
    "Recount",
    "add_account",
    "book_log_rows",
    "close_account",
    "expire_holds",
    "forget_hours",
    "import_page",
    "import_rows",
    "ingest_page",
    "keep_day",
    "make_partitions",
    "pull_log",
    "pull_report",
    "pull_source",
    "read_now",
    "reclaim_leases",
    "reconcile_day",
    "recount",
    "recount_yesterday",
    "register_key",
    "retire_key",
    "retire_months",
    "upload_invoice",
]
