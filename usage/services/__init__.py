"""What can be done with usage: book what a gateway's journal holds, compare the two sides, correct what was
charged, keep the tables in shape.
"""

from usage.services.bulk import import_page, import_rows
from usage.services.corrections import Corrected, Correction, correct_calls
from usage.services.holds import expire_holds, make_partitions, reclaim_leases
from usage.services.ingest import IngestCounts, ingest_page, pull_source
from usage.services.price_checks import check_prices
from usage.services.reconcile import reconcile_day
from usage.services.repricing import (
    approve_repricing,
    propose_repricing,
    reject_repricing,
    run_repricings,
)

__all__ = [
    "Corrected",
    "Correction",
    "IngestCounts",
    "approve_repricing",
    "check_prices",
    "correct_calls",
    "expire_holds",
    "import_page",
    "import_rows",
    "ingest_page",
    "make_partitions",
    "propose_repricing",
    "pull_source",
    "reclaim_leases",
    "reconcile_day",
    "reject_repricing",
    "run_repricings",
]
