"""Where spend is going."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage.forecast import LINEAR, WEEKLY, breach_day, expected_end, linear, since_first_use

amounts = st.decimals(min_value=0, max_value=10**6, places=6)


def test_a_steady_pace_ends_at_spent_plus_pace_times_days_left_without_a_range() -> None:
    forecast = linear([Decimal(10)] * 14, spent_usd=Decimal(100), days_left=Decimal("2.5"))

    assert forecast is not None
    assert (forecast.end_usd, forecast.low_usd, forecast.high_usd) == (125, 125, 125)
    assert (forecast.per_day_usd, forecast.method) == (10, "linear")


def test_only_the_last_two_weeks_count() -> None:
    forecast = linear([Decimal(1000)] * 5 + [Decimal(2)] * 14, spent_usd=Decimal(0), days_left=Decimal(1))

    assert forecast is not None
    assert forecast.end_usd == 2


def test_an_uneven_past_widens_the_range_with_the_square_root_of_the_days_left() -> None:
    uneven = [Decimal(0), Decimal(20)] * 7

    near, far = (linear(uneven, spent_usd=Decimal(0), days_left=Decimal(days)) for days in (4, 16))

    assert near is not None
    assert far is not None
    ratio = (far.high_usd - far.end_usd) / (near.high_usd - near.end_usd)
    assert abs(ratio - 2) < Decimal("0.000001")
    assert near.low_usd < near.end_usd == 40 < near.high_usd


def test_nothing_known_is_not_forecast() -> None:
    assert linear([], spent_usd=Decimal(5), days_left=Decimal(3)) is None


def test_days_before_the_first_use_do_not_slow_the_pace() -> None:
    assert since_first_use([Decimal(0), Decimal(0), Decimal(4), Decimal(0)]) == [Decimal(4), Decimal(0)]
    assert since_first_use([Decimal(0)]) == []


@given(st.lists(amounts, min_size=1, max_size=30), amounts, st.decimals(min_value=0, max_value=31, places=4))
def test_the_range_holds_the_forecast_and_never_falls_below_what_is_spent(
    daily: list[Decimal], spent: Decimal, days_left: Decimal
) -> None:
    forecast = linear(daily, spent_usd=spent, days_left=days_left)

    assert forecast is not None
    assert spent <= forecast.low_usd <= forecast.end_usd <= forecast.high_usd


def test_the_day_of_a_breach_counts_what_is_left_of_today() -> None:
    def day(limit: int, elapsed: str = "0.5") -> date | None:
        return breach_day(
            limit_usd=Decimal(limit),
            spent_usd=Decimal(100),
            per_day_usd=Decimal(10),
            today=date(2026, 11, 23),
            elapsed=Decimal(elapsed),
            last_day=date(2026, 11, 30),
        )

    assert day(104) == date(2026, 11, 23)
    assert day(106) == date(2026, 11, 24)
    assert day(130) == date(2026, 11, 26)
    assert day(174) == date(2026, 11, 30)
    assert day(175) is None
    assert day(90) == date(2026, 11, 23)


def test_without_a_pace_nothing_is_breached() -> None:
    day = date(2026, 11, 23)
    assert (
        breach_day(
            limit_usd=Decimal(1), spent_usd=Decimal(0), per_day_usd=Decimal(0), today=day, elapsed=Decimal(0),
            last_day=day,
        )
        is None
    )  # fmt: skip


QUIET_WEEKEND = [Decimal(usd) for usd in (10, 10, 10, 10, 10, 1, 1)]


def ahead(daily: list[Decimal], days_left: str) -> Decimal:
    found = expected_end(daily, spent_usd=Decimal(0), days_left=Decimal(days_left))
    assert found is not None
    return found.end_usd


@pytest.mark.parametrize("days", [14, 21, 60])
def test_each_day_left_costs_what_its_weekday_usually_does(days: int) -> None:
    """Yesterday was a Sunday: five days of work come first."""
    daily = (QUIET_WEEKEND * 9)[-days:]
    assert [ahead(daily, left) for left in ("1", "5", "7", "14")] == [10, 50, 52, 104]
    assert (
        ahead(daily, "5.25") == Decimal("52.5") - 9
    )  # a quarter of Monday, four of its like, and a Saturday


def test_one_odd_day_of_three_changes_nothing_usual_and_widens_the_range() -> None:
    daily = QUIET_WEEKEND * 3
    daily[2] = Decimal(500)
    odd = expected_end(daily, spent_usd=Decimal(0), days_left=Decimal(7))
    even = expected_end(QUIET_WEEKEND * 3, spent_usd=Decimal(0), days_left=Decimal(7))
    assert odd is not None
    assert even is not None
    assert (odd.end_usd, even.low_usd, even.high_usd) == (52, 52, 52)
    assert odd.low_usd < 52 < odd.high_usd


@pytest.mark.parametrize(
    ("times", "scale"), [("4", "2"), ("9", "3"), ("40", "3"), ("0.25", "0.5"), ("0", "0.5"), ("-1", "0.5")]
)
def test_the_last_week_scales_the_usual_one_by_its_square_root_within_bounds(times: str, scale: str) -> None:
    daily = [*QUIET_WEEKEND, *QUIET_WEEKEND, *(usd * Decimal(times) for usd in QUIET_WEEKEND)]
    assert ahead(daily, "7") == 52 * Decimal(scale)


@given(
    st.lists(st.decimals(min_value=-(10**6), max_value=10**6, places=6), max_size=30),
    amounts,
    st.decimals(min_value=0, max_value=31, places=4),
)
def test_days_that_corrections_took_below_nothing_are_forecast_too(
    daily: list[Decimal], spent: Decimal, days_left: Decimal
) -> None:
    forecast = expected_end(daily, spent_usd=spent, days_left=days_left)
    assert forecast is None or spent <= forecast.low_usd <= forecast.end_usd <= forecast.high_usd


def test_under_two_weeks_of_history_it_is_linear_and_says_so() -> None:
    daily = (QUIET_WEEKEND * 2)[1:]
    short = expected_end(daily, spent_usd=Decimal(5), days_left=Decimal(3))
    long = expected_end(QUIET_WEEKEND * 2, spent_usd=Decimal(5), days_left=Decimal(3))
    assert short == linear(daily, spent_usd=Decimal(5), days_left=Decimal(3))
    assert (short and short.method, long and long.method) == (LINEAR, WEEKLY)


def test_what_prices_will_add_is_part_of_the_end_and_not_of_the_pace() -> None:
    more = expected_end(QUIET_WEEKEND * 3, spent_usd=Decimal(1), days_left=Decimal(7), extra_usd=Decimal(20))
    assert more is not None
    assert (more.end_usd, more.per_day_usd) == (73, (Decimal(52) / 7).quantize(Decimal("1e-12")))


def test_a_month_that_ends_on_a_weekend_is_forecast_better_than_by_its_mean() -> None:
    daily = QUIET_WEEKEND * 3 + QUIET_WEEKEND[:5]  # it is Saturday, and two days are left
    by_mean = linear(daily, spent_usd=Decimal(0), days_left=Decimal(2))
    assert by_mean is not None
    assert abs(ahead(daily, "2") - 2) < abs(by_mean.end_usd - 2)


def test_rare_use_has_no_weekly_pattern() -> None:
    rare = [Decimal(0)] * 20 + [Decimal(30)]
    found = expected_end(rare, spent_usd=Decimal(0), days_left=Decimal(3))
    assert found is not None
    assert found.method == LINEAR
