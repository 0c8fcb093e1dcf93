"""Access that hardly anybody uses: what whoever answers for a team should keep or end."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import F, IntegerField, Max, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from approvals.models import GrantReview
from core import clock
from core.words import counted
from keys.models import Grant
from teams.models import Team, User
from usage.models import UsageDay

LOOKED_BACK = timedelta(days=30)
RARELY = 10  # calls in these days; fewer is not worth a tier of one's own
KEPT_FOR = timedelta(days=30)
SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """A grant with the calls of its tier in the last 30 days, and the day of the last one ever."""

    grant: Grant
    calls: int
    last_day: date | None


def unused_grants(user: User) -> list[Unused]:
    """Return the active grants of others, in the teams that the user oversees, that are hardly used.

    Those given or kept less than 30 days ago are left alone. The least used come first. One query.
    """
    return [
        Unused(grant=row, calls=row.recent_calls, last_day=row.last_day)
        for row in unused_rows(user).order_by(F("recent_calls"), "expires_at", "pk")[:SHOWN]
    ]


def unused_rows(user: User) -> QuerySet[Grant, Any]:
    """Return those grants, each with its use as `with_use` finds it."""
    rows: QuerySet[Any, Any] = with_use(reviewable(user))
    return rows.filter(recent_calls__lt=RARELY)


def with_use(grants: QuerySet[Grant]) -> QuerySet[Grant, Any]:
    """Return grants, each with its `recent_calls` and the `last_day` on which it was used."""
    used = UsageDay.objects.filter(key_id=OuterRef("key_id"), tier_id=OuterRef("tier_id")).order_by()
    recent = used.filter(day__gt=(clock.now() - LOOKED_BACK).date())
    return grants.annotate(
        recent_calls=Coalesce(
            Subquery(recent.values("key_id").annotate(n=Sum("calls")).values("n")),
            0,
            output_field=IntegerField(),
        ),
        last_day=Subquery(used.values("key_id").annotate(d=Max("day")).values("d")),
    )


def use_in_words(grant: Grant) -> str:
    """Write how a grant is used: `9 calls in 30 days, the last on 12 October 2026`. One query."""
    row = with_use(Grant.objects.filter(pk=grant.pk)).get()
    last = f"the last on {row.last_day.day} {row.last_day:%B %Y}" if row.last_day else "never used"
    return f"{counted(row.recent_calls, 'call')} in {LOOKED_BACK.days} days, {last}"


def reviewable(user: User) -> QuerySet[Grant]:
    """Return the grants that the user may keep or end now: nobody reviews his own access."""
    now = clock.now()
    kept = GrantReview.objects.filter(keeps=True, at__gt=now - KEPT_FOR).values("grant")
    active = Grant.objects.filter(
        revoked_at__isnull=True,
        key__revoked_at__isnull=True,
        starts_at__lte=now - LOOKED_BACK,
        expires_at__gt=now,
    )
    overseen = active.filter(key__project__team__in=Team.objects.overseen_by(user))
    loaded = overseen.select_related("tier", "key__project__team__department", "key__owner")
    return loaded.exclude(key__owner=user).exclude(pk__in=kept)
