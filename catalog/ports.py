"""What the page of models shows besides models. Keys and approvals stand to the left, so they hand it in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from teams.models import User


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedTier:
    """A tier that a person's key may call in a project until a moment."""

    tier: int
    project_id: int
    until: datetime


class GrantsOf(Protocol):
    """Knows what keys were granted."""

    def __call__(self, user: User, /) -> Iterable[GrantedTier]:
        """Return what the person's own keys may call now, beyond Tier 1. One query."""


class Approvers(Protocol):
    """Knows who approves what."""

    def __call__(self) -> Mapping[int, str]:
        """Return who approves each tier that may be asked for, as `the team lead`. One query."""
