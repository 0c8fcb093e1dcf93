"""Which days were compared with the books of others, and which were left out."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection

from usage.models import Level, ReconciliationRun, RunState
from usage.selectors.rollup import EVERYTHING, days_of

# Says of a run that it stands for a comparison that was never made.
NOT_COMPARED = "Never compared since the day was over. The jobs make up for the last 45 days."
# Days on which a gateway has calls, in the ledger or in its own record.
CALLS_SQL = """
    SELECT p.source, p.day FROM unnest(%(sources)s::text[], %(days)s::date[]) AS p (source, day)
    WHERE EXISTS (SELECT FROM usage_source s JOIN usage_call c ON c.source_id = s.id WHERE s.name = p.source
        AND c.at >= p.day::timestamp AT TIME ZONE 'UTC' AND c.at < (p.day + 1)::timestamp AT TIME ZONE 'UTC')
      OR EXISTS (SELECT FROM usage_gateway_call g WHERE g.source = p.source
        AND g.at >= p.day::timestamp AT TIME ZONE 'UTC' AND g.at < (p.day + 1)::timestamp AT TIME ZONE 'UTC')
    ORDER BY 2, 1
"""
# Days of which a provider told, and which were compared for none of the accounts that are told of together.
TOLD_SQL = """
    SELECT DISTINCT u.day FROM usage_provider_usage u JOIN usage_provideraccount a ON a.id = u.account_id
    WHERE u.day >= %(first)s AND u.day < %(end)s AND u.superseded_at IS NULL AND a.closed_at IS NULL
      AND NOT EXISTS (SELECT FROM usage_reconciliationrun r
        JOIN usage_provideraccount b ON b.public_id = r.source
        WHERE r.level = 2 AND r.day = u.day AND b.provider = a.provider)
"""


def with_calls(pairs: Sequence[tuple[str, date]]) -> list[tuple[str, date]]:
    """Return the pairs of a gateway and a UTC day on which it has calls, the earliest first. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            CALLS_SQL, {"sources": [source for source, _ in pairs], "days": [day for _, day in pairs]}
        )
        return list(cursor.fetchall())


def end_of_day(day: date) -> datetime:
    """Return when a UTC day ends."""
    return datetime.combine(day, time.min, tzinfo=UTC) + timedelta(days=1)


def was_whole(run: ReconciliationRun) -> bool:
    """Whether a day was over, by a day in which what is late comes, when it was last compared."""
    return run.last_run_at >= end_of_day(run.day) + timedelta(days=1)


def days_never_compared(first: date, end: date) -> list[date]:
    """Return the UTC days of [first, end) with calls or providers' figures that nothing was ever held
    against, or only before they were over. Three queries, of which none looks at single calls: whoever does
    marks what a gateway lacks (`left_out`).
    """
    runs = ReconciliationRun.objects.filter(level=Level.CALLS, day__gte=first, day__lt=end)
    # What could not be read is red, which is told apart.
    compared = {run.day for run in runs if run.notice != NOT_COMPARED and _counts(run)}
    left = {run.day for run in runs if run.notice == NOT_COMPARED or (_has_calls(run) and not _counts(run))}
    with connection.cursor() as cursor:
        cursor.execute(TOLD_SQL, {"first": first, "end": end})
        left |= {day for (day,) in cursor.fetchall()}
    used = days_of(EVERYTHING).filter(day__gte=first, day__lt=end, calls__gt=0)
    return sorted(left | (set(used.values_list("day", flat=True).distinct()) - compared))


def left_out(first: date, end: date) -> list[tuple[str, date]]:
    """Return the gateways and UTC days of [first, end) with calls that nothing was ever held against, or only
    before they were over. Three queries, one of which looks at single calls.
    """
    days = [first + timedelta(days=number) for number in range((end - first).days)]
    runs = ReconciliationRun.objects.filter(level=Level.CALLS, day__gte=first, day__lt=end)
    compared = {(run.source, run.day) for run in runs if _counts(run)}
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM usage_source ORDER BY name")
        sources = [name for (name,) in cursor.fetchall()]
    return with_calls([(source, day) for source in sources for day in days if (source, day) not in compared])


def _counts(run: ReconciliationRun) -> bool:
    return run.state == RunState.UNREADABLE or was_whole(run)


def _has_calls(run: ReconciliationRun) -> bool:
    return bool(run.portal_calls or run.gateway_calls)
