"""Why money differs: the parts add up to the difference, whatever the figures are."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.pricing import Rates, TokenUsage
from core.money import ZERO, quantise
from usage.services.reconciliation.posting import whole_shares
from usage.services.reconciliation.volumes import excess_calls, same_kinds
from usage.variance import Counted, Holder, ModelBooks, beyond, shares, variance

MONEY = st.decimals(-10_000, 10_000, places=12, allow_nan=False)
PRICE = st.decimals(0, 1, places=15, allow_nan=False)
TOKENS = st.integers(0, 10**12)
COUNTED = st.builds(
    Counted,
    calls=st.none() | st.integers(0, 10**6),
    tokens=st.builds(
        TokenUsage, input_tokens=TOKENS, cached_tokens=TOKENS, cache_write_tokens=TOKENS,
        output_tokens=TOKENS, reasoning_tokens=TOKENS,
    ),
)  # fmt: skip
RATES = st.none() | st.builds(
    Rates, input_usd=PRICE, cached_usd=PRICE, cache_write_usd=PRICE, output_usd=PRICE, reasoning_usd=PRICE,
    request_usd=PRICE,
)  # fmt: skip
HOLDERS = st.sampled_from(list(Holder))
BOOKS = st.builds(
    ModelBooks,
    ledger_usd=MONEY,
    ours=COUNTED,
    theirs=st.dictionaries(HOLDERS, COUNTED),
    rates=RATES,
    charged=st.dictionaries(HOLDERS, MONEY),
    charged_to_all=MONEY,
)


def counted(input_tokens: int, output_tokens: int, calls: int | None = 10) -> Counted:
    return Counted(calls=calls, tokens=TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(BOOKS)
def test_parts_are_the_difference_to_the_last_digit(books: ModelBooks) -> None:
    provider_usd = books.charged_to_all + sum(books.charged.values(), ZERO)

    parts = variance(books)

    assert parts.total_usd == provider_usd - books.ledger_usd
    assert parts.other_usd == 0
    for part in (parts.elsewhere_usd, parts.unknown_key_usd, parts.volume_usd, parts.price_usd):
        assert part == quantise(part)


@given(MONEY, st.lists(st.decimals(0, 1_000, places=12, allow_nan=False), min_size=1, max_size=30))
def test_shares_add_up(amount: Decimal, weights: list[Decimal]) -> None:
    parts = shares(amount, weights)

    assert sum(parts, ZERO) == amount
    assert len(parts) == len(weights)


@given(st.integers(-(10**12), 10**12), st.lists(st.decimals(0, 1_000, places=2), min_size=1, max_size=30))
def test_whole_shares_add_up(count: int, weights: list[Decimal]) -> None:
    if sum(weights, ZERO) > 0:
        assert sum(whole_shares(count, weights)) == count


def test_each_part_is_what_caused_it() -> None:
    """Ours: 1,000 in, 100 out. The provider counts 10 % more output, half a cent dearer, and a stranger."""
    rates = Rates(input_usd=Decimal("0.001"), output_usd=Decimal("0.01"), reasoning_usd=Decimal("0.01"),
                  cached_usd=Decimal("0.001"), cache_write_usd=Decimal("0.001"))  # fmt: skip
    books = ModelBooks(
        ledger_usd=Decimal(2),
        ours=counted(1_000, 100),
        theirs={Holder.GATEWAY: counted(1_000, 110), Holder.UNKNOWN: counted(500, 0)},
        rates=rates,
        charged={Holder.GATEWAY: Decimal("2.65"), Holder.UNKNOWN: Decimal("0.5")},
    )

    parts = variance(books)

    assert parts.volume_usd == Decimal("0.1")  # 10 tokens at our price
    assert parts.price_usd == Decimal("0.55")  # 110 tokens, half a cent dearer each
    assert parts.unknown_key_usd == Decimal("0.5")
    assert parts.elsewhere_usd == 0


def test_model_that_nobody_priced_differs_in_volume_alone() -> None:
    books = ModelBooks(
        ledger_usd=ZERO, ours=Counted(), rates=None, charged_to_all=Decimal(4),
        theirs={Holder.GATEWAY: counted(5, 5), Holder.UNKNOWN: counted(20, 10)},
    )  # fmt: skip

    parts = variance(books)

    assert (parts.volume_usd, parts.price_usd) == (Decimal(1), ZERO)
    assert parts.unknown_key_usd == Decimal(3)


@pytest.mark.parametrize(
    ("difference", "of", "counts"),
    [
        ("0.00001", "0", False),
        ("0.000010000001", "0", True),
        ("-0.000010000001", "0", True),
        ("0.1", "100", False),
        ("0.100000000001", "100", True),
        ("-0.1", "100", False),
    ],
)
def test_tolerance_is_exact(difference: str, of: str, counts: bool) -> None:
    assert beyond(Decimal(difference), Decimal(of)) is counts


def test_calls_are_estimated_from_tokens_where_a_provider_counts_none() -> None:
    ours = counted(900, 100, calls=10)

    assert excess_calls(counted(1_350, 150, calls=None), ours) == 5
    assert excess_calls(counted(1_349, 149, calls=None), ours) == 4
    assert excess_calls(counted(900, 100, calls=12), ours) == 2
    assert excess_calls(counted(10, 0, calls=None), Counted()) == 5


def test_reasoning_is_ours_where_a_provider_does_not_tell_it() -> None:
    ours = Counted(calls=1, tokens=TokenUsage(input_tokens=1, output_tokens=10, reasoning_tokens=7))

    assert same_kinds(counted(1, 10), ours).tokens.reasoning_tokens == 7
    assert same_kinds(counted(1, 5), ours).tokens.reasoning_tokens == 5


def test_units_are_compared_where_the_provider_counts_them() -> None:
    seconds = Rates(unit_usd={"second": Decimal("0.1")})
    ours = Counted(calls=1, units={"second": Decimal(60), "image": Decimal(2)})
    theirs = Counted(calls=1, units={"second": Decimal(90)})

    more = theirs.minus(ours)

    assert more.units == {"second": 30}  # it says nothing of images
    assert (more.worth(seconds), ours.minus(theirs).distance(seconds)) == (3, 3)
    assert not replace(more, calls=0).is_nothing()
    assert theirs.plus(ours).units == {"second": 150, "image": 2}
    books = ModelBooks(
        ledger_usd=Decimal(6), ours=ours, theirs={Holder.GATEWAY: theirs}, rates=seconds,
        charged={Holder.GATEWAY: Decimal("9.5")},
    )  # fmt: skip
    assert (variance(books).volume_usd, variance(books).price_usd) == (3, Decimal("0.5"))
