"""Plans activity that would look like a runaway: the breaker lets the key spend as fast as planned."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.urls import reverse

from core import clock, outbox
from core.errors import InvalidInputError
from core.money import format_usd
from keys.errors import PlanEndedError
from keys.models import ApiKey, PlannedActivity
from keys.services.common import clean_reason, locked, record, require_oversight, require_usable
from teams.models import User

LONGEST = timedelta(days=7)
FARTHEST = timedelta(days=90)
MOST_USD_AN_HOUR = Decimal(1_000_000)


@transaction.atomic
def plan_activity(
    *,
    actor: User,
    key: ApiKey,
    starts_at: datetime,
    ends_at: datetime,
    most_usd_an_hour: Decimal,
    reason: str,
) -> PlannedActivity:
    """Let a key spend up to so many US dollars within any hour of [starts_at, ends_at); budgets bind all the
    same.

    Those who oversee its team may. Raises RoleNeededError, KeyEndedError and InvalidInputError.
    """
    text = clean_reason(reason)
    mine = locked(key)
    require_oversight(actor, mine)
    require_usable(mine)
    _require_time(mine, starts_at, ends_at)
    if not 0 < most_usd_an_hour <= MOST_USD_AN_HOUR:
        raise InvalidInputError(
            f"Enter what it may spend in an hour, more than 0 and at most {format_usd(MOST_USD_AN_HOUR)}.",
            field="most_usd_an_hour",
        )
    made = PlannedActivity.objects.create(
        key=mine,
        starts_at=starts_at,
        ends_at=ends_at,
        most_usd_an_hour=most_usd_an_hour,
        reason=text,
        planned_by=actor,
    )
    after = {"starts_at": starts_at, "ends_at": ends_at, "most_usd_an_hour": most_usd_an_hour}
    record(actor, "key.activity_planned", mine, mine, after=after, reason=text)
    if actor.pk != mine.owner_id:
        outbox.put_mail(
            topic="key.activity_planned",
            recipient=mine.owner.email,
            dedupe_key=f"key.activity_planned:{made.public_id}",
            subject=f"Your key {mine.name} may spend faster for a time",
            body=f"{actor} planned activity for your key {mine.name} of project {mine.project}: up to"
            f" {format_usd(most_usd_an_hour)} an hour from {starts_at:%-d %B %Y at %H:%M} to"
            f" {ends_at:%-d %B %Y at %H:%M} UTC. {text}",
            link=reverse("keys:detail", args=[mine.public_id]),
        )
    return made


@transaction.atomic
def cancel_activity(*, actor: User, key: ApiKey, plan_id: str) -> PlannedActivity:
    """End a planned activity now, or take it back before it starts. Again changes nothing.

    Those who oversee the key's team may. Raises RoleNeededError, and PlanEndedError for one that is over.
    """
    mine = locked(key)
    require_oversight(actor, mine)
    plans = PlannedActivity.objects.select_for_update(no_key=True).order_by("pk")
    plan = plans.filter(key=mine, public_id=plan_id).first()
    if plan is None or plan.ends_at <= clock.now():
        raise PlanEndedError(f"There is no such plan for {mine.name} any more, or its time is over.")
    if plan.cancelled_at is None:
        plan.cancelled_at, plan.cancelled_by = clock.now(), actor
        plan.save(update_fields=["cancelled_at", "cancelled_by"])
        before = {"starts_at": plan.starts_at, "ends_at": plan.ends_at}
        record(actor, "key.activity_cancelled", mine, mine, before=before)
    return plan


def _require_time(key: ApiKey, starts_at: datetime, ends_at: datetime) -> None:
    now = clock.now()
    if not now - timedelta(minutes=5) <= starts_at <= now + FARTHEST:
        raise InvalidInputError(
            f"Let it start between now and {FARTHEST.days} days from now.", field="starts_at"
        )
    if not starts_at < ends_at <= starts_at + LONGEST:
        raise InvalidInputError(f"Let it end after it starts, within {LONGEST.days} days.", field="ends_at")
    if ends_at > key.expires_at:
        raise InvalidInputError(
            f"{key.name} expires on {key.expires_at:%-d %B %Y at %H:%M} UTC. Let it end before.",
            field="ends_at",
        )
