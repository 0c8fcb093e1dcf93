"""What can be done with usage: book what a gateway's journal holds, compare the two sides, keep the tables
in shape.
"""

from usage.services.bulk import import_page, import_rows
from usage.services.holds import expire_holds, make_partitions, reclaim_leases
from usage.services.ingest import IngestCounts, ingest_page, pull_source
from usage.services.reconcile import reconcile_day
from usage.services.retention import Recount, forget_hours, recount, recount_yesterday, retire_months

__all__ = [
    "IngestCounts",
    "Recount",
    "expire_holds",
    "forget_hours",
    "import_page",
    "import_rows",
    "ingest_page",
    "make_partitions",
    "pull_source",
    "reclaim_leases",
    "reconcile_day",
    "recount",
    "recount_yesterday",
    "retire_months",
]
