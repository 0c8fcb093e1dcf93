"""The days that figures are about, in the organisation's time zone."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache

from django.utils import timezone

from core import clock
from usage.types import Period


def organisation_today(at: datetime | None = None) -> date:
    """Return the organisation's day at a moment, by default now."""
    return timezone.localtime(at or clock.now(), timezone.get_default_timezone()).date()


def day_starts_at(day: date) -> datetime:
    """Return the moment at which a day starts."""
    return datetime.combine(day, time.min, tzinfo=timezone.get_default_timezone())


def end_of(day: date) -> datetime:
    """Return the last moment of a day."""
    return day_starts_at(day + timedelta(days=1)) - timedelta(microseconds=1)


def moments_of(first_day: date, last_day: date) -> tuple[datetime, datetime]:
    """Return when the first day starts and the last one ends; days to come end with today."""
    last = min(last_day, organisation_today())
    return day_starts_at(first_day), day_starts_at(last + timedelta(days=1))


def elapsed_share(at: datetime) -> Decimal:
    """Return the share of its day that has passed at a moment, from 0 to 1."""
    today = organisation_today(at)
    start, end = day_starts_at(today), day_starts_at(today + timedelta(days=1))
    passed = Decimal(str((at - start).total_seconds()))
    return min(passed / Decimal(str((end - start).total_seconds())), Decimal(1))


def this_month(today: date) -> Period:
    """Return the month of a day."""
    return _month(today.replace(day=1))


def month_of(text: str) -> Period:
    """Return the month that is written as 2026-11. Raises ValueError for anything else."""
    if len(text) != len("2026-11"):
        raise ValueError(text)
    return this_month(date.fromisoformat(f"{text}-01"))


def last_month(today: date) -> Period:
    """Return the month before that of a day."""
    return this_month(today.replace(day=1) - timedelta(days=1))


def last_days(today: date, number: int = 7) -> Period:
    """Return so many days that end with today."""
    return Period(first_day=today - timedelta(days=number - 1), last_day=today, label=f"last {number} days")


def custom(first_day: date, last_day: date) -> Period:
    """Return a period that somebody chose."""
    return Period(
        first_day=first_day, last_day=last_day, label=f"{first_day:%-d %B %Y} to {last_day:%-d %B %Y}"
    )


@lru_cache(maxsize=64)  # an Overview asks some hundred times for the same two
def _month(first: date) -> Period:
    return Period(first_day=first, last_day=_last_of_month(first), label=f"{first:%B %Y}")


def _last_of_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
