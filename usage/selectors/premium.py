"""What the dearest tier cost above the everyday one: the same tokens at the price of Tier 1."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet, Sum

from catalog.models import Mode
from catalog.pricing import TokenUsage, Use, charge, is_priced, rates
from catalog.selectors import everyday_reference
from core import clock
from core.money import ZERO
from usage.selectors.periods import day_starts_at, end_of
from usage.selectors.rollup import TOKENS, days_in
from usage.types import Period, Scope

PREMIUM_TIER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Premium:
    """What chat calls of Tier 3 cost, and what their tokens would have cost on the reference model of Tier 1.

    `everyday_usd` is None on days when that model had no price, so that nothing is compared with nothing.
    """

    calls: int
    cost_usd: Decimal
    everyday_usd: Decimal | None
    reference_model: str

    @property
    def premium_usd(self) -> Decimal | None:
        """Return what was paid above the price of Tier 1."""
        return None if self.everyday_usd is None else self.cost_usd - self.everyday_usd


def premium_rows(scope: Scope, period: Period) -> QuerySet[Any, Any]:
    """Return what Tier 3 used for chats, by day."""
    found: QuerySet[Any, Any] = (
        days_in(scope, period)
        .filter(tier_id=PREMIUM_TIER, model__mode=Mode.CHAT)
        .values("day")
        .annotate(usd=Sum("cost_usd"), **{f"all_{name}": Sum(name) for name in ("calls", *TOKENS)})
        .order_by("day")
    )
    return found


def premium_of(rows: list[dict[str, Any]], period: Period) -> Premium:
    """Return the premium of rows of `premium_rows`. One query.

    Each day's tokens are priced at the prices in force when the day began, by the step of its average call.
    The reference is the cheapest chat model of Tier 1, as on the Models page, at the period's end.
    """
    reference = everyday_reference(at=min(clock.now(), end_of(period.last_day)))
    everyday: Decimal | None = None if reference is None and rows else ZERO
    for row in rows:
        at = day_starts_at(row["day"])
        if everyday is None or reference is None or not is_priced(reference.prices, at=at, has_output=True):
            everyday = None
            break
        tokens = TokenUsage(**{name: row[f"all_{name}"] for name in TOKENS})
        use = Use(calls=row["all_calls"], tokens=tokens)
        rate = rates(reference.prices, at=at, input_tokens=use.input_tokens_per_call)
        everyday += charge(tokens, rate, calls=use.calls)
    return Premium(
        calls=sum(row["all_calls"] for row in rows),
        cost_usd=sum((row["usd"] for row in rows), ZERO),
        everyday_usd=everyday,
        reference_model=reference.name if reference else "",
    )
