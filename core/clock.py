"""The only place that reads the time, so that tests can move it and every rule agrees on it.

Whatever decides on a moment goes by the database's clock, here too: a machine whose own clock is minutes off
would lengthen grants and forget who has just signed in.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

log = structlog.get_logger(__name__)

TRUSTED_WITHIN = timedelta(seconds=5)  # more than an answer of the database takes
JOB_SECONDS = 30.0  # half of the limit of a job: what it is at is done before


@dataclass(slots=True)
class _Own:
    """How far the database's clock is ahead of this machine's."""

    behind: timedelta = timedelta()


_own = _Own()


def now() -> datetime:
    """Return the current moment, aware, in UTC.

    Holds, leases and grants are decided by the database itself; this one stamps records and pages.
    """
    return datetime.now(UTC) + _own.behind


def heed(database_now: datetime) -> None:
    """Go by the database's clock, which has just told this, unless this one agrees within five seconds."""
    if abs(database_now - now()) > TRUSTED_WITHIN:
        _own.behind = database_now - datetime.now(UTC)
        log.warning("clock.differs", behind_seconds=round(_own.behind.total_seconds(), 1))


def time_left(seconds: float | None = None) -> Callable[[], bool]:
    """Return what says whether a job that begins now should go on: it stops in time by itself, and its next
    run goes on where it stopped.
    """
    ends_at = time.monotonic() + (JOB_SECONDS if seconds is None else seconds)
    return lambda: time.monotonic() < ends_at
