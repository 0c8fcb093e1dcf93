"""What the page of models shows besides models. Keys and approvals stand to the left, so they hand it in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from teams.models import User


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
