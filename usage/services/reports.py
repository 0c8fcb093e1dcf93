"""Keeps what providers say of usage and cost: every version of every figure, a whole day or nothing of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F, QuerySet

from core import clock
from usage.models import ImportCursor, ProviderAccount, ProviderCost, ProviderUsage, SourceKind
from usage.ports import CostDayRead, ProviderReports, SourceUnavailableError, UsageDayRead
from usage.services import cursors

log = structlog.get_logger(__name__)

SEPARATOR = ":"
FIRST_DAYS = 31  # how far before its registration an account is read
READING = timedelta(seconds=40)  # then a pull stops with the day that it is at; the next one goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One kind of report: its table, what identifies a figure, and what a figure says.

    Figures are final so long after the end of their UTC day; `overlap` days are read again with every pull,
    because providers correct days that they have told.
    """

    table: type[ProviderUsage] | type[ProviderCost]
    identity: tuple[str, ...]
    says: tuple[str, ...]
    final_after: timedelta
    overlap: timedelta


REPORTS: Mapping[SourceKind, Report] = {
    SourceKind.USAGE: Report(
        table=ProviderUsage,
        identity=("upstream_key", "upstream_project", "model_name", "context"),
        says=(
            *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
            *("requests", "units"),
        ),
        final_after=timedelta(days=1),
        overlap=timedelta(days=3),
    ),
    SourceKind.COST: Report(
        table=ProviderCost,
        identity=("upstream_key", "upstream_project", "line_item", "model_name"),
        says=("amount_usd",),
        final_after=timedelta(days=3),
        overlap=timedelta(days=7),
    ),
}


@dataclass(slots=True, kw_only=True)
class VersionCounts:
    """What became of the figures that were read. `gone` are those that a provider told before and no more."""

    days: int = 0
    read: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0

    def add(self, other: "VersionCounts") -> None:
        """Add another day's counts to these."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def source_name(account: ProviderAccount, kind: SourceKind) -> str:
    """Return the name under which the cursor of an account's report is kept."""
    return f"{account.public_id}{SEPARATOR}{kind}"


def pull_report(*, account: ProviderAccount, kind: SourceKind, reports: ProviderReports) -> VersionCounts:
    """Read an account's usage or costs from the cursor, less the overlap, to today.

    Each whole day is kept in one transaction with the cursor. A source that fails is written down on its
    cursor, where pages show it, and raises no further; the days before stand. Nothing is read while another
    reader has the source, or before its next attempt.
    """
    total = VersionCounts()
    name = source_name(account, kind)
    cursors.open_cursor(source=name, kind=kind)
    if not cursors.claim(source=name):
        return total
    started = clock.now()
    try:
        go_on = _read_days(account, kind, reports, started, total)
    except SourceUnavailableError as error:
        cursors.note_failure(source=name, error=error)
    else:
        cursors.note_success(source=name, go_on=go_on)
    return total


@transaction.atomic
def keep_day(
    *, account: ProviderAccount, kind: SourceKind, told: UsageDayRead | CostDayRead, read_at: datetime
) -> VersionCounts:
    """Keep all that a provider says of one UTC day, as it was told at `read_at`.

    An unchanged figure writes nothing but how fresh it is (it may become final), a changed one supersedes the
    version before, and one that is told no more is superseded by none. A reading older than what is there
    changes nothing. Figures are final by the moment up to which the provider says it has counted, or without
    one by that of the reading.
    """
    report = REPORTS[kind]
    ProviderAccount.objects.select_for_update(no_key=True).order_by("pk").get(pk=account.pk)
    table: Any = report.table
    current = {
        _values(row, report.identity): row
        for row in table.objects.filter(account=account, day=told.day, superseded_at=None)
    }
    counts = VersionCounts(days=1, read=len(told.figures))
    if any(row.read_at > read_at for row in current.values()):
        return VersionCounts()
    new, old = [], []
    for identity, figure in {_values(figure, report.identity): figure for figure in told.figures}.items():
        row = current.pop(identity, None)
        if row is not None and _values(row, report.says) == _values(figure, report.says):
            counts.unchanged += 1
            continue
        if row is not None:
            old.append(row.pk)
        values = {name: getattr(figure, name) for name in (*report.identity, *report.says)}
        new.append(table(account=account, day=told.day, read_at=read_at, **values))
    counts.changed, counts.new, counts.gone = len(old), len(new) - len(old), len(current)
    old += [row.pk for row in current.values()]
    table.objects.filter(pk__in=old).update(superseded_at=read_at)
    table.objects.bulk_create(new)
    _freshen(table.objects.filter(account=account, day=told.day, superseded_at=None), report, told, read_at)
    return counts


def _freshen(
    rows: QuerySet[Any], report: Report, told: UsageDayRead | CostDayRead, read_at: datetime
) -> None:
    """Write down up to when the provider has counted, and that the figures are final when they are."""
    if told.refreshed_at is not None:
        rows.exclude(data_refreshed_at=told.refreshed_at).update(data_refreshed_at=told.refreshed_at)
    if (told.refreshed_at or read_at) >= _end_of(told.day) + report.final_after:
        rows.filter(final=False).update(final=True)


def _read_days(
    account: ProviderAccount,
    kind: SourceKind,
    reports: ProviderReports,
    started: datetime,
    total: VersionCounts,
) -> bool:
    """Keep day after day; whether there was no time for all of them."""
    name = source_name(account, kind)
    today = started.date()
    first = _first_day(account, kind)
    days: Iterator[UsageDayRead | CostDayRead] = (
        reports.usage(first, today) if kind == SourceKind.USAGE else reports.costs(first, today)
    )
    newest = None
    for read in days:
        with transaction.atomic():
            counts = keep_day(account=account, kind=kind, told=read, read_at=started)
            _move(
                name, read.day, counts, told_until=min(_end_of(read.day), started) if read.figures else None
            )
        total.add(counts)
        newest = read.day
        if clock.now() - started > READING:
            break
    if newest is None:
        raise SourceUnavailableError("Not one whole day could be read in the time that a pull has.")
    log.info("usage.report_read", source=name, until=str(newest), new=total.new, changed=total.changed)
    if newest < today:
        return True
    ImportCursor.objects.filter(source=name).update(position=newest.isoformat())
    return False


def _first_day(account: ProviderAccount, kind: SourceKind) -> date:
    """Return where to start: the day after the last one that a pull got to before it was cut short, else the
    overlap before the last day that was read.
    """
    newest, _, resume = ImportCursor.objects.get(source=source_name(account, kind)).position.partition(" ")
    if resume:
        return date.fromisoformat(resume)
    if newest:
        return date.fromisoformat(newest) - REPORTS[kind].overlap
    return (account.created_at.astimezone(UTC) - timedelta(days=FIRST_DAYS)).date()


def _move(source: str, day: date, counts: VersionCounts, *, told_until: datetime | None) -> None:
    """Move the cursor on with a day: "the newest day that was read, a space, the day to go on with"."""
    cursor = ImportCursor.objects.select_for_update(no_key=True).order_by("pk").get(source=source)
    newest = max(cursor.position.partition(" ")[0], day.isoformat())
    cursor.position = f"{newest} {day + timedelta(days=1)}"
    cursor.rows_read = F("rows_read") + counts.read
    if told_until and (cursor.last_row_at is None or told_until > cursor.last_row_at):
        cursor.last_row_at = told_until
    cursor.save(update_fields=["position", "rows_read", "last_row_at"])


def _values(row: Any, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in names)


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC) + timedelta(days=1)
