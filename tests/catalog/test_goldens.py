"""Calls priced by hand (golden_calls.txt), in SQL and in Python: no difference in the last digit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pytest
from django.db import connection

from catalog.models import LlmModel, Price
from catalog.pricing import PriceRow, TokenUsage, cost
from catalog.selectors import price_rows
from tests.factories import LlmModelFactory

PICO = Decimal("1e-12")
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
USUAL = datetime(2026, 11, 5, 12, tzinfo=UTC)
COUNTED_APART = {"second", "character", "image", "page", "search", "request"}
SOURCES = {"list": "genai-prices"}
# What usage_settle charges.
SQL_COST = """
    SELECT core_round_half_even((%(i)s - %(c)s - %(w)s) * input_usd + %(c)s * cached_usd
             + %(w)s * cache_write_usd + (%(o)s - %(r)s) * output_usd + %(r)s * reasoning_usd + request_usd
             + catalog_units_usd(%(units)s::jsonb, unit_usd), 12)
    FROM catalog_card(%(model)s, %(context)s, %(at)s, %(i)s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """One call: its tokens as inclusive totals, what else it used, and what it costs."""

    name: str
    model: str
    tokens: tuple[int, ...]
    context: str
    at: datetime
    units: dict[str, str]
    arithmetic: str
    usd: Decimal


def _read(name: str) -> list[str]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")][1:]


def _golden(line: str) -> Golden:
    name, model, tokens, context, at, units, arithmetic, usd = (cell.strip() for cell in line.split("|"))
    return Golden(
        name=name,
        model=model,
        tokens=tuple(int(count) for count in tokens.split(",")),
        context=context,
        at=datetime.fromisoformat(at) if at else USUAL,
        units=dict(unit.split("=") for unit in units.split()),
        arithmetic=arithmetic,
        usd=Decimal(usd),
    )


GOLDENS = [_golden(line) for line in _read("golden_calls.txt")]
PRICES = [line.split() for line in _read("golden_prices.txt")]


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(GOLDENS) >= 40
    assert len({golden.name for golden in GOLDENS}) == len(GOLDENS)
    assert {golden.model for golden in GOLDENS} == {model for model, *_ in PRICES}


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_the_arithmetic_comes_to_what_stands_beside_it(golden: Golden) -> None:
    assert _worked_out(golden.arithmetic) == golden.usd


@pytest.mark.django_db
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_sql_and_python_charge_what_was_worked_out_by_hand(golden: Golden) -> None:
    model = _priced(golden.model)

    assert _in_sql(golden, model) == golden.usd
    assert _in_python(golden, price_rows([model.pk])[model.pk]) == golden.usd


def _worked_out(arithmetic: str) -> Decimal:
    total = Decimal(0)
    for product in arithmetic.split("+"):
        part = Decimal(1)
        for factor in product.split("*"):
            part *= Decimal("0.000001") if factor.strip() == "M" else Decimal(factor.strip())
        total += part
    return total.quantize(PICO, rounding=ROUND_HALF_EVEN)


def _priced(name: str) -> LlmModel:
    model: LlmModel = LlmModelFactory.create(name=name)
    for _, unit, context, step, price, source, *dates in (row for row in PRICES if row[0] == name):
        starts, ends = [datetime.fromisoformat(f"{day}T00:00:00+00:00") for day in dates] + [None] * (
            2 - len(dates)
        )
        Price.objects.create(
            model=model,
            unit=unit,
            context=context,
            tier_start=int(step),
            usd_per_unit=Decimal(price) / (1 if unit in COUNTED_APART else 1_000_000),
            source=SOURCES.get(source, source),
            valid_from=starts or SINCE,
            valid_until=ends,
            source_version="by hand",
        )
    return model


def _in_sql(golden: Golden, model: LlmModel) -> Decimal:
    counts = dict(zip("icwor", golden.tokens, strict=True))
    units = "{" + ", ".join(f'"{unit}": {count}' for unit, count in golden.units.items()) + "}"
    with connection.cursor() as cursor:
        cursor.execute(
            SQL_COST,
            {
                **counts, "units": units, "model": model.pk, "context": golden.context,
                "at": golden.at,
            },
        )  # fmt: skip
        charged: Decimal = cursor.fetchone()[0]
    return charged


def _in_python(golden: Golden, rows: list[PriceRow]) -> Decimal:
    total, cached, written, output, reasoning = golden.tokens
    usage = TokenUsage(
        input_tokens=total,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=output,
        reasoning_tokens=reasoning,
    )
    units = {unit: Decimal(count) for unit, count in golden.units.items()}
    return cost(usage, rows, at=golden.at, context=golden.context, units=units)
