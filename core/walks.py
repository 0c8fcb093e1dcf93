"""Rounds of work that take longer than a job may: each run goes some steps, and the next one goes on.

Where a round has come to is a row of the database, written in the transaction of each step. A worker that is
killed, or a queue that is emptied, loses one step at most; two at once do not do the same.
"""

from collections.abc import Callable, Collection
from datetime import datetime, time, timedelta
from typing import Any

from django.db import transaction

from core import clock
from core.models import Walk

Place = dict[str, Any]
MISSED_AFTER = timedelta(hours=26)  # work of every night
STEP_SECONDS = 20.0  # no step begins later in a run; the last one has the rest of the job's time


def go_on(
    name: str, *, begins: time, step: Callable[[Place], bool], ended: Callable[[Place, datetime], None]
) -> Place | None:
    """Go on with the round that began today at `begins` (UTC), for a while; return what it found at its end.

    `step` moves a place, `{}` at first, and says whether the round is over; its last place is what was found.
    `ended` is told of it in the transaction of the last step. None while there is more to do, and after it.
    """
    goes_on = clock.time_left(STEP_SECONDS)
    while goes_on():
        with transaction.atomic():
            walk = _locked(name)
            if walk is None or (walk.place is None and not _is_due(walk, begins)):
                return None
            if walk.place is None:
                walk.place, walk.begun_at = {}, clock.now()
            if step(walk.place):
                walk.ended_at, walk.outcome, walk.place = clock.now(), walk.place, None
                ended(walk.outcome, walk.ended_at)
                walk.save()
                found: Place = walk.outcome
                return found
            walk.save()
    return None


def keep(name: str, outcome: Place) -> None:
    """Write down what work that takes one step found."""
    now = clock.now()
    Walk.objects.update_or_create(name=name, defaults={"begun_at": now, "ended_at": now, "outcome": outcome})


def last(name: str) -> Walk | None:
    """Return the last whole round of some work; None before the first. One query."""
    return Walk.objects.filter(name=name, ended_at__isnull=False).first()


def last_of(names: Collection[str]) -> dict[str, Walk]:
    """Return the last whole rounds of several works, by name. One query."""
    return {walk.name: walk for walk in Walk.objects.filter(name__in=names, ended_at__isnull=False)}


def is_missed(at: datetime) -> bool:
    """Whether work of every night that ended at a moment was not done last night."""
    return clock.now() - at > MISSED_AFTER


def _locked(name: str) -> Walk | None:
    """Return the row of a round under its lock; None while somebody else is at it."""
    Walk.objects.get_or_create(name=name)
    rows = Walk.objects.select_for_update(no_key=True, skip_locked=True).order_by("pk")
    return rows.filter(name=name).first()


def _is_due(walk: Walk, begins: time) -> bool:
    now = clock.now()
    today = datetime.combine(now.date(), begins, tzinfo=now.tzinfo)
    return walk.begun_at is None or walk.begun_at < (today if today <= now else today - timedelta(days=1))
