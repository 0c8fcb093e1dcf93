"""Where a difference becomes a class of its own: the bounds of the rules, on both of their sides."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from catalog.pricing import Rates, TokenUsage
from core.money import ZERO
from usage.models import DiscrepancyClass
from usage.selectors.provider_books import Ledger, Told
from usage.services.reconciliation.money import Charged, _price_difference
from usage.services.reconciliation.volumes import DayBooks, _judged
from usage.variance import Counted, Holder, ModelBooks, Variance

RATES = Rates(
    input_usd=Decimal("0.01"), cached_usd=ZERO, cache_write_usd=ZERO, output_usd=ZERO, reasoning_usd=ZERO,
    request_usd=ZERO,
)  # fmt: skip
BYPASS, MISMATCH = DiscrepancyClass.BYPASS_SHARED_KEY, DiscrepancyClass.TOKEN_MISMATCH


class Books(DayBooks):
    """A day whose every model costs a cent a token."""

    def rates(self, model: str, ledger: Ledger | None, context: str = "standard") -> Rates:
        return RATES

    def step(self, model: str, ledger: Ledger | None, context: str) -> tuple[int, list[int]]:
        return 0, []


def books() -> Books:
    empty: dict[Any, Any] = {}
    names: Any = None
    return Books(
        day=date(2026, 11, 20), accounts=(), names=names, groups=(), ledger=empty, told=(), prices=empty
    )


def counted(calls: int, input_tokens: int) -> Counted:
    return Counted(calls=calls, tokens=TokenUsage(input_tokens=input_tokens, output_tokens=0))


@pytest.mark.parametrize(
    ("more_calls", "more_tokens", "kind"),
    [
        (5, 101, BYPASS),  # five calls, and more than 1 % of $100
        (5, 100, MISMATCH),  # 1 % is not more than 1 %
        (4, 5_000, MISMATCH),
        (0, 11, MISMATCH),
        (0, 10, None),  # $0.10 of $100 is within 0.1 %
        (0, -11, MISMATCH),
    ],
)
def test_a_shared_key_is_five_calls_and_more_than_a_hundredth_of_the_money(
    more_calls: int, more_tokens: int, kind: DiscrepancyClass | None
) -> None:
    ours, theirs = counted(100, 10_000), counted(100 + more_calls, 10_000 + more_tokens)
    told = Told(holder=Holder.GATEWAY, group=None, key="key", model="m", context="standard", counted=theirs)

    found = _judged(books(), "key", "m", Ledger(usd=Decimal(100), counted=ours), [told])

    assert (found.kind if found else None) == kind


@pytest.mark.parametrize(
    ("price_usd", "kind"),
    [
        ("0.500000000001", DiscrepancyClass.PRICE_CHANGE),
        ("-0.51", DiscrepancyClass.PRICE_CHANGE),
        ("0.5", DiscrepancyClass.PRICE_MISMATCH),  # 0.5 % is not more than 0.5 %
        ("0.100000000001", DiscrepancyClass.PRICE_MISMATCH),
        ("0.1", None),
    ],
)
def test_a_price_changed_when_the_same_volume_costs_half_a_percent_more_or_less(
    price_usd: str, kind: DiscrepancyClass | None
) -> None:
    ours = counted(100, 10_000)
    one = ModelBooks(
        ledger_usd=Decimal(100), ours=ours, theirs={Holder.GATEWAY: ours}, rates=RATES, charged={},
        charged_to_all=Decimal(100) + Decimal(price_usd),
    )  # fmt: skip

    found = _price_difference(
        books(), "m", one, Variance(price_usd=Decimal(price_usd)), Charged(), proposes=True
    )

    assert (found.kind if found else None) == kind
    if found and found.kind is DiscrepancyClass.PRICE_CHANGE:
        assert found.proposal is not None
        assert found.proposal["from"] == "2026-11-20"
