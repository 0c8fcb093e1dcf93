"""What budgets need of an app that stands to their left."""

from collections.abc import Collection, Iterable
from typing import Protocol

from budgets.scopes import ScopeName
from teams.models import User


class KeyDirectory(Protocol):
    """Knows the keys: they belong to an app that imports this one."""

    def visible_ids(self, user: User) -> Iterable[int]:
        """Return the ids of the keys whose budgets the user may see, maybe as a queryset that is not read."""

    def names(self, user: User, key_ids: Collection[int]) -> dict[int, ScopeName]:
        """Return those of these keys that the user may see. One query."""
