"""How each source stands: read, late, failing, or without the credential that it needs."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from django.db import connection, models
from django.db.models import Q

from core import clock
from usage.models import ImportCursor, ProviderAccount, SourceKind

LATE_AFTER = {
    SourceKind.JOURNAL: timedelta(minutes=15),
    SourceKind.LOG: timedelta(minutes=15),
    SourceKind.USAGE: timedelta(hours=3),
    SourceKind.COST: timedelta(hours=3),
}
SEPARATOR = ":"
ALONE_SQL = """
    SELECT s.name, d.day FROM usage_source s CROSS JOIN unnest(%(days)s::date[]) AS d (day)
    WHERE s.name <> ALL (%(told)s)
      AND EXISTS (SELECT FROM usage_call c WHERE c.source_id = s.id
        AND c.at >= d.day::timestamp AT TIME ZONE 'UTC' AND c.at < (d.day + 1)::timestamp AT TIME ZONE 'UTC')
      AND NOT EXISTS (SELECT FROM usage_reconciliationrun r
        WHERE r.source = s.name AND r.day = d.day AND r.level = 1 AND NOT r.alone)
    ORDER BY 1, 2
"""


class SourceState(models.TextChoices):
    """How a source stands. One that fails, or has no credential, tells nothing: never "no drift". A gateway
    that keeps no journal or log is none, and listed all the same.
    """

    READ = "read", "Read"
    NEVER = "never", "Not read yet"
    LATE = "late", "Late"
    FAILING = "failing", "Not readable"
    NO_CREDENTIAL = "no_credential", "No credential"
    CLOSED = "closed", "Closed"
    ALONE = "alone", "No other side"


def state_of(cursor: ImportCursor, accounts: dict[str, ProviderAccount]) -> SourceState:
    """Return how a source stands. `accounts` are those of the providers by their public id."""
    if cursor.closed_at is not None:
        return SourceState.CLOSED
    account = accounts.get(cursor.source.partition(SEPARATOR)[0])
    if account is not None and not account.admin_credential:
        return SourceState.NO_CREDENTIAL
    if cursor.last_error:
        return SourceState.FAILING
    if cursor.last_success_at is None:
        return SourceState.NEVER
    late = clock.now() - cursor.last_success_at > LATE_AFTER[SourceKind(cursor.kind)]
    return SourceState.LATE if late else SourceState.READ


def reads_of_gateways() -> list[tuple[str, datetime | None]]:
    """Return the gateway, and when it was last read, of every journal and log that is read. One query."""
    of_gateways = Q(kind=SourceKind.JOURNAL) | Q(kind=SourceKind.LOG) & ~Q(gateway="")
    rows = ImportCursor.objects.filter(of_gateways, closed_at=None)
    told = rows.values_list("gateway", "source", "last_success_at")
    return [(gateway or source, read_at) for gateway, source, read_at in told]


def gateways_told() -> list[str]:
    """Return the gateways that tell of their calls, by their public ids. One query."""
    return sorted({gateway for gateway, _ in reads_of_gateways()})


def gateways_alone(days: Sequence[date]) -> list[tuple[str, date]]:
    """Return the gateways whose calls of these UTC days stand in no second book: they keep no journal or log
    that is read. A day that was compared with one before it was closed stays as it is. Two queries.
    """
    with connection.cursor() as cursor:
        cursor.execute(ALONE_SQL, {"days": list(days), "told": gateways_told()})
        return list(cursor.fetchall())


def accounts_by_id(accounts: Iterable[ProviderAccount]) -> dict[str, ProviderAccount]:
    """Return accounts by their public id."""
    return {account.public_id: account for account in accounts}
