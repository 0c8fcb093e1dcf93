"""Leases that ended without a word from their gateway: what its last calls may have used, charged to nobody.

A gateway writes down what it allows before it sends it (docs/adr/0008), so once its journal was read after
the end of a lease, nothing of it is in doubt. What stays is that of a host which was lost with its journal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Count, Exists, OuterRef, QuerySet, Sum

from budgets.models import Lease
from usage.models import ImportCursor, SourceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """How many leases of a gateway ended unheard, and at most how many US dollars its calls used of them."""

    leases: int
    most_usd: Decimal


def in_doubt(leases: QuerySet[Lease]) -> QuerySet[Lease]:
    """Keep the leases that ended unheard and whose gateway's journal was not read since their end."""
    read_since = ImportCursor.objects.filter(
        source=OuterRef("source"), kind=SourceKind.JOURNAL, last_success_at__gt=OuterRef("expires_at")
    )
    return leases.filter(unheard_usd__gt=0).exclude(Exists(read_since))


def doubts_by_gateway(*, since: datetime) -> Mapping[str, Doubt]:
    """Return what is in doubt of leases that ended from a moment on, by gateways' public ids. One query."""
    found = in_doubt(Lease.objects.filter(closed_at__gte=since)).values("source").order_by()
    rows = found.annotate(leases=Count("pk"), most_usd=Sum("unheard_usd"))
    return {row["source"]: Doubt(leases=row["leases"], most_usd=row["most_usd"]) for row in rows}
