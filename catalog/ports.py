"""What the pages of models and prices show besides them. What stands to the left hands it in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from teams.models import User
from teams.selectors import RolesHeld


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectAccess:
    """A project that a person works in, and until when his keys may call tiers there beyond Tier 1."""

    name: str
    code: str
    public_id: str
    granted_until: Mapping[int, datetime]


class ProjectsOf(Protocol):
    """Knows what keys were granted."""

    def __call__(self, user: User, /) -> Sequence[ProjectAccess]:
        """Return the open projects that the person works in, by name. One query."""


class Approvers(Protocol):
    """Knows who approves what."""

    def __call__(self) -> Mapping[int, str]:
        """Return who approves each tier that may be asked for, as `the team lead`. One query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamEffect:
    """By how many US dollars in 30 days a change of prices moves what a team pays for the same use."""

    team: str
    monthly_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEffect:
    """What a known change of one model's prices does to 30 days of the use of the last 30 days.

    `times` is the cost after it against before; None when it was free. `teams` stand with the largest first.
    """

    model: str
    at: datetime
    times: Decimal | None
    monthly_usd: Decimal
    teams: tuple[TeamEffect, ...]


class PlannedEffects(Protocol):
    """Knows what was used, and so what a change of prices will do."""

    def __call__(self, roles: RolesHeld, /) -> Sequence[PlannedEffect]:
        """Return the known changes that move what this person's teams pay, the next first. Three queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnUse:
    """What a person used of chat models in the last 30 days, and what it would cost on each, by model id."""

    calls: int
    cost_usd: Decimal
    used: Mapping[int, Decimal]
    monthly_usd: Mapping[int, Decimal]


class OwnUseOf(Protocol):
    """Knows what a person used."""

    def __call__(self, user: User, /) -> OwnUse | None:
        """Return the person's own use of the last 30 days, None without any. Two queries."""
