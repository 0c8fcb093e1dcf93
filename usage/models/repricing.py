"""Pricing past calls again: proposed with its figures, approved by a second person, booked in batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import F, Q

from budgets.models import MONEY
from catalog.models import LlmModel
from core.clock import now
from core.ids import PublicIdField
from teams.models import User


class RepricingState(models.TextChoices):
    """The life of a repricing. DONE and REJECTED are final."""

    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Being booked"
    DONE = "done", "Booked"
    REJECTED = "rejected", "Rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamSum:
    """What changes for one team: calls, what they are charged, and what they would be, in US dollars."""

    team: str
    calls: int
    old_usd: Decimal
    new_usd: Decimal

    @property
    def difference_usd(self) -> Decimal:
        """Return what is corrected: negative when the team gets money back."""
        return self.new_usd - self.old_usd

    def as_json(self) -> dict[str, str | int]:
        """Return it as a repricing keeps it."""
        return {
            "team": self.team,
            "calls": self.calls,
            "old_usd": str(self.old_usd),
            "new_usd": str(self.new_usd),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "TeamSum":
        """Read what a repricing keeps."""
        return cls(
            team=kept["team"],
            calls=kept["calls"],
            old_usd=Decimal(kept["old_usd"]),
            new_usd=Decimal(kept["new_usd"]),
        )


class Repricing(models.Model):
    """The calls of one model in [starts_at, ends_at), as known when it was proposed, at today's dated prices.

    `teams` are {team, calls, old_usd, new_usd} of the calls that change. `reached_at` is how far it is
    booked: what was made before it is done.
    """

    public_id = PublicIdField(prefix="rpr")
    model = models.ForeignKey(LlmModel, on_delete=models.PROTECT, related_name="repricings")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=240)
    calls = models.BigIntegerField()
    old_usd = models.DecimalField(**MONEY)
    new_usd = models.DecimalField(**MONEY)
    teams = models.JSONField()
    state = models.CharField(max_length=10, choices=RepricingState, default=RepricingState.WAITING)
    proposed_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField(default=now)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    answer = models.CharField(max_length=240, blank=True)
    reached_at = models.DateTimeField()
    booked_calls = models.BigIntegerField(default=0)
    skipped_calls = models.BigIntegerField(default=0, help_text="Calls whose charge was not found.")
    booked_usd = models.DecimalField(**MONEY, default=0)
    done_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "usage_repricing"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("model",),
                condition=Q(state__in=(RepricingState.WAITING, RepricingState.RUNNING)),
                name="repricing_one_open_per_model",
            ),
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")), name="repricing_period_is_not_empty"
            ),
            models.CheckConstraint(
                condition=Q(state=RepricingState.WAITING, decided_by__isnull=True)
                | (~Q(state=RepricingState.WAITING) & Q(decided_by__isnull=False)),
                name="repricing_decided_has_somebody",
            ),
            models.CheckConstraint(
                condition=Q(state__in=(RepricingState.WAITING, RepricingState.REJECTED))
                | ~Q(decided_by=F("proposed_by")),
                name="repricing_is_approved_by_somebody_else",
            ),
        )

    def __str__(self) -> str:
        return f"{self.model}, priced again"

    @property
    def difference_usd(self) -> Decimal:
        """Return what is corrected in all: negative when money is given back."""
        return self.new_usd - self.old_usd

    @property
    def team_sums(self) -> list[TeamSum]:
        """Return what changes for each team, the largest rise first."""
        return [TeamSum.from_json(kept) for kept in self.teams]
