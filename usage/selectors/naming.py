"""Names as they were at the end of a period, so that the past keeps its labels."""

from dataclasses import dataclass
from datetime import datetime

from core import clock
from teams.models import NamedKind
from teams.selectors import FormerNames, former_names
from usage.selectors.periods import end_of
from usage.types import Period


@dataclass(frozen=True, slots=True, kw_only=True)
class NamesThen:
    """What things were called at a moment."""

    then: datetime
    former: FormerNames

    def of(self, kind: NamedKind, object_id: int, name_now: str) -> str:
        """Return what a thing was called."""
        return self.former.at(self.then, kind, object_id, name_now)


def names_at_end(period: Period) -> NamesThen:
    """Return the names of a period's end, or of now while it runs. One query."""
    then = named_at(period)
    return NamesThen(then=then, former=former_names(then))


def named_at(period: Period) -> datetime:
    """Return the moment whose names a period bears."""
    return min(clock.now(), end_of(period.last_day))
