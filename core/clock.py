"""The only place that reads the time, so that tests can move it and every rule agrees on it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current moment, aware, in UTC.

    Holds, leases and grants are decided by the database's clock; this one stamps records and pages.
    """
    return datetime.now(UTC)
