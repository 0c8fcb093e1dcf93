"""Reads the reconciliations: by day, source and level, and what differs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Min, Q, QuerySet, Sum
from django.db.models.functions import Abs

from core.errors import NotFoundError
from usage.models import (
    Discrepancy,
    DiscrepancyState,
    ImportCursor,
    Invoice,
    LedgerCorrection,
    ProviderAccount,
    Quarantine,
    ReconciliationRun,
    SourceKind,
)

DAYS_SHOWN = 31
CALLS_SHOWN = 200
ROWS_SHOWN = 100
OPEN = Q(discrepancies__state=DiscrepancyState.OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a list is narrowed down to; empty is everything. `state` is open unless said otherwise."""

    first_day: date
    level: str = ""
    source: str = ""
    kind: str = ""
    state: str = ""

    @property
    def of_runs(self) -> dict[str, Any]:
        """Return the condition on runs."""
        given = {"level": self.level, "source": self.source}
        return {"day__gte": self.first_day, **{name: value for name, value in given.items() if value}}

    @property
    def of_differences(self) -> dict[str, Any]:
        """Return the condition on differences."""
        given = {"kind": self.kind, "state": self.state}
        return {
            **{f"run__{name}": value for name, value in self.of_runs.items()},
            **{name: value for name, value in given.items() if value},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Differences of one day, level and class: how many, since when, and their amounts without signs."""

    day: date
    level: int
    kind: str
    differences: int
    oldest_at: datetime
    amount_usd: Decimal


def cursors() -> list[ImportCursor]:
    """Return how far each gateway's journal has been read. One query."""
    return list(ImportCursor.objects.filter(kind=SourceKind.JOURNAL).order_by("source"))


def source_names() -> dict[str, str]:
    """Return what people call provider accounts and bills, by their public ids. Two queries."""
    accounts = {account.public_id: str(account) for account in ProviderAccount.objects.all()}
    bills = Invoice.objects.filter(superseded_at__isnull=True).values_list("public_id", "number")
    return {**accounts, **{public_id: f"Bill {number}" for public_id, number in bills}}


def recent_runs(wanted: Wanted) -> list[ReconciliationRun]:
    """Return runs, the newest first, 100 at most; `open_calls` still differ. One query."""
    rows = _counted().filter(**wanted.of_runs)
    return list(rows.order_by("-day", "source", "level")[:ROWS_SHOWN])


def drift(wanted: Wanted) -> list[Drift]:
    """Return the differences by day, level and class, the newest day first, 100 at most. One query."""
    rows = (
        Discrepancy.objects.filter(**wanted.of_differences)
        .values(day=F("run__day"), level=F("run__level"), what=F("kind"))
        .annotate(count=Count("pk"), oldest=Min("opened_at"), amount=Sum(Abs("amount_usd")))
        .order_by("-day", "level", "what")[:ROWS_SHOWN]
    )
    return [
        Drift(
            day=row["day"],
            level=row["level"],
            kind=row["what"],
            differences=row["count"],
            oldest_at=row["oldest"],
            amount_usd=row["amount"],
        )
        for row in rows
    ]


def differences_page(wanted: Wanted, *, first: int, limit: int) -> list[Discrepancy]:
    """Return differences with their runs and owners, the newest day first. One query."""
    rows = Discrepancy.objects.filter(**wanted.of_differences).select_related("run", "owner")
    return list(rows.order_by("-run__day", "run__level", "kind", "external_id", "pk")[first : first + limit])


def find_run(source: str, day: date, level: str = "") -> Any:
    """Return the run of a source's UTC day with `open_calls`, of the first level unless one is named.

    One query. Raises NotFoundError.
    """
    found = _counted().filter(source=source, day=day)
    if level:
        found = found.filter(level=level if level.isdecimal() else 0)
    run = found.order_by("level").first()
    if run is None:
        raise NotFoundError("This day was not reconciled with this source, or there is no such source.")
    return run


def find_difference(public_id: str) -> Discrepancy:
    """Return a difference with its run, owner and who closed it. One query. Raises NotFoundError."""
    found = Discrepancy.objects.select_related("run", "owner", "closed_by").filter(public_id=public_id)
    difference = found.first()
    if difference is None:
        raise NotFoundError("There is no such difference.")
    return difference


def corrections_of(difference: Discrepancy) -> list[LedgerCorrection]:
    """Return the entries by which the ledger followed, the newest first, 200 at most. One query."""
    return list(difference.corrections.select_related("entry", "actor").order_by("-pk")[:CALLS_SHOWN])


def differences(run: ReconciliationRun) -> list[Discrepancy]:
    """Return what differs in a run, the open ones first, 200 at most. One query."""
    found = run.discrepancies.annotate(is_closed=Q(closed_at__isnull=False))
    return list(found.order_by("is_closed", "external_id", "pk")[:CALLS_SHOWN])


def quarantined(run: ReconciliationRun) -> list[Quarantine]:
    """Return the rows of the source that could not be booked on that UTC day, 200 at most. One query."""
    start = datetime.combine(run.day, time.min, tzinfo=UTC)
    return list(
        Quarantine.objects.filter(
            source=run.source, seen_at__gte=start, seen_at__lt=start + timedelta(days=1)
        )
        .select_related("resolved_by")
        .order_by("resolved_at", "-seen_at", "pk")[:CALLS_SHOWN]
    )


def names_with(names: Mapping[str, str]) -> dict[str, str]:
    """Return the names of all sources: gateways as they are handed in, accounts and bills. Two queries."""
    return {**source_names(), **names}


def _counted() -> QuerySet[ReconciliationRun, Any]:
    return ReconciliationRun.objects.annotate(open_calls=Count("discrepancies", filter=OPEN))
