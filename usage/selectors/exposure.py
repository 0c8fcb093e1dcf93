"""What one key did lately: what stops with it, and how much a thief could have spent."""

from datetime import timedelta

from django.db import connection
from django.db.models import Count, F, Max, Q, Sum
from django.db.models.functions import Coalesce

from budgets.models import Entry
from core import clock
from core.money import ZERO
from usage.selectors.periods import last_days, organisation_today
from usage.selectors.rollup import days_of
from usage.types import ExposedTime, KeyExposure, KeyPace, Scope

HOURS, WEEK_DAYS, MONTH_DAYS = 24, 7, 30


def key_exposure(key_id: int) -> KeyExposure:
    """Return the calls and cost of a key in the last 24 hours, 7 days and 30 days, and its last call.

    The hours come from the ledger, whose rows of the last day are found by their time; the days, today
    included, from the roll-up. Three queries.
    """
    call = Coalesce("reservation_id", -F("id"))  # several entries may correct one call
    posted = Entry.objects.filter(
        key_id=key_id, effective_at__gt=clock.now() - timedelta(hours=HOURS)
    ).aggregate(calls=Count(call, distinct=True), usd=Sum("amount_usd"), last=Max("effective_at"))
    today = organisation_today()
    month, week = last_days(today, MONTH_DAYS), last_days(today, WEEK_DAYS)
    this_week = Q(day__gte=week.first_day)
    booked = days_of(Scope(label="Key", key_ids=(key_id,))).aggregate(
        week_calls=Sum("calls", filter=this_week),
        week_usd=Sum("cost_usd", filter=this_week),
        month_calls=Sum("calls", filter=Q(day__gte=month.first_day)),
        month_usd=Sum("cost_usd", filter=Q(day__gte=month.first_day)),
        last=Max("day"),
    )
    return KeyExposure(
        pace=_pace(key_id),
        last_used_at=posted["last"],
        last_used_on=booked["last"],
        times=(
            ExposedTime(label="Last 24 hours", calls=posted["calls"], usd=posted["usd"] or ZERO),
            ExposedTime(label="Last 7 days", calls=booked["week_calls"] or 0, usd=booked["week_usd"] or ZERO),
            ExposedTime(
                label="Last 30 days", calls=booked["month_calls"] or 0, usd=booked["month_usd"] or ZERO
            ),
        ),
    )


def _pace(key_id: int) -> KeyPace:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT hour_usd, most_usd_an_hour FROM usage_pace_of_key(%s, clock_timestamp())", [key_id]
        )
        hour_usd, most_usd = cursor.fetchone()
    return KeyPace(hour_usd=hour_usd, most_usd_an_hour=most_usd)
