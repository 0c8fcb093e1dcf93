"""What providers billed that no team caused as far as Purser knows, shared out by what each team spent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F, QuerySet, Sum, Value

from core.money import ZERO, quantise
from usage.models import Invoice, ProviderCost
from usage.selectors.rollup import EVERYTHING, days_in
from usage.types import Period


@dataclass(frozen=True, slots=True, kw_only=True)
class Unallocated:
    """What providers say a period cost, and what of it Purser attributed; US dollars.

    `billed_usd` is None while no provider has told anything. `told_usd` is what was attributed of the models
    of those that have: the bill of another one may come yet. Providers count days of UTC.
    """

    billed_usd: Decimal | None
    attributed_usd: Decimal
    told_usd: Decimal

    @property
    def usd(self) -> Decimal | None:
        """Return what was billed and attributed to nobody; negative when more was attributed than billed."""
        return None if self.billed_usd is None else self.billed_usd - self.told_usd

    def share_usd(self, spent_usd: Decimal) -> Decimal | None:
        """Return the part of it that falls to who spent this much of all attributed, rounded once."""
        if self.usd is None:
            return None
        return quantise(self.usd * spent_usd / self.attributed_usd) if self.attributed_usd else ZERO


def told_rows(period: Period) -> QuerySet[Any, Any]:
    """Return what providers say a period cost, by account.

    A bill for exactly the period stands for its account; without one, the costs that the provider reported by
    day do.
    """
    bills = Invoice.objects.filter(
        superseded_at__isnull=True,
        period_start=period.first_day,
        period_end=period.last_day + timedelta(days=1),
    )
    costs = ProviderCost.objects.filter(
        superseded_at__isnull=True, day__gte=period.first_day, day__lte=period.last_day
    )
    # Costs first, so that a bill takes the place of its account's.
    return _summed(costs, 0, "amount_usd").union(_summed(bills, 1, "total_usd")).order_by("rank")


def attributed_rows(period: Period) -> QuerySet[Any, Any]:
    """Return what was attributed to teams in a period, by the provider of the model."""
    rows: QuerySet[Any, Any] = (
        days_in(EVERYTHING, period)
        .order_by()
        .values(provider=F("model__provider"))
        .annotate(usd=Sum("cost_usd"))
    )
    return rows


def unallocated_of(rows: Iterable[Mapping[str, Any]], attributed: Iterable[Mapping[str, Any]]) -> Unallocated:
    """Return what rows of `told_rows` leave when those of `attributed_rows` are taken off, of the providers
    that told anything.
    """
    told, providers = {}, set()
    for row in rows:
        told[row["account_id"]] = row["usd"]
        providers.add(row["provider"])
    spent = {row["provider"]: row["usd"] for row in attributed}
    return Unallocated(
        billed_usd=sum(told.values(), ZERO) if told else None,
        attributed_usd=sum(spent.values(), ZERO),
        told_usd=sum((usd for provider, usd in spent.items() if provider in providers), ZERO),
    )


def _summed(rows: QuerySet[Any], rank: int, column: str) -> QuerySet[Any, Any]:
    by_account = rows.order_by().values("account_id", provider=F("account__provider"))
    by_account = by_account.annotate(usd=Sum(column), rank=Value(rank))
    found: QuerySet[Any, Any] = by_account.values("rank", "account_id", "provider", "usd")
    return found
