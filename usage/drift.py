"""Tells when a project has come to spend more than it usually does at this hour of the week. Pure.

One-sided CUSUM (E. S. Page, Continuous inspection schemes, 1954) on the square root of what each five minutes
cost, which steadies the spread of many small calls. Each is held against the mean and deviation of the same
hour of the week in the last four weeks. In simulation it finds a leak of $8 an hour in about 19 hours.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import sqrt

from core.money import ZERO

SLOT = timedelta(minutes=5)
SLOTS_AN_HOUR = 12
WEEK = timedelta(weeks=1)
WEEKS = 4
SLOTS_KNOWN = WEEKS * SLOTS_AN_HOUR  # of one hour of the week
# In standard deviations: by how much a slot may be above its usual without counting, and when to warn.
ALLOWANCE, BAR = 1.0, 10.0
# In roots of a dollar: an hour in which nothing ever happened has no spread of its own.
LEAST_DEVIATION = 0.25
# Less than this above the usual is not worth a message, however unusual: two dear calls of a quiet project.
LEAST_EXCESS_USD = Decimal(20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What five minutes of an hour of the week cost in the last weeks, in roots of dollars, and in them."""

    mean_root: float
    deviation: float
    mean_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far a project is above its usual, in standard deviations added up, and since when without a break.

    `spent_usd` and `usual_usd` are what it cost since then, and what that time usually costs.
    """

    height: float = 0.0
    since: datetime | None = None
    spent_usd: Decimal = ZERO
    usual_usd: Decimal = ZERO

    @property
    def is_warning(self) -> bool:
        """Whether somebody should look at it."""
        return self.height > BAR and self.spent_usd - self.usual_usd >= LEAST_EXCESS_USD


LEVEL = Drift()


def usual_of(root_sum: float, usd: Decimal) -> Usual:
    """Return what an hour of the week usually costs, from the sums of roots and of dollars over all its known
    slots. Those without any spend add nothing to either.
    """
    mean = root_sum / SLOTS_KNOWN
    # The square of a root is the dollar itself, so the sum of squares is the sum of dollars.
    variance = max(float(usd) / SLOTS_KNOWN - mean * mean, 0.0)
    return Usual(mean_root=mean, deviation=sqrt(variance) + LEAST_DEVIATION, mean_usd=usd / SLOTS_KNOWN)


def root_of(usd: Decimal) -> float:
    """Return the square root of what a slot cost; a slot of corrections alone cost nothing."""
    return sqrt(max(float(usd), 0.0))


def follow(drift: Drift, usd: Decimal, usual: Usual, *, at: datetime) -> Drift:
    """Return the drift after one more slot, which began at `at`. After a warning it starts level again."""
    before = LEVEL if drift.is_warning else drift
    height = before.height + (root_of(usd) - usual.mean_root) / usual.deviation - ALLOWANCE
    if height <= 0:
        return LEVEL
    return Drift(
        height=height,
        since=before.since or at,
        spent_usd=before.spent_usd + usd,
        usual_usd=before.usual_usd + usual.mean_usd,
    )
