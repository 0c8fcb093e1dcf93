"""The only place that reads the time, so that tests can move it and every rule agrees on it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

JOB_SECONDS = 60.0  # half of the limit of most jobs: what they are at is done before


def now() -> datetime:
    """Return the current moment, aware, in UTC.

    Holds, leases and grants are decided by the database's clock; this one stamps records and pages.
    """
    return datetime.now(UTC)


def time_left(seconds: float = JOB_SECONDS) -> Callable[[], bool]:
    """Return what says whether a job that begins now should go on: it stops in time by itself, and its next
    run goes on where it stopped.
    """
    ends_at = time.monotonic() + seconds
    return lambda: time.monotonic() < ends_at
