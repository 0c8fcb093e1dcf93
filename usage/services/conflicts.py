"""Alarms of calls that were told twice with two figures, whichever way they came: settlement, journal, log or
push.
"""

from collections.abc import Sequence
from datetime import UTC, date, timedelta

import structlog
from django.db import transaction
from django.db.models import Count
from django.db.models.functions import TruncDate

from core import clock, outbox
from teams.models import Role, RoleAssignment, User
from usage.models import Quarantine, QuarantineReason

log = structlog.get_logger(__name__)

LOOK_BACK = timedelta(days=7)  # longer than any outage of the jobs, shorter than mails are kept
CONFLICT_MAIL = """\
Calls that {source} told again with other figures than were booked: {count}. What was booked stands.

Look at them before these figures are used: they are in quarantine, with what was told."""


@transaction.atomic
def tell_of_conflicts() -> int:
    """Tell administrators of conflicts that nobody looked at yet, and return how many mails that made.

    Settlements and journals keep them within what has no time for mails, so that a job looks for them. May
    run any number of times: once for each source and day.
    """
    rows = Quarantine.objects.filter(
        reason=QuarantineReason.CONFLICT, resolved_at__isnull=True, seen_at__gte=clock.now() - LOOK_BACK
    )
    found = rows.values("source", day=TruncDate("seen_at", tzinfo=UTC)).annotate(calls=Count("pk"))
    people = _administrators()
    return sum(
        _tell(people, source=each["source"], calls=each["calls"], day=each["day"])
        for each in found.order_by("day", "source")
    )


def tell_of_conflict(*, source: str, calls: int, day: date) -> int:
    """Mail every administrator once a UTC day and source: a call told twice with two figures is an alarm.

    Returns how many mails that made.
    """
    return _tell(_administrators(), source=source, calls=calls, day=day)


def _administrators() -> list[User]:
    held = RoleAssignment.objects.live().filter(role=Role.ADMIN).values("user")
    return list(User.objects.filter(pk__in=held, is_active=True).order_by("pk"))


def _tell(people: Sequence[User], *, source: str, calls: int, day: date) -> int:
    mails = [
        outbox.put_mail(
            topic="usage.conflict",
            recipient=person.email,
            dedupe_key=f"usage_conflict:{source}:{day:%Y-%m-%d}:{person.public_id}",
            subject=f"{source} tells other figures than were booked",
            body=CONFLICT_MAIL.format(source=source, count=calls),
            link="/reconciliation/",
        )
        for person in people
    ]
    made = len([mail for mail in mails if mail is not None])
    if made:
        log.error("usage.conflict", source=source, calls=calls)
    return made
