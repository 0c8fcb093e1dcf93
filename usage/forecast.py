"""Where spend is going: pure arithmetic over what each day cost, in US dollars."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

from core.money import ZERO, quantise
from usage.types import Forecast

LINEAR = "linear"
# Two whole weeks: every weekday counts twice, so a month that starts on a weekend is not forecast as a quiet
# one.
PACE_DAYS = 14
# Of a normal distribution, 80 % lies within this many standard deviations.
RANGE_DEVIATIONS = Decimal("1.2816")


def linear(
    daily_usd: Sequence[Decimal], *, spent_usd: Decimal, days_left: Decimal, extra_usd: Decimal = ZERO
) -> Forecast | None:
    """Forecast the end of a window: what is spent, plus the mean of the last complete days for each day left,
    plus what known changes of prices add (`extra_usd`, negative when they get lower).

    `daily_usd` are the complete days before today, the last one yesterday; days before the first use are not
    part of them. None without a complete day. The range is that of a sum of independent days with the spread
    of the past ones.
    """
    pace = daily_usd[-PACE_DAYS:]
    if not pace:
        return None
    mean = sum(pace, ZERO) / len(pace)
    variance = sum(((day - mean) ** 2 for day in pace), ZERO) / max(len(pace) - 1, 1)
    expected = max(mean * days_left + extra_usd, ZERO)
    spread = RANGE_DEVIATIONS * (variance * days_left).sqrt()
    return Forecast(
        end_usd=quantise(spent_usd + expected),
        low_usd=quantise(spent_usd + max(expected - spread, ZERO)),
        high_usd=quantise(spent_usd + expected + spread),
        per_day_usd=quantise(mean),
        method=LINEAR,
    )


def since_first_use(daily_usd: Sequence[Decimal]) -> Sequence[Decimal]:
    """Leave out the days before anything was used."""
    first = next((number for number, amount in enumerate(daily_usd) if amount), len(daily_usd))
    return daily_usd[first:]


def breach_day(
    *,
    limit_usd: Decimal,
    spent_usd: Decimal,
    per_day_usd: Decimal,
    today: date,
    elapsed: Decimal,
    last_day: date,
) -> date | None:
    """Return the day on which spend reaches the limit at this pace, or None when that is after `last_day`.

    `elapsed` is the share of today that has passed.
    """
    if per_day_usd <= 0:
        return None
    days = elapsed + max(limit_usd - spent_usd, ZERO) / per_day_usd
    if days >= (last_day - today).days + 1:
        return None
    return today + timedelta(days=int(days))
