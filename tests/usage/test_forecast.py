"""Where spend is going."""

from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from usage.forecast import breach_day, linear, since_first_use

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
