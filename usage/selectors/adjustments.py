"""What came late or was put right: the entries of the ledger that a statement names one by one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncMonth
from django.utils import timezone

from budgets.models import PUT_RIGHT, Entry, EntryKind
from core.money import ZERO
from teams.models import Team
from usage.selectors.periods import day_starts_at, end_of
from usage.types import Period

# Entries of before they named the month themselves have it in their correction.
PRIOR = Coalesce(F("prior_period"), F("reconciled__prior_period"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """Entries of one kind, project, month and reason: how many, and what they add (negative: take off).

    `is_prior` marks what came in during the period and belongs to an earlier month, whose figures it changed.
    """

    kind: str
    project: str
    belongs_to: date
    reason: str
    entries: int
    amount_usd: Decimal
    is_prior: bool


def adjustment_rows(team: Team, period: Period) -> QuerySet[Any, Any]:
    """Return the entries of a team that came late or put something right, by what a statement names.

    What is about a closed month is booked in the open one, and belongs to the closed one. A call that never
    settled, and settled after all, has two of them: a correction and a late entry.
    """
    first, last = day_starts_at(period.first_day), end_of(period.last_day)
    of_period = Q(effective_at__gte=first, effective_at__lte=last)
    of_earlier = Q(effective_at__lt=first, recorded_at__lte=last)
    rows: QuerySet[Any, Any] = (
        Entry.objects.filter(of_period | of_earlier, team=team, kind__in=PUT_RIGHT, recorded_at__gte=first)
        .annotate(month=TruncMonth("effective_at", tzinfo=timezone.get_default_timezone()))
        .values("kind", "month", "reason", name=F("project__name"), prior=PRIOR)
        .annotate(entries=Count("pk"), usd=Sum("amount_usd"))
        .order_by("-month", "kind", "name", "reason", "prior")
    )
    return rows


def adjustments_of(rows: Iterable[Mapping[str, Any]], period: Period) -> tuple[Adjustment, ...]:
    """Return what rows of `adjustment_rows` say about a period."""
    return tuple(
        Adjustment(
            kind=EntryKind(row["kind"]).label,
            project=row["name"] or "",
            belongs_to=row["prior"] or _day(row["month"]),
            reason=row["reason"],
            entries=row["entries"],
            amount_usd=row["usd"],
            is_prior=(row["prior"] or _day(row["month"])) < period.first_day,
        )
        for row in rows
    )


def sum_of(found: Iterable[Adjustment], *, prior: bool) -> Decimal:
    """Return what adjustments of the period, or prior-period ones, add up to."""
    return sum((each.amount_usd for each in found if each.is_prior is prior), ZERO)


def _day(month: datetime) -> date:
    return month.date()
