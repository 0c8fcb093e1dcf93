"""What budgets need of an app that stands to their left."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from budgets.scopes import ScopeName
from budgets.types import BudgetRow
from teams.models import User


class KeyDirectory(Protocol):
    """Knows the keys: they belong to an app that imports this one."""

    def visible_ids(self, user: User) -> Iterable[int]:
        """Return the ids of the keys whose budgets the user may see, maybe as a queryset that is not read."""

    def names(self, user: User, key_ids: Collection[int]) -> dict[int, ScopeName]:
        """Return those of these keys that the user may see. One query."""

    def find(self, user: User, public_id: str) -> int | None:
        """Return the id of a key that the user may see. One query."""


class KeyLabels(Protocol):
    """Knows what people call the keys."""

    def __call__(self, user: User, key_ids: Collection[int], /) -> Mapping[int, str]:
        """Return the label, such as `nightly of Ada Moreno`, of those that the user may see. One query."""


class Expected(Protocol):
    """Where a budget's window is expected to end, in US dollars."""

    @property
    def end_usd(self) -> Decimal:
        """Return what the window is expected to come to."""


class Forecasts(Protocol):
    """Knows what was used, and so where budgets are going."""

    def __call__(self, rows: Sequence[BudgetRow], /) -> Mapping[int, Expected]:
        """Return the forecast of each budget by its id, where there is one. One query."""


class AskForMore(Protocol):
    """Knows where somebody asks for more than he may set himself."""

    def __call__(self, public_id: str, /) -> str:
        """Return the address of the form that asks for more of this budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What the pages of budgets are handed; without `ask_for_more` they only say whom to ask."""

    keys: KeyDirectory
    key_labels: KeyLabels
    forecasts: Forecasts
    ask_for_more: AskForMore | None = None
