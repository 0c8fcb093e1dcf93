"""What apps to the left hand in: how what a leaver holds there is ended, and what that would be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from teams.models import User


class Ending(Protocol):
    """Ends what a leaver has in an app to the left, in the transaction in which he leaves."""

    def __call__(self, *, actor: User | None, person: User, reason: str) -> Mapping[str, int]:
        """End it and return how many of what. Again changes nothing."""


class Consequences(Protocol):
    """Reads what will end when a person leaves."""

    def __call__(self, person: User, /) -> Sequence[str]:
        """Return it in sentences, the gravest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """All that is needed to let a person leave, joined together by the portal."""

    endings: Sequence[Ending]
    consequences: Consequences
