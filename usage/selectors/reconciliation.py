"""Reads the reconciliations: by day, source and level, and what differs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, JSONField, Q, QuerySet, Subquery, Value
from django.db.models.expressions import RawSQL

from catalog.models import Provider
from core.errors import NotFoundError
from core.money import ZERO
from core.sorting import Order, SqlColumn
from usage.models import (
    Discrepancy,
    DiscrepancyState,
    ImportCursor,
    Invoice,
    LedgerCorrection,
    Level,
    PeriodClose,
    ProviderAccount,
    Quarantine,
    ReconciliationRun,
    SourceKind,
)

DAYS_SHOWN = 31
CALLS_SHOWN = 200
ROWS_SHOWN = 300
BY_KIND_SQL = """
    SELECT coalesce(jsonb_agg(jsonb_build_array(k.kind, k.count, k.oldest, k.usd::text, k.unpriced)), '[]')
    FROM (
      SELECT d.kind, count(*) AS count, min(d.opened_at) AS oldest, sum(abs(d.amount_usd)) AS usd,
        count(*) FILTER (WHERE d.detail ? 'unpriced') AS unpriced
      FROM usage_discrepancy d WHERE d.run_id = usage_reconciliationrun.id AND d.state = 'open' GROUP BY 1) k
"""
BY_KIND = RawSQL(BY_KIND_SQL, [], output_field=JSONField())  # noqa: S611  a constant
NEWEST_DAY_FIRST = Order(name="day", falls=True)
SORTED_BY: Mapping[str, SqlColumn] = {
    "what": "external_id",
    "class": "kind",
    "day": "run__day",
    "amount": "amount_usd",
    "owner": F("owner__name"),
    "since": "opened_at",
    "state": "state",
}
OPEN = Q(discrepancies__state=DiscrepancyState.OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a list is narrowed down to; empty is everything. `state` is open unless said otherwise."""

    first_day: date
    day: date | None = None
    level: str = ""
    source: str = ""
    kind: str = ""
    state: str = ""

    @property
    def of_runs(self) -> dict[str, Any]:
        """Return the condition on runs."""
        given = {"level": self.level, "source": self.source}
        days = {"day": self.day} if self.day else {"day__gte": self.first_day}
        return {**days, **{name: value for name, value in given.items() if value}}

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
    """Open differences of one day, level and class: how many, since when, and their amounts without signs.

    What no price tells the worth of is not in the amount; `unpriced` counts the differences with such.
    """

    day: date
    level: int
    kind: str
    differences: int
    oldest_at: datetime
    amount_usd: Decimal
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """The open differences of one level: how many, their amounts without signs, and those without a price."""

    differences: int = 0
    amount_usd: Decimal = ZERO
    unpriced: int = 0


def cursors() -> list[ImportCursor]:
    """Return how far the journal of each gateway that is read has been read. One query."""
    return list(ImportCursor.objects.filter(kind=SourceKind.JOURNAL, closed_at=None).order_by("source"))


def source_names() -> dict[str, str]:
    """Return what people call provider accounts and bills, by their public ids. One query."""
    bills = Invoice.objects.filter(superseded_at__isnull=True).order_by()
    rows = (
        ProviderAccount.objects.order_by()
        .values_list("public_id", "provider", "name")
        .union(bills.values_list("public_id", Value("bill"), "number"))
    )
    words = {**dict(Provider.choices), "bill": "Bill"}
    return {public_id: f"{words[kind]} {name}" for public_id, kind, name in rows}


def recent_runs(wanted: Wanted, month: date) -> list[ReconciliationRun]:
    """Return runs, the newest first, 300 at most; `open_calls` differ, `by_kind` says how. One query.

    Each says how far a month is closed too, in `month_state`; None is open.
    """
    close = PeriodClose.objects.filter(month=month).values("state")
    rows = _counted().filter(**wanted.of_runs).annotate(by_kind=BY_KIND, month_state=Subquery(close))
    return list(rows.order_by("-day", "source", "level")[:ROWS_SHOWN])


def drift(runs: Iterable[Any], wanted: Wanted) -> list[Drift]:
    """Return the open differences of runs by day, level and class, in the order of the runs. No query."""
    places: dict[tuple[date, int, str], list[Any]] = {}
    for run in runs:
        for kind, count, oldest, usd, unpriced in run.by_kind:
            if wanted.kind in {"", kind}:
                found = (count, oldest, Decimal(usd), unpriced)
                places.setdefault((run.day, run.level, kind), []).append(found)
    return [
        Drift(
            day=day,
            level=level,
            kind=kind,
            differences=sum(each[0] for each in rows),
            oldest_at=datetime.fromisoformat(min(each[1] for each in rows)),
            amount_usd=sum((each[2] for each in rows), ZERO),
            unpriced=sum(each[3] for each in rows),
        )
        for (day, level, kind), rows in sorted(
            places.items(), key=lambda item: (-item[0][0].toordinal(), item[0])
        )
    ]


def open_by_level(drifts: Iterable[Drift]) -> dict[Level, Open]:
    """Return what is open of each level. No query."""
    sums = dict.fromkeys(Level, Open())
    for each in drifts:
        level, so_far = Level(each.level), sums[Level(each.level)]
        sums[level] = Open(
            differences=so_far.differences + each.differences,
            amount_usd=so_far.amount_usd + each.amount_usd,
            unpriced=so_far.unpriced + each.unpriced,
        )
    return sums


def differences_of(wanted: Wanted, *, order: Order = NEWEST_DAY_FIRST) -> QuerySet[Discrepancy]:
    """Return differences with their runs and owners, by a column of SORTED_BY. One query when read."""
    rows = Discrepancy.objects.filter(**wanted.of_differences).select_related("run", "owner")
    return rows.order_by(*order.sql(SORTED_BY, "-run__day", "run__level", "kind", "external_id", "pk"))


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
    """Return the names of all sources: gateways as they are handed in, accounts and bills. One query."""
    return {**source_names(), **names}


def _counted() -> QuerySet[ReconciliationRun, Any]:
    return ReconciliationRun.objects.annotate(open_calls=Count("discrepancies", filter=OPEN))
