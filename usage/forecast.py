"""Where spend is going: pure arithmetic over what each day cost, in US dollars."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from statistics import median

from core.money import ZERO, quantise
from usage.types import Forecast

LINEAR, WEEKLY = "linear", "weekly pattern"
# Two whole weeks: every weekday counts twice, so a month that starts on a weekend is not forecast as a quiet
# one.
PACE_DAYS = 14
WEEK = 7
HISTORY_DAYS = 3 * WEEK
LEAST_SCALE, MOST_SCALE = Decimal("0.5"), Decimal(3)
# Of a normal distribution, 80 % lies within this many standard deviations.
RANGE_DEVIATIONS = Decimal("1.2816")


def expected_end(
    daily_usd: Sequence[Decimal], *, spent_usd: Decimal, days_left: Decimal, extra_usd: Decimal = ZERO
) -> Forecast | None:
    """Forecast the end of a window by what is usual on each day of the week; see `linear` for the terms.

    A day left is expected to cost the median of its weekday in the last three weeks, times the square root of
    how the last seven days compare with a usual week (half of what is new goes by: docs/adr/0031), at least
    half of it and at most three times. The range is that of the differences between past days and the usual.
    With less than two weeks of history, or where most days cost nothing, it is linear.
    """
    known = daily_usd[-HISTORY_DAYS:]
    usual = [_usual(known, offset) for offset in range(WEEK)]
    week = sum(usual, ZERO)
    if len(known) < PACE_DAYS or week <= 0:
        recent = since_first_use(daily_usd[-PACE_DAYS:])
        return linear(recent, spent_usd=spent_usd, days_left=days_left, extra_usd=extra_usd)
    last_usd = max(sum(known[-WEEK:], ZERO), ZERO)  # less than nothing where corrections took more back
    scale = min(max((last_usd / week).sqrt(), LEAST_SCALE), MOST_SCALE)
    ahead = zip(usual, _left_of_weekdays(days_left), strict=True)
    base = scale * sum((usd * left for usd, left in ahead), ZERO)
    # The last of the known days is yesterday, whose weekday comes again in six days.
    residuals = [usd - usual[-1 - back % WEEK] for back, usd in enumerate(reversed(known))]
    variance = sum((each * each for each in residuals), ZERO) / (len(known) - 1)
    spread = RANGE_DEVIATIONS * scale * (variance * days_left).sqrt()
    expected = max(base + extra_usd, ZERO)
    return Forecast(
        end_usd=quantise(spent_usd + expected),
        low_usd=quantise(spent_usd + max(expected - spread, ZERO)),
        high_usd=quantise(spent_usd + expected + spread),
        per_day_usd=quantise(base / days_left if days_left else scale * week / WEEK),
        method=WEEKLY,
    )


def _usual(known: Sequence[Decimal], offset: int) -> Decimal:
    """Return the median of the weekday that is so many days ahead of today, over the weeks that are known."""
    same = [known[at] for at in range(len(known) - WEEK + offset, -1, -WEEK)]
    return median(same) if same else ZERO


@lru_cache(maxsize=32)  # all budgets whose windows end together have the same days left
def _left_of_weekdays(days_left: Decimal) -> tuple[Decimal, ...]:
    """Return how many days are left of each weekday, today's first, of which a part may be left."""
    whole = int(days_left)
    rest = days_left - whole  # of today
    first = 1 if rest else 0
    left = [rest, *[ZERO] * (WEEK - 1)]
    for ahead in range(first, whole + first):
        left[ahead % WEEK] += 1
    return tuple(left)


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
