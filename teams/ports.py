"""What apps to the left hand in: how what a leaver holds there is ended, and what that would be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from django.db.models import TextChoices
from django.dispatch import Signal

from teams.models import Team, User

# Asks for the rows of roles that somebody else lent to `user`: one QuerySet, (STANDS_IN, team, department).
lent_roles = Signal()
STANDS_IN = "stands_in"


class Ending(Protocol):
    """Ends what a leaver has in an app to the left, in the transaction in which he leaves."""

    def __call__(self, *, actor: User | None, person: User, reason: str) -> Mapping[str, int]:
        """End it and return how many of what. Again changes nothing."""


class TeamEnding(Protocol):
    """Ends what somebody has of a team in an app to the left, in the transaction in which he leaves it."""

    def __call__(self, *, actor: User | None, person: User, team: Team, reason: str) -> Mapping[str, int]:
        """End it and return how many of what. Again changes nothing."""


class ConsequenceKind(TextChoices):
    """What a consequence of leaving is about."""

    KEY = "key", "A key is revoked"
    GRANTS = "grants", "Access to higher tiers ends"
    REQUESTS = "requests", "Requests are closed"
    API_TOKEN = "api_token", "An API token is revoked"
    DELEGATIONS = "delegations", "Delegations end"
    ROLE = "role", "A role ends"
    PROJECT = "project", "A project stays without an owner"
    SERVICE_ACCOUNT = "service_account", "A service stays with nobody to answer for it"
    SESSIONS = "sessions", "Sign-ins end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """What ends, or stays behind, when a person leaves; `public_id` where it is about one object."""

    kind: ConsequenceKind
    text: str
    public_id: str | None = None


class Consequences(Protocol):
    """Reads what will end when a person leaves."""

    def __call__(self, person: User, /) -> Sequence[Consequence]:
        """Return it, the gravest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """All that is needed to let a person leave, joined together by the portal."""

    endings: Sequence[Ending]
    consequences: Consequences
