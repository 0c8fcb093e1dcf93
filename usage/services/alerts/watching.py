"""Watches how fast projects spend and warns of those that have come to spend more than they usually do.

Each run reads the calls since the last one, once, by their moment; nothing is added to the settlement of a
call. What is told later than `LAG` after it was called is not seen here.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db import connection, transaction

from core import clock
from core.money import ZERO
from usage.drift import SLOT, WEEK, WEEKS, Drift, follow, usual_of
from usage.models import SpendDrift, SpendPace, SpendWarning, SpendWatch
from usage.selectors.periods import organisation_today
from usage.services.alerts.warning import tell

log = structlog.get_logger(__name__)

LAG = timedelta(minutes=15)  # for calls that run for minutes, and gateways that are read each minute
MOST_TOGETHER = timedelta(hours=4)  # of calls in one run; the first four weeks take 168 of them
KNOWN = WEEKS * WEEK
PACE_KEPT = KNOWN + WEEK
FIRST = 1

Slots = Mapping[tuple[int, datetime], Decimal]
Pace = Mapping[tuple[int, datetime], tuple[float, Decimal]]


@transaction.atomic
def watch_spend(*, at: datetime | None = None) -> int:
    """Look at what was spent since the last time, and return how many projects were warned of.

    At most one warning a project and day. Nobody looks twice at a time: a second run at once does nothing. A
    project is known for four weeks before it is warned of. A fixed number of queries.
    """
    watch = _locked_watch()
    if watch is None:
        return 0
    end = _slot_of((at or clock.now()) - LAG)
    start = max(watch.through or end - KNOWN, end - PACE_KEPT)
    end = min(end, start + MOST_TOGETHER)
    if end <= start:
        return 0
    warned = _follow(_keep_pace(start, end), start, end)
    watch.through = end
    watch.save(update_fields=["through"])
    SpendWarning.objects.bulk_create(warned, ignore_conflicts=True)
    mine = SpendWarning.objects.filter(public_id__in=[warning.public_id for warning in warned])
    told = list(mine.select_related("project__team").order_by("pk")) if warned else []
    if told:
        tell(told)
        log.info("spend.warnings", told=len(told))
    return len(told)


def forget_pace() -> int:
    """Delete the hours that no usual is made of any more, and return how many there were."""
    deleted, _ = SpendPace.objects.filter(hour__lt=clock.now() - PACE_KEPT).delete()
    return deleted


def _locked_watch() -> SpendWatch | None:
    """Return the row of the watch under its lock, None while somebody else looks."""
    SpendWatch.objects.get_or_create(pk=FIRST)
    return SpendWatch.objects.select_for_update(no_key=True, skip_locked=True).order_by("pk").first()


def _slot_of(moment: datetime) -> datetime:
    minutes = SLOT // timedelta(minutes=1)
    return moment.replace(minute=moment.minute - moment.minute % minutes, second=0, microsecond=0)


def _keep_pace(start: datetime, end: datetime) -> Slots:
    """Sum the calls of a time by project and slot, and keep the sums of the hours."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT project_id, slot, usd FROM usage_keep_pace(%s, %s)", [start, end])
        return {(project, slot): usd for project, slot, usd in cursor.fetchall()}


def _follow(slots: Slots, start: datetime, end: datetime) -> list[SpendWarning]:
    """Follow the drift of every project through a time, and return what has to be warned of."""
    rows = {row.project_id: row for row in SpendDrift.objects.order_by("project_id")}
    new: dict[int, SpendDrift] = {}
    for project, slot in slots:  # in the order of time
        if project not in rows:
            new.setdefault(project, SpendDrift(project_id=project, watched_since=slot))
    times = [start + number * SLOT for number in range((end - start) // SLOT)]
    pace = _pace_before({_hour_of(slot) for slot in times})
    warned: dict[tuple[int, object], SpendWarning] = {}
    changed = list(new.values())  # nobody knows yet what is usual for them
    for project, row in rows.items():
        drift = _drift_of(row)
        for slot in times:
            if row.watched_since > slot - KNOWN:
                continue
            drift = follow(
                drift,
                slots.get((project, slot), ZERO),
                usual_of(*_usual_sums(pace, project, _hour_of(slot))),
                at=slot,
            )
            if drift.is_warning:
                warning = _warning(project, drift, slot + SLOT)
                warned.setdefault((project, warning.day), warning)
        if _drift_of(row) != drift:
            row.height, row.since = drift.height, drift.since
            row.spent_usd, row.usual_usd = drift.spent_usd, drift.usual_usd
            changed.append(row)
    _keep(changed)
    return list(warned.values())


def _pace_before(hours: Collection[datetime]) -> Pace:
    """Read what the same hours of the week cost in the weeks before."""
    known = {hour - weeks * WEEK for hour in hours for weeks in range(1, WEEKS + 1)}
    rows = SpendPace.objects.filter(hour__in=known).order_by()
    return {
        (project, hour): (roots, usd)
        for project, hour, roots, usd in rows.values_list("project_id", "hour", "root_sum", "cost_usd")
    }


def _usual_sums(pace: Pace, project: int, hour: datetime) -> tuple[float, Decimal]:
    found = [pace.get((project, hour - weeks * WEEK), (0.0, ZERO)) for weeks in range(1, WEEKS + 1)]
    return sum(roots for roots, _ in found), sum((usd for _, usd in found), ZERO)


def _hour_of(slot: datetime) -> datetime:
    return slot.replace(minute=0)


def _drift_of(row: SpendDrift) -> Drift:
    return Drift(height=row.height, since=row.since, spent_usd=row.spent_usd, usual_usd=row.usual_usd)


def _warning(project: int, drift: Drift, at: datetime) -> SpendWarning:
    return SpendWarning(
        project_id=project,
        day=organisation_today(at),
        since=drift.since or at,
        warned_at=at,
        spent_usd=drift.spent_usd,
        usual_usd=drift.usual_usd,
    )


def _keep(rows: Collection[SpendDrift]) -> None:
    SpendDrift.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["project"],
        update_fields=["height", "since", "spent_usd", "usual_usd"],
    )
