"""What a call costs, in Python and in SQL: the same, to the last digit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.models import Context, LlmModel, Price, PriceSource, Unit
from catalog.pricing import (
    PriceRow,
    Rates,
    TokenUsage,
    Use,
    charge,
    cost,
    is_priced,
    monthly_estimate,
    multiple_against,
    rates,
)
from core.money import quantise

START = datetime(2026, 1, 1, tzinfo=UTC)
NOON = START + timedelta(days=10, hours=12)
STEPS = (0, 1_001, 272_001)
CONTEXTS = ("standard", "batch", "priority")
HOURS = st.one_of(st.integers(-1, 22).map(lambda day: 24 * day), st.integers(-24, 24 * 22))
SQL_COST = """
    SELECT core_round_half_even((%(i)s - %(c)s - %(w)s) * input_usd + %(c)s * cached_usd + %(w)s *
    cache_write_usd
             + (%(o)s - %(r)s) * output_usd + %(r)s * reasoning_usd + request_usd, 12),
           input_usd, cached_usd, cache_write_usd, output_usd, reasoning_usd, request_usd,
           unit_usd::text, dear_input_usd, dear_output_usd, dear_request_usd, price_ids
    FROM catalog_card(%(model)s, %(context)s, %(at)s, %(i)s)
"""


def row(unit: str, usd: str, **fields: object) -> PriceRow:
    """Make a price row; a standard imported price without end unless told otherwise."""
    values: dict[str, object] = {
        "id": 1,
        "context": "standard",
        "tier_start": 0,
        "source": "genai-prices",
        "valid_from": START,
    }
    return PriceRow(unit=unit, usd_per_unit=Decimal(usd), **{**values, **fields})  # type: ignore[arg-type]


@pytest.fixture
def model(db: None) -> LlmModel:
    """Give a model without prices."""
    return LlmModel.objects.create(
        name="under-test", provider="openai", provider_model="under-test", tier_id=1,
        context_window_tokens=10**6, max_output_tokens=10**5,
    )  # fmt: skip


def test_a_call_costs_its_tokens_by_kind_plus_the_request() -> None:
    prices = [
        row("input", "0.000002"),
        row("cached", "0.0000001"),
        row("output", "0.00001"),
        row("request", "0.01"),
    ]
    usage = TokenUsage(input_tokens=1_000, cached_tokens=400, output_tokens=200)

    assert cost(usage, prices, at=NOON) == Decimal("0.01") + Decimal("0.0012") + Decimal("0.00004") + Decimal(
        "0.002"
    )


def test_kinds_without_a_price_cost_what_they_are_part_of() -> None:
    prices = [row("input", "0.002"), row("output", "0.01")]

    rate = rates(prices, at=NOON)

    assert (rate.cached_usd, rate.cache_write_usd, rate.reasoning_usd) == (
        Decimal("0.002"),
        Decimal("0.002"),
        Decimal("0.01"),
    )


def test_the_whole_call_is_at_the_step_of_its_total_input() -> None:
    prices = [row("input", "1"), row("input", "2", id=2, tier_start=272_001), row("output", "5")]

    assert cost(TokenUsage(input_tokens=272_000), prices, at=NOON) == 272_000
    assert cost(TokenUsage(input_tokens=272_001), prices, at=NOON) == 2 * 272_001


def test_a_contract_beats_a_manual_override_beats_an_imported_price() -> None:
    imported, manual, contract = (
        row("input", "3", id=1),
        row("input", "2", id=2, source="manual"),
        row("input", "9", id=3, source="contract"),
    )

    assert rates([imported, manual, contract], at=NOON).input_usd == 9
    assert rates([imported, manual], at=NOON).input_usd == 2


def test_a_contract_for_one_service_class_leaves_the_others_at_the_list() -> None:
    prices = [
        row("input", "3"),
        row("input", "2", id=2, context="batch"),
        row("input", "1", id=3, source="contract"),
    ]

    assert rates(prices, at=NOON, context="batch").input_usd == 2


def test_an_unpriced_service_class_is_charged_at_the_dearest() -> None:
    prices = [
        row("input", "1"),
        row("input", "4", id=2, tier_start=1_001),
        row("input", "8", id=3, context="priority"),
        row("output", "5"),
    ]

    assert rates(prices, at=NOON, context="flex", input_tokens=2_000).input_usd == 8


def test_a_price_counts_from_its_start_to_before_its_end() -> None:
    ends = NOON + timedelta(days=1)
    prices = [row("input", "1", valid_until=ends), row("input", "2", id=2, valid_from=ends)]

    assert rates(prices, at=ends - timedelta(microseconds=1)).input_usd == 1
    assert rates(prices, at=ends).input_usd == 2
    assert rates(prices, at=START - timedelta(seconds=1)) == Rates()


def test_the_cost_is_rounded_once_half_to_even() -> None:
    usage = TokenUsage(input_tokens=1, output_tokens=1)

    assert cost(usage, [row("input", "0.000000000000500")], at=NOON) == 0
    assert cost(usage, [row("input", "0.000000000001500")], at=NOON) == Decimal("0.000000000002")
    halves = [row("input", "0.000000000000500"), row("output", "0.000000000000500", id=2)]
    assert cost(usage, halves, at=NOON) == Decimal("0.000000000001")


def test_a_model_needs_a_price_for_input_and_for_output_if_it_writes_any() -> None:
    both = [row("input", "1"), row("output", "2")]

    assert is_priced(both, at=NOON, has_output=True)
    assert is_priced(both[:1], at=NOON, has_output=False)
    assert not is_priced(both[:1], at=NOON, has_output=True)
    assert not is_priced(both, at=START - timedelta(days=1), has_output=True)


def test_a_month_is_thirty_days_of_the_same_use_at_the_step_of_the_average_call() -> None:
    prices = [row("input", "0.001"), row("input", "0.002", id=2, tier_start=1_001), row("request", "1")]
    use = Use(calls=10, tokens=TokenUsage(input_tokens=10_000))

    assert monthly_estimate(use, prices, at=NOON, days=10) == 3 * (10 + 10)
    assert multiple_against(Decimal(34), Decimal(2)) == 17
    assert multiple_against(Decimal(34), Decimal(0)) is None


@st.composite
def price_tables(draw: st.DrawFn) -> list[PriceRow]:
    """Draw price rows that the table accepts: in one slot and source no two are in force together."""
    slots = draw(
        st.lists(
            st.tuples(
                st.sampled_from(Unit.values),
                st.sampled_from(CONTEXTS),
                st.sampled_from(STEPS),
                st.sampled_from(PriceSource.values),
            ),
            max_size=14,
            unique=True,
        )
    )
    rows = []
    for unit, context, step, source in slots:
        edges = sorted(draw(st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True)))
        ends: list[int | None] = [*edges[1:], None]
        for first, last in zip(edges, ends, strict=True):
            rows.append(
                PriceRow(
                    id=0,
                    unit=unit,
                    context=context,
                    tier_start=step,
                    source=source,
                    usd_per_unit=Decimal(draw(st.integers(0, 10**15 + 7))).scaleb(-15),
                    valid_from=START + timedelta(days=first),
                    valid_until=None if last is None else START + timedelta(days=last),
                )
            )
    return rows


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    """Draw token counts on both sides of every step."""
    total = draw(st.one_of(st.integers(0, 2_000), st.integers(271_990, 272_010), st.integers(0, 10**9)))
    cached = draw(st.integers(0, total))
    output = draw(st.integers(0, 10**7))
    return TokenUsage(
        input_tokens=total,
        cached_tokens=cached,
        cache_write_tokens=draw(st.integers(0, total - cached)),
        output_tokens=output,
        reasoning_tokens=draw(st.integers(0, output)),
    )


def whole_parts(usage: TokenUsage) -> list[dict[str, int]]:
    """Return the ways in which all of a call's tokens are of a special kind, or none."""
    fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    told = usage.output_tokens - usage.reasoning_tokens
    kept = {"cache_write_1h": usage.cache_write_tokens, "cached_audio": usage.cached_tokens}
    return [
        {},
        kept,
        {**kept, "input_audio": fresh, "output_audio": told},
        {"input_image": fresh, "output_image": told},
    ]


