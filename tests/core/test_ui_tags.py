"""What templates say about money, time and state, as a person reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.template import Context, Template
from lucide import IconDoesNotExist

NOW = datetime(2026, 11, 23, 12, 4, 30, tzinfo=UTC)


def render(template: str, **context: Any) -> str:
    """Render a template as the portal's engine does: the tags are builtins."""
    return Template(template).render(Context(context))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Decimal("1234.56"), "$1,234.56"),
        (Decimal("1234567890.005"), "$1,234,567,890.00"),
        (Decimal("0.0099"), "&lt;$0.01"),
        (Decimal(0), "$0.00"),
        (Decimal("-11.9"), "-$11.90"),
        (None, "no limit"),
    ],
)
def test_money_is_written_in_one_way(amount: Decimal | None, text: str) -> None:
    assert render("{{ amount|usd }}", amount=amount) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [("3", "$3.00"), ("0.075", "$0.075"), ("0.000000150000000", "$0.00000015"), ("15.50", "$15.50")],
)
def test_price_keeps_every_decimal_it_has(amount: str, text: str) -> None:
    assert render("{{ amount|price }}", amount=Decimal(amount)) == text


def test_unknown_figures_are_a_dash_not_a_zero() -> None:
    assert render("{{ x|price }} {{ x|count }} {{ x|percent }} {{ x|multiple }}", x=None) == "— — — —"


def test_counts_have_thousands_separators() -> None:
    assert render("{{ calls|count }}", calls=91_233_411) == "91,233,411"


def test_percentages_are_escaped_in_a_page() -> None:
    assert render("{{ share|percent }}", share=Decimal("99.9")) == "&gt;99%"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [("1", "1"), ("1.04", "1"), ("1.5", "1.5"), ("9.96", "10"), ("17.4", "17"), ("1234.5", "1,234")],
)
def test_multiples_are_whole_from_ten_on(ratio: str, text: str) -> None:
    assert render("{{ ratio|multiple }}", ratio=Decimal(ratio)) == f"{text}\N{MULTIPLICATION SIGN}"


@pytest.mark.parametrize(
    ("distance", "text"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=-60), "1 minute ago"),
        (timedelta(minutes=-59, seconds=-59), "59 minutes ago"),
        (timedelta(hours=-2), "2 hours ago"),
        (timedelta(days=-1, hours=-3), "1 day ago"),
        (timedelta(days=-31), "on 23 October 2026"),
        (timedelta(seconds=30), "in less than a minute"),
        (timedelta(hours=6), "in 6 hours"),
        (timedelta(days=7), "in 7 days"),
        (timedelta(days=90), "on 21 February 2027"),
    ],
)
@time_machine.travel(NOW, tick=False)
def test_times_are_relative(distance: timedelta, text: str) -> None:
    assert f">{text}</time>" in render("{% ago moment %}", moment=NOW + distance)


@time_machine.travel(NOW, tick=False)
def test_relative_time_carries_the_exact_utc_time() -> None:
    moment = datetime(2026, 11, 23, 9, 2, 7, tzinfo=timezone(timedelta(hours=-1)))
    assert render("{% ago moment %}", moment=moment) == (
        '<time datetime="2026-11-23T10:02:07Z" title="23 November 2026, 10:02 UTC">2 hours ago</time>'
    )


def test_exact_time_names_its_zone() -> None:
    assert ">23 November 2026, 12:04 UTC<" in render("{% at moment %}", moment=NOW)


def test_missing_time_says_what_the_page_chose() -> None:
    assert render("{% ago moment %}, {% at moment 'no end' %}", moment=None) == "never, no end"


def test_state_is_said_in_words() -> None:
    assert render("{% tag 'bad' text %}", text="<Blocked>") == (
        '<span class="tag tag-bad">&lt;Blocked&gt;</span>'
    )
    assert render("{% tag '' 'Idle' %}") == '<span class="tag">Idle</span>'


def test_icons_are_drawn_in_the_page_and_skipped_by_screen_readers() -> None:
    drawn = render("{% icon 'check' 'ok' %}")
    assert drawn.startswith('<svg class="icon ok" viewBox="0 0 24 24" aria-hidden="true"><path ')
    assert "style" not in drawn


def test_unknown_icon_is_an_error_not_a_hole() -> None:
    with pytest.raises(IconDoesNotExist):
        render("{% icon 'no-such-icon' %}")


def test_tone_has_an_icon_in_its_colour() -> None:
    assert 'class="icon warn"' in render("{% tone_icon 'warn' %}")
