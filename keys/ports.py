"""What apps to the left have to do with keys: they read the use that a page of keys shows, which the portal
hands in, and they are told when a key ends.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

from django.db.models import Subquery
from django.dispatch import Signal

# Sent with `key` and `grant` in the transaction in which that grant, or the key for good where `grant` is
# None, was ended; the key is locked.
access_ended = Signal()


class KeyUse(Protocol):
    """What a key consumed so far: its last day of use, and its cost in this month in US dollars."""

    @property
    def last_day(self) -> date:
        """Return the organisation's day of the last call."""

    @property
    def month_usd(self) -> Decimal:
        """Return the cost of this month."""


class UseOfKeys(Protocol):
    """Reads the use of keys by their ids in one query; a key that was never used is missing."""

    def __call__(self, key_ids: Collection[int], /) -> Mapping[int, KeyUse]:
        """Return what each key consumed."""


class ColumnsOfUse(Protocol):
    """Knows how the database sorts keys by their use."""

    def __call__(self) -> Mapping[str, Subquery]:
        """Return columns of keys: `last_day` and `month_usd` of `KeyUse`, null for one never used."""


class ExposedTime(Protocol):
    """Calls and cost of a key in one of the last times, such as its last 24 hours, in US dollars."""

    @property
    def label(self) -> str:
        """Return what the time is called."""

    @property
    def calls(self) -> int:
        """Return how many calls were made."""

    @property
    def usd(self) -> Decimal:
        """Return what they cost."""


class PaceOfKey(Protocol):
    """How fast a key spends, in US dollars within an hour, and above what the breaker suspends it."""

    @property
    def hour_usd(self) -> Decimal:
        """Return what counts of the last hour."""

    @property
    def most_usd_an_hour(self) -> Decimal:
        """Return the most that it may be."""


class KeyExposure(Protocol):
    """What a key did lately, and so what its end stops."""

    @property
    def pace(self) -> PaceOfKey:
        """Return how fast it spends now."""

    @property
    def last_used_at(self) -> datetime | None:
        """Return the moment of the last call, if it was in the last 24 hours."""

    @property
    def last_used_on(self) -> date | None:
        """Return the day of the last call, if there was one."""

    @property
    def times(self) -> Sequence[ExposedTime]:
        """Return the last times, the shortest first."""


class ExposureOfKey(Protocol):
    """Reads what one key did lately, by its id."""

    def __call__(self, key_id: int, /) -> KeyExposure:
        """Return what the key did."""
