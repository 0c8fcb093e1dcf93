"""What a page of keys shows of their use. `usage` stands to the left, so the portal hands its reader in."""

from collections.abc import Collection, Mapping
from datetime import date
from decimal import Decimal
from typing import Protocol


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
