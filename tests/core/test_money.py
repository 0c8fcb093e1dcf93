"""Amounts: read as people type them, rounded once, written in one way."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core.errors import InvalidInputError
from core.money import format_usd, parse_usd, quantise, wire_usd


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1250", "1250"),
        (" $1,250.50 ", "1250.5"),
        ("0", "0"),
        ("0.000000000001", "0.000000000001"),
        ("1e3", "1000"),
    ],
)
def test_an_amount_is_read_as_people_type_it(text: str, amount: str) -> None:
    assert parse_usd(text) == Decimal(amount)


@pytest.mark.parametrize("text", ["", "abc", "-1", "NaN", "Infinity", "1e309", "1e15", "12.3.4", "12x"])
def test_what_is_not_an_amount_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_usd(text, field="cap")
    assert caught.value.field == "cap"
    assert "1250" in caught.value.detail


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("1234.56", "$1,234.56"),
        ("0", "$0.00"),
        ("0.004", "<$0.01"),
        ("-0.004", "-<$0.01"),
        ("-3", "-$3.00"),
        ("1.005", "$1.00"),
        ("1.015", "$1.02"),
    ],
)
def test_an_amount_is_written_for_a_person(amount: str, text: str) -> None:
    assert format_usd(Decimal(amount)) == text


def test_no_limit_is_said_in_words() -> None:
    assert format_usd(None) == "no limit"


def test_rounding_is_half_to_even_at_twelve_decimals() -> None:
    assert quantise(Decimal("0.0000000000005")) == 0
    assert quantise(Decimal("0.0000000000015")) == Decimal("0.000000000002")


def test_a_machine_gets_plain_notation() -> None:
    assert wire_usd(Decimal("1E-7")) == "0.000000100000"