@contextmanager
def undone() -> Iterator[None]:
    """Take back what the block writes."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=price_tables(), usage=usages(), context=st.sampled_from(Context.values), hours=HOURS)
def test_sql_and_python_agree_on_every_price_and_cost(
    model: LlmModel, table: list[PriceRow], usage: TokenUsage, context: str, hours: int
) -> None:
    at = START + timedelta(hours=hours)
    with undone():
        stored = Price.objects.bulk_create(
            Price(
                model=model, unit=price.unit, context=price.context, tier_start=price.tier_start,
                source=price.source, usd_per_unit=price.usd_per_unit, valid_from=price.valid_from,
                valid_until=price.valid_until, source_version="test",
            )
            for price in table
        )  # fmt: skip
        rows = [_with_id(price, saved.pk) for price, saved in zip(table, stored, strict=True)]
        with connection.cursor() as cursor:
            cursor.execute(
                SQL_COST,
                {
                    "i": usage.input_tokens, "c": usage.cached_tokens, "w": usage.cache_write_tokens,
                    "o": usage.output_tokens, "r": usage.reasoning_tokens,
                    "model": model.pk, "context": context, "at": at,
                },
            )  # fmt: skip
            sql_cost, *sql_rates, sql_units, most_in, most_out, most_once, sql_ids = cursor.fetchone()

    rate = rates(rows, at=at, context=context, input_tokens=usage.input_tokens)
    assert [
        rate.input_usd,
        rate.cached_usd,
        rate.cache_write_usd,
        rate.output_usd,
        rate.reasoning_usd,
        rate.request_usd,
    ] == sql_rates
    assert list(rate.price_ids) == sql_ids
    assert rate.unit_usd == json.loads(sql_units, parse_float=Decimal, parse_int=Decimal)
    assert charge(usage, rate) == sql_cost
    dearest = usage.input_tokens * most_in + usage.output_tokens * most_out + most_once
    for units in whole_parts(usage):
        assert 0 <= charge(usage, rate, units=units) <= quantise(dearest) + Decimal("1e-12")


def _with_id(price: PriceRow, number: int) -> PriceRow:
    return PriceRow(
        id=number, unit=price.unit, context=price.context, tier_start=price.tier_start, source=price.source,
        usd_per_unit=price.usd_per_unit, valid_from=price.valid_from, valid_until=price.valid_until,
    )  # fmt: skip
