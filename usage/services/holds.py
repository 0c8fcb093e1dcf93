"""Upkeep by the database's clock: charge what was never settled, make the next months' tables."""

from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction

from core import clock

BATCH = 200


def expire_holds() -> int:
    """Charge every call that was allowed and never settled, at its input bound, and return how many there
    were.

    A call is due HOLD_GRACE_SECONDS after its reservation's time; hold and charge change places in one
    statement.
    """
    done = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT usage_expire(make_interval(secs => %s), %s, %s)",
                [settings.HOLD_GRACE_SECONDS, BATCH, settings.TIME_ZONE],
            )
            charged: int = cursor.fetchone()[0]
        done += charged
        if charged < BATCH:
            return done


def reclaim_leases() -> int:
    """Give back what ended leases still hold, HOLD_GRACE_SECONDS after their last call must have ended.

    Return how many there were.
    """
    done = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT usage_reclaim_lease(make_interval(secs => %s))", [settings.HOLD_GRACE_SECONDS]
            )
            if not cursor.fetchone()[0]:
                return done
        done += 1


def make_partitions() -> int:
    """Make the monthly tables up to three months ahead and return how many were missing."""
    today = clock.now().date()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT usage_make_partitions(%s, %s)", [today - timedelta(days=62), today + timedelta(days=92)]
        )
        made: int = cursor.fetchone()[0]
    return made
