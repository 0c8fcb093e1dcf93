"""Upkeep by the database's clock: charge what was never settled, make the next months' tables."""

from datetime import timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction

from budgets.models import Lease
from core import clock
from usage.selectors.doubt import in_doubt

log = structlog.get_logger(__name__)

BATCH = 200


def expire_holds() -> int:
    """Charge every call that was allowed and never settled, at its input bound, and return how many there
    were.

    A call is due HOLD_GRACE_SECONDS after its reservation's time; hold and charge change places in one
    statement.
    """
    done, goes_on = 0, clock.time_left()
    while goes_on():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT usage_expire(make_interval(secs => %s), %s, %s)",
                [settings.HOLD_GRACE_SECONDS, BATCH, settings.TIME_ZONE],
            )
            charged: int = cursor.fetchone()[0]
        done += charged
        if charged < BATCH:
            break
    return done


def reclaim_leases() -> int:
    """Give back what ended leases still hold, HOLD_GRACE_SECONDS after their last call must have ended.

    Return how many there were. What calls of a lost gateway may have used of it, and nobody is charged, is
    told to the log.
    """
    done, goes_on = 0, clock.time_left()
    while goes_on():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM usage_reclaim_lease(make_interval(secs => %s))", [settings.HOLD_GRACE_SECONDS]
            )
            (lease_id,) = cursor.fetchone()
        if lease_id is None:
            break
        _tell_of_doubt(lease_id)
        done += 1
    return done


def _tell_of_doubt(lease_id: int) -> None:
    for lease in in_doubt(Lease.objects.filter(pk=lease_id)):
        log.warning(
            "lease.ended_unheard",
            lease=lease.public_id,
            gateway=lease.source,
            node=lease.node,
            in_doubt_usd=f"{lease.unheard_usd:f}",
        )


def make_partitions() -> int:
    """Make the monthly tables up to three months ahead and return how many were missing."""
    today = clock.now().date()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT usage_make_partitions(%s, %s)", [today - timedelta(days=62), today + timedelta(days=92)]
        )
        made: int = cursor.fetchone()[0]
    return made
