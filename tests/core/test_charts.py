"""Charts say what the figures say: places, labels and the text of each day, also with little or no data."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest

from core.charts import (
    NARROW,
    WIDE,
    BurnUp,
    DaySpend,
    Forecast,
    Stacked,
    axis_label,
    burn_up,
    line_label,
    nice_ticks,
    stacked,
)
from tests.core.drawings import parse

FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)


def days(*amounts: tuple[str, ...]) -> tuple[DaySpend, ...]:
    """Give consecutive days with these amounts by tier."""
    return tuple(
        DaySpend(day=FIRST + timedelta(days=index), by_tier_usd=tuple(Decimal(amount) for amount in row))
        for index, row in enumerate(amounts)
    )


def drawings(svg: str) -> tuple[ET.Element, ET.Element]:
    """Give the wide and the narrow drawing."""
    wide, narrow = parse(f"<both>{svg}</both>")
    return wide, narrow


def classed(drawing: ET.Element, css: str) -> list[ET.Element]:
    """Give the shapes of a class."""
    return [element for element in drawing.iter() if element.get("class") == css]


def texts(drawing: ET.Element) -> list[str]:
    """Give every label."""
    return [element.text or "" for element in drawing.iter("text")]


def tips(drawing: ET.Element) -> list[list[str]]:
    """Give the text of each day, line by line, as a browser reads the attribute."""
    return [element.get("data-tip", "").split("\n") for element in classed(drawing, "hit")]


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        ("10300", ["0", "2500", "5000", "7500", "10000", "12500"]),
        ("100", ["0", "20", "40", "60", "80", "100"]),
        ("1", ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ("0.0031", ["0", "0.001", "0.002", "0.003", "0.004"]),
        ("0", ["0", "1"]),
        ("-5", ["0", "1"]),
    ],
)
def test_axis_has_round_values_that_reach_the_highest(highest: str, expected: list[str]) -> None:
    assert nice_ticks(Decimal(highest)) == [Decimal(value) for value in expected]


@pytest.mark.parametrize("highest", ["0.000000000001", "7", "19", "26.01", "333", "99999.99", "1e15"])
def test_axis_covers_the_highest_in_at_most_five_steps(highest: str) -> None:
    ticks = nice_ticks(Decimal(highest))
    assert ticks[-2] < Decimal(highest) <= ticks[-1]
    assert len(ticks) <= 6


@pytest.mark.parametrize(
    ("amount", "label"),
    [
        ("0", "$0"),
        ("250", "$250"),
        ("2500", "$2.5k"),
        ("1E+6", "$1M"),
        ("12500000", "$12.5M"),
        ("2e9", "$2B"),
        ("0.5", "$0.50"),
        ("0.001", "$0.001"),
    ],
)
def test_axis_labels_are_short(amount: str, label: str) -> None:
    assert axis_label(Decimal(amount)) == label


def test_budget_label_has_cents_only_when_it_needs_them() -> None:
    assert line_label(Decimal("9800.000000000000")) == "$9,800"
    assert line_label(Decimal("9800.50")) == "$9,800.50"


def test_burn_up_sums_the_days_and_ends_at_the_last_one_with_usage() -> None:
    chart = BurnUp(first_day=FIRST, last_day=LAST, days=days(("1", "2"), ("3", "4")), budget_usd=Decimal(100))
    wide, narrow = drawings(burn_up(chart, summary="To date"))
    assert tips(wide) == [
        ["1 Nov", "Day $3.00", "To date $3.00", "3% of budget"],
        ["2 Nov", "Day $7.00", "To date $10.00", "10% of budget"],
    ]
    assert tips(narrow) == tips(wide)
    line = classed(wide, "line")[0].get("points", "").split()
    top, floor, first, last = WIDE.top, WIDE.floor, WIDE.left, WIDE.width - WIDE.right
    assert line[0] == f"{first:.1f},{floor - (floor - top) * 0.03:.1f}"
    assert line[-1] == f"{first + (last - first) / 29:.1f},{floor - (floor - top) * 0.10:.1f}"


def test_budget_and_alert_lines_stand_at_their_amounts() -> None:
    chart = BurnUp(
        first_day=FIRST,
        last_day=LAST,
        days=days(("10",)),
        budget_usd=Decimal(100),
        alert_usd=Decimal(80),
    )
    wide, _ = drawings(burn_up(chart, summary=""))
    height = WIDE.floor - WIDE.top
    assert classed(wide, "limit")[0].get("y1") == f"{WIDE.top:.1f}"
    assert classed(wide, "soft")[0].get("y1") == f"{WIDE.floor - 0.8 * height:.1f}"
    assert {"Budget $100", "Alert at $80"} <= set(texts(wide))


def test_forecast_band_runs_from_today_to_the_last_day() -> None:
    forecast = Forecast(end_usd=Decimal(60), low_usd=Decimal(50), high_usd=Decimal(100))
    chart = BurnUp(first_day=FIRST, last_day=LAST, days=days(("10",), ("10",)), forecast=forecast)
    wide, narrow = drawings(burn_up(chart, summary=""))
    line = classed(wide, "fc")[0]
    assert line.get("x2") == f"{WIDE.width - WIDE.right:.1f}"
    assert line.get("y1") == classed(wide, "line")[0].get("points", "").split()[-1].split(",")[1]
    band = classed(wide, "band")[0].get("points", "").split()
    assert band[1].endswith(f",{WIDE.top:.1f}"), "the high end is the top of the axis"
    assert len(classed(narrow, "band")) == 1


def test_forecast_is_gone_when_the_period_is_over() -> None:
    forecast = Forecast(end_usd=Decimal(3), low_usd=Decimal(3), high_usd=Decimal(3))
    chart = BurnUp(
        first_day=FIRST,
        last_day=FIRST + timedelta(days=1),
        days=days(("1",), ("2",)),
        forecast=forecast,
    )
    assert 'class="fc"' not in burn_up(chart, summary="")


def test_first_day_of_a_period_is_a_dot() -> None:
    wide, _ = drawings(burn_up(BurnUp(first_day=FIRST, last_day=LAST, days=days(("5",))), summary=""))
    assert len(classed(wide, "dot")) == 1
    assert classed(wide, "line") == []


def test_period_of_one_day_is_drawn() -> None:
    chart = BurnUp(first_day=FIRST, last_day=FIRST, days=days(("5",)))
    wide, _ = drawings(burn_up(chart, summary=""))
    assert classed(wide, "dot")[0].get("cx") == f"{WIDE.left:.1f}"


@pytest.mark.parametrize("spent", [(), (("0", "0"),)])
def test_nothing_spent_says_so_and_still_shows_the_budget(spent: tuple[tuple[str, ...], ...]) -> None:
    chart = BurnUp(first_day=FIRST, last_day=LAST, days=days(*spent), budget_usd=Decimal(100))
    for drawing in drawings(burn_up(chart, summary="")):
        assert {"Nothing spent yet", "Budget $100"} <= set(texts(drawing))


def test_without_a_budget_no_share_of_it_is_claimed() -> None:
    wide, _ = drawings(burn_up(BurnUp(first_day=FIRST, last_day=LAST, days=days(("5",))), summary=""))
    assert classed(wide, "limit") == []
    assert tips(wide) == [["1 Nov", "Day $5.00", "To date $5.00"]]


def test_spending_against_a_budget_of_zero_is_drawn() -> None:
    chart = BurnUp(first_day=FIRST, last_day=LAST, days=days(("5",)), budget_usd=Decimal(0))
    wide, _ = drawings(burn_up(chart, summary=""))
    assert classed(wide, "limit")[0].get("y1") == f"{WIDE.floor:.1f}"
    assert tips(wide)[0][-1] == "To date $5.00"


def test_almost_spent_budget_is_not_called_spent() -> None:
    chart = BurnUp(first_day=FIRST, last_day=LAST, days=days(("99.9",)), budget_usd=Decimal(100))
    wide, _ = drawings(burn_up(chart, summary=""))
    assert tips(wide)[0][-1] == ">99% of budget"


def test_bars_stack_by_tier_without_gaps() -> None:
    chart = Stacked(
        first_day=FIRST,
        last_day=LAST,
        days=days(("10", "30", "60")),
        tier_names=("Tier 1", "Tier 2", "Tier 3"),
    )
    wide, _ = drawings(stacked(chart, summary=""))
    bars = [classed(wide, css)[0] for css in ("t1", "t2", "t3")]
    tops = [float(bar.get("y", "")) for bar in bars]
    height = WIDE.floor - WIDE.top
    assert tops == pytest.approx([WIDE.floor - share * height for share in (0.1, 0.4, 1.0)], abs=0.1)
    assert len({bar.get("x") for bar in bars}) == 1
    assert tips(wide) == [["1 Nov $100.00", "Tier 1 $10.00", "Tier 2 $30.00", "Tier 3 $60.00"]]


def test_tier_without_spend_has_no_bar() -> None:
    chart = Stacked(first_day=FIRST, last_day=LAST, days=days(("0", "5")), tier_names=("Tier 1", "Tier 2"))
    wide, _ = drawings(stacked(chart, summary=""))
    assert (len(classed(wide, "t1")), len(classed(wide, "t2"))) == (0, 1)


def test_daily_chart_without_usage_says_so() -> None:
    chart = Stacked(first_day=FIRST, last_day=LAST, days=(), tier_names=("Tier 1",))
    for drawing in drawings(stacked(chart, summary="")):
        assert "Nothing spent yet" in texts(drawing)


def test_day_labels_fit_each_width() -> None:
    chart = BurnUp(first_day=FIRST, last_day=LAST, days=days(("5",)))
    shown = [
        [text for text in texts(drawing) if re.fullmatch(r"\d+ Nov", text)]
        for drawing in drawings(burn_up(chart, summary=""))
    ]
    assert shown == [["1 Nov", "9 Nov", "17 Nov", "25 Nov"], ["1 Nov", "16 Nov"]]
    assert (WIDE.day_labels, NARROW.day_labels) == (5, 3)


def test_summary_and_names_are_escaped() -> None:
    spent = days(("5",))
    chart = Stacked(first_day=FIRST, last_day=LAST, days=spent, tier_names=('<b>"Tier"</b>',))
    wide, _ = drawings(stacked(chart, summary='"><script>'))
    assert wide.get("aria-label") == '"><script>'
    assert tips(wide)[0][1] == '<b>"Tier"</b> $5.00'


def test_drawings_have_no_inline_style() -> None:
    burn = BurnUp(first_day=FIRST, last_day=LAST, days=days(("5",)), budget_usd=Decimal(9))
    bars = Stacked(first_day=FIRST, last_day=LAST, days=days(("5",)), tier_names=("Tier 1",))
    drawn = burn_up(burn, summary="") + stacked(bars, summary="")
    assert "style" not in drawn
    assert " on" not in re.sub(r'data-tip="[^"]*"', "", drawn)
