"""How long single calls are kept, and whether the roll-ups that outlive them are their sums."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum

from core import clock, walks
from usage.models import RecountedDay, UsageDay, UsageHour
from usage.selectors.periods import organisation_today

log = structlog.get_logger(__name__)

HOURS_KEPT = timedelta(days=14)
RECOUNT = "recount-usage"
NOT_YET = "not_recounted"  # and will be
LEAST_MONTHS = 2  # a call may still settle, and a bill may still come


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """A day of the roll-up held against its events: how many rows differ, and by how many dollars."""

    day: date
    at: datetime
    calls: int
    differing: int
    difference_usd: Decimal


def recount_yesterday() -> Recount:
    """Recount the organisation's day before today, and keep what came out; the log says when it differs."""
    result = recount(day=organisation_today() - timedelta(days=1))
    outcome = {"day": str(result.day), "calls": result.calls, "differing": result.differing}
    walks.keep(RECOUNT, {**outcome, "usd": str(result.difference_usd)})
    return result


def recount(*, day: date) -> Recount:
    """Recount one day of the roll-up against its events, and log what differs. Changes nothing."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(sum(abs(cost_usd)), 0) FROM usage_recount(%s, %s, %s)",
            [day, day, settings.TIME_ZONE],
        )
        differing, difference_usd = cursor.fetchone()
        calls = UsageDay.objects.filter(day=day).aggregate(calls=Sum("calls"))["calls"] or 0
    result = Recount(day=day, at=clock.now(), calls=calls, differing=differing, difference_usd=difference_usd)
    if differing:
        log.error("usage.recount_differs", day=str(day), rows=differing, usd=str(difference_usd))
    else:
        log.info("usage.recounted", day=str(day), calls=calls)
    return result


def retire_months() -> dict[str, str]:
    """Drop the single calls of months older than USAGE_KEEP_MONTHS, the oldest first; 0 keeps all.

    Return what became of each month that was due. Its days are recounted first, one by one; what there is no
    time for is done in the next run. A month of which a day does not recount stays, and so do those after it.
    """
    outcomes: dict[str, str] = {}
    goes_on = clock.time_left()
    for month in _due_months():
        outcome = _recount_days(month, goes_on)
        if not outcome:
            outcome = _ask("SELECT usage_retire_month(%s, %s)", month, settings.TIME_ZONE)
        outcomes[f"{month:%Y-%m}"] = outcome
        if outcome != "retired":
            level = log.info if outcome == NOT_YET else log.error
            level("usage.month_stays", month=f"{month:%Y-%m}", because=outcome)
            break
        log.info("usage.month_retired", month=f"{month:%Y-%m}")
    return outcomes


def _recount_days(month: date, goes_on: Callable[[], bool]) -> str:
    """Recount the days of a month that were not yet, and return why it stays, if it does."""
    zone = ZoneInfo(settings.TIME_ZONE)
    start = datetime.combine(month, time.min, tzinfo=UTC)
    end = (start + timedelta(days=31)).replace(day=1) - timedelta(microseconds=1)
    first, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    days = {first + timedelta(days=number) for number in range((last - first).days + 1)}
    known = RecountedDay.objects.filter(month=month, zone=settings.TIME_ZONE).values_list("day", flat=True)
    for day in sorted(days - set(known)):
        if not goes_on():
            return NOT_YET
        if _ask("SELECT usage_recount_day(%s, %s, %s)", day, month, settings.TIME_ZONE):
            return "differs"
    return ""


@transaction.atomic
def _ask(query: str, *params: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return cursor.fetchone()[0]


def fold_days() -> int:
    """Sum the days of before ten days by project, where they are not yet or were changed since, and return
    how many rows that made. Another time when somebody is changing one of them.
    """
    return _ask("SELECT usage_fold()") or 0


def forget_hours() -> int:
    """Delete the hours of the roll-up that are older than two weeks and return how many there were."""
    deleted, _ = UsageHour.objects.filter(hour__lt=clock.now() - HOURS_KEPT).delete()
    return deleted


def _due_months() -> list[date]:
    """Read which months there are tables of, and return those that are no longer kept."""
    if not settings.USAGE_KEEP_MONTHS:
        return []
    keep = max(settings.USAGE_KEEP_MONTHS, LEAST_MONTHS)
    today = clock.now().date()
    index = today.year * 12 + today.month - 1 - keep
    first_kept = date(index // 12, index % 12 + 1, 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_date(right(c.relname, 7), 'YYYY_MM') FROM pg_inherits i"
            " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'usage_call'::regclass ORDER BY 1"
        )
        return [month for (month,) in cursor.fetchall() if month < first_kept]
