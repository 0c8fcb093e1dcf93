"""Reads the reconciliations: portal against gateways, day by day, call by call."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, F, Q, QuerySet

from core.errors import NotFoundError
from usage.models import (
    Discrepancy,
    DiscrepancyState,
    GatewayCall,
    ImportCursor,
    Quarantine,
    ReconciliationRun,
    SourceKind,
    UsageEvent,
)

DAYS_SHOWN = 31
CALLS_SHOWN = 200
OPEN = Q(discrepancies__state=DiscrepancyState.OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A call on which the two sides differ, with its model and moment as far as either side knows them."""

    discrepancy: Discrepancy
    model: str
    at: datetime | None


def cursors() -> list[ImportCursor]:
    """Return how far each gateway's journal has been read. One query."""
    return list(ImportCursor.objects.filter(kind=SourceKind.JOURNAL).order_by("source"))


def recent_runs(today: date) -> list[ReconciliationRun]:
    """Return the runs of the last 31 days, the newest first; `open_calls` still differ. One query."""
    since = today - timedelta(days=DAYS_SHOWN - 1)
    return list(_counted().filter(day__gte=since).order_by("-day", "source"))


def find_run(source: str, day: date) -> Any:
    """Return the run of a source's UTC day with `open_calls`. One query. Raises NotFoundError."""
    run = _counted().filter(source=source, day=day).first()
    if run is None:
        raise NotFoundError("This day was not reconciled with this gateway, or there is no such gateway.")
    return run


def differences(run: ReconciliationRun) -> list[Difference]:
    """Return the calls of a run that differ, the open ones first, 200 at most. Three queries."""
    found = list(
        run.discrepancies.annotate(is_closed=Q(closed_at__isnull=False)).order_by(
            "is_closed", "external_id", "pk"
        )[:CALLS_SHOWN]
    )
    known = _known(run, [discrepancy.external_id for discrepancy in found])
    return [
        Difference(
            discrepancy=one,
            model=known.get(one.external_id, ("", None))[0],
            at=known.get(one.external_id, ("", None))[1],
        )
        for one in found
    ]


def quarantined(run: ReconciliationRun) -> list[Quarantine]:
    """Return the rows of the source that could not be booked on that UTC day, 200 at most. One query."""
    start, end = _bounds(run.day)
    return list(
        Quarantine.objects.filter(source=run.source, seen_at__gte=start, seen_at__lt=end)
        .select_related("resolved_by")
        .order_by("resolved_at", "-seen_at", "pk")[:CALLS_SHOWN]
    )


def _difference(discrepancy: Discrepancy, known: dict[str, tuple[str, datetime]]) -> Difference:
    model, at = known.get(discrepancy.external_id, ("", None))
    return Difference(discrepancy=discrepancy, model=model, at=at)


def _counted() -> QuerySet[ReconciliationRun, Any]:
    return ReconciliationRun.objects.annotate(open_calls=Count("discrepancies", filter=OPEN))


def _known(run: ReconciliationRun, ids: Iterable[str]) -> dict[str, tuple[str, datetime]]:
    """Look the calls up on both sides; where both know one, the portal's word counts."""
    start, end = _bounds(run.day)
    place = {"source": run.source, "external_id__in": list(ids), "at__gte": start, "at__lt": end}
    sides = (
        GatewayCall.objects.filter(**place).values_list("external_id", F("model_name"), "at"),
        UsageEvent.objects.filter(**place).values_list("external_id", F("model__name"), "at"),
    )
    return {external_id: (model, at) for side in sides for external_id, model, at in side}


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime.combine(day, time.min, tzinfo=UTC)
    return start, start + timedelta(days=1)
