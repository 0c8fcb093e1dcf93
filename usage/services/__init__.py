"""What can be done with usage: book what a gateway's journal holds, compare the two sides, correct what was
charged, keep the tables in shape.
"""

from usage.services.corrections import Corrected, Correction, correct_calls
from usage.services.holds import expire_holds, make_partitions, reclaim_leases
from usage.services.ingest import IngestCounts, ingest_page, pull_source
from usage.services.reconcile import reconcile_day

__all__ = [
    "Corrected",
    "Correction",
    "IngestCounts",
    "correct_calls",
    "expire_holds",
    "ingest_page",
    "make_partitions",
    "pull_source",
    "reclaim_leases",
    "reconcile_day",
]
