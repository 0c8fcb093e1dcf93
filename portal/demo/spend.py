"""What a project or a key spent, as budgets are planned on it: from calls in memory, or from the books."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Protocol

from django.db.models import Sum

from core.money import ZERO
from keys.models import ApiKey
from portal.demo.amounts import round_up
from portal.demo.calls import Call
from usage.forecast import PACE_DAYS
from usage.models import UsageDay
from usage.selectors.periods import this_month

ROOM = Decimal("1.4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a project or key spent this month, would in thirty days at its pace, and on its dearest day."""

    spent_usd: Decimal
    pace_usd: Decimal
    largest_day_usd: Decimal

    @property
    def on_track_usd(self) -> Decimal:
        """Return a limit that leaves room."""
        return round_up(max(self.pace_usd, self.spent_usd) * ROOM)


class Spend(Protocol):
    """Knows what was spent."""

    def use(self, code: str, key: ApiKey | None = None) -> Use:
        """Return what a project spent, with one key where it is given."""


class SpendOfCalls:
    """What calls in memory cost."""

    def __init__(self, calls: Mapping[str, Sequence[Call]], *, today: date) -> None:
        self._calls, self._today = calls, today

    def use(self, code: str, key: ApiKey | None = None) -> Use:
        """Return what a project spent, with one key where it is given."""
        by_day: dict[date, Decimal] = {}
        for call in self._calls[code]:
            if key in {None, call.key}:
                by_day[call.day] = by_day.get(call.day, ZERO) + call.cost_usd
        return _use(by_day, self._today)


class SpendOfBooks:
    """What the books hold. One query each time."""

    def __init__(self, *, today: date) -> None:
        self._today = today

    def use(self, code: str, key: ApiKey | None = None) -> Use:
        """Return what a project spent, with one key where it is given."""
        rows = UsageDay.objects.filter(project__code=code)
        if key is not None:
            rows = rows.filter(key_id=key.pk)
        days = rows.values_list("day").annotate(usd=Sum("cost_usd")).order_by()
        return _use(dict(days), self._today)


def _use(by_day: Mapping[date, Decimal], today: date) -> Use:
    first = this_month(today).first_day
    lately = [by_day.get(today - timedelta(days=back), ZERO) for back in range(1, PACE_DAYS + 1)]
    return Use(
        spent_usd=sum((usd for day, usd in by_day.items() if day >= first), ZERO),
        pace_usd=sum(lately, ZERO) / PACE_DAYS * 30,
        largest_day_usd=max(lately),
    )
