"""Of which share of a limit people are told, when a budget has passed some. Pure.

An alert is about a limit in force: with another limit every share can be passed again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

ALL_OF_IT = 100  # from here on something happens at the limit
NEARLY_ALL = 80  # the last share below it, where none was chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A share of a limit that the budget passed before in the same window, and what was spent then."""

    percent: int
    limit_usd: Decimal
    limit_since: datetime
    spent_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What a budget has passed of the limit in force and nobody has written down; `percents` in order."""

    budget_id: int
    window_start: datetime
    window_end: datetime
    limit_usd: Decimal
    limit_since: datetime
    spent_usd: Decimal
    held_usd: Decimal
    percents: Sequence[int]


def share_to_tell(passed: Passed, before: Collection[Earlier]) -> int | None:
    """Return the one share that people are told of: the highest, or None where that is no news.

    It is none where a higher share of this limit was told already, and where a limit was raised: 50 % of the
    new limit, when as much was spent as people knew when they raised it. All of a limit is always news.
    """
    highest = max(passed.percents)
    if any(each.limit_since == passed.limit_since and each.percent > highest for each in before):
        return None
    if highest < ALL_OF_IT and any(_covers(each, passed, highest) for each in before):
        return None
    return highest


def _covers(known: Earlier, passed: Passed, percent: int) -> bool:
    """Whether it says as much as passing `percent` of the present limit does."""
    is_raised = known.limit_usd < passed.limit_usd
    return is_raised and known.percent >= percent and 100 * known.spent_usd >= percent * passed.limit_usd
