"""What can be done with usage: book what a gateway's journal holds, compare the two sides, keep the tables
in shape.
"""

from usage.services.holds import expire_holds, make_partitions, reclaim_leases
from usage.services.ingest import IngestCounts, ingest_page, pull_source
from usage.services.periods import close_period, reopen_period, soft_close_period
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
    reconcile_volumes,
)

__all__ = [
    "IngestCounts",
    "accept",
    "assign",
    "close_period",
    "confirm_price",
    "correct",
    "expire_holds",
    "explain",
    "ingest_page",
    "make_partitions",
    "pull_source",
    "reclaim_leases",
    "reconcile_costs",
    "reconcile_day",
    "reconcile_due_accounts",
    "reconcile_invoice",
    "reconcile_volumes",
    "reopen_period",
    "soft_close_period",
]
