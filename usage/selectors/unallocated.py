"""What providers billed that no team caused as far as Purser knows, shared out by what each team spent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet, Sum, Value

from core.money import ZERO, quantise
from usage.models import Invoice, ProviderCost
from usage.types import Period


@dataclass(frozen=True, slots=True, kw_only=True)
class Unallocated:
    """What providers say a period cost, and what of it Purser attributed; US dollars.

    `billed_usd` is None while no provider has told anything. Providers count days of UTC.
    """

    billed_usd: Decimal | None
    attributed_usd: Decimal

    @property
    def usd(self) -> Decimal | None:
        """Return what was billed and attributed to nobody; negative when more was attributed than billed."""
        return None if self.billed_usd is None else self.billed_usd - self.attributed_usd

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


def unallocated_of(rows: Iterable[Mapping[str, Any]], *, attributed_usd: Decimal) -> Unallocated:
    """Return what rows of `told_rows` leave when what was attributed is taken off."""
    told = {row["account_id"]: row["usd"] for row in rows}
    return Unallocated(billed_usd=sum(told.values(), ZERO) if told else None, attributed_usd=attributed_usd)


def _summed(rows: QuerySet[Any], rank: int, column: str) -> QuerySet[Any, Any]:
    by_account = rows.order_by().values("account_id").annotate(usd=Sum(column), rank=Value(rank))
    found: QuerySet[Any, Any] = by_account.values("rank", "account_id", "usd")
    return found
