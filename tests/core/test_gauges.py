"""Shares and trends beside a figure: coloured by the unrounded share, nothing where nothing is to show."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core.gauges import format_percent, meter, spark
from tests.core.drawings import parse


@pytest.mark.parametrize(
    ("share", "text"),
    [
        ("0", "0%"),
        ("0.004", "<1%"),
        ("0.999", "<1%"),
        ("1", "1%"),
        ("86.5", "86%"),
        ("87.5", "88%"),
        ("99.4", "99%"),
        ("99.6", ">99%"),
        ("100", "100%"),
        ("100.0001", ">100%"),
        ("101", "101%"),
        ("12345", "12,345%"),
        ("-3.2", "-3%"),
    ],
)
def test_percentage_is_never_rounded_onto_or_off_the_limit(share: str, text: str) -> None:
    assert format_percent(Decimal(share)) == text


@pytest.mark.parametrize(
    ("used", "held", "tone"),
    [
        ("79.999", None, "ok"),
        ("80", None, "warn"),
        ("99.999", None, "warn"),
        ("100", None, "bad"),
        ("70", "10", "warn"),
        ("70", "30", "bad"),
    ],
)
def test_meter_warns_from_80_and_alarms_from_100_percent(used: str, held: str | None, tone: str) -> None:
    drawn = meter(Decimal(used), label="Used", held_percent=Decimal(held) if held else None)
    assert f'class="f-{tone}"' in drawn


def test_meter_shows_held_after_used_and_the_forecast() -> None:
    drawing = parse(meter(Decimal(60), label="Used", held_percent=Decimal(10), mark_percent=Decimal(85)))
    assert [(part.get("class"), part.get("x"), part.get("width")) for part in drawing] == [
        ("f-ok", "0%", "60.00%"),
        ("held", "60.00%", "10.00%"),
        ("mark", "85.00%", "2"),
    ]


def test_meter_stays_within_its_bar() -> None:
    drawing = parse(meter(Decimal(130), label="Used", held_percent=Decimal(40), mark_percent=Decimal(300)))
    assert [(part.get("x"), part.get("width")) for part in drawing] == [
        ("0%", "100.00%"),
        ("100.00%", "0.00%"),
        ("98.00%", "2"),
    ]


def test_meter_names_itself_and_escapes_the_name() -> None:
    drawing = parse(meter(Decimal(1), label='"><b>'))
    assert (drawing.get("role"), drawing.get("aria-label")) == ("img", '"><b>')


def test_without_a_limit_there_is_no_meter() -> None:
    assert meter(None, label="Used") == ""


def test_spark_runs_from_left_to_right_and_the_highest_is_on_top() -> None:
    drawing = parse(spark([Decimal(0), Decimal(5), Decimal(10)]))
    assert drawing[0].get("d") == "M0.0 22.0 L44.0 12.0 L88.0 2.0"
    assert drawing.get("aria-hidden") == "true"


def test_spark_of_one_value_is_a_dot() -> None:
    drawing = parse(spark([Decimal(5)]))
    assert [part.tag for part in drawing] == ["circle"]


def test_spark_of_zeros_lies_on_the_floor() -> None:
    assert parse(spark([Decimal(0), Decimal(0)]))[0].get("d") == "M0.0 22.0 L88.0 22.0"


def test_spark_of_nothing_is_nothing() -> None:
    assert spark([]) == ""
