"""How fast projects spend: what the watch for leaks remembers, and what it warned of."""

from decimal import Decimal

from django.db import models
from django.db.models import F, Q

from budgets.models import COPIED, MONEY
from core.ids import PublicIdField
from teams.models import Project


class SpendPace(models.Model):
    """What the five-minute slots of an hour cost a project: the sum of their roots, and of their dollars.

    That is all that mean and deviation need (usage.drift). An hour without spend has no row.
    """

    project = models.ForeignKey(Project, **COPIED)
    hour = models.DateTimeField()
    root_sum = models.FloatField()
    cost_usd = models.DecimalField(**MONEY)

    class Meta:
        db_table = "usage_pace"
        constraints = (
            models.UniqueConstraint(fields=("hour", "project"), name="usage_pace_one_row_per_project_hour"),
        )

    def __str__(self) -> str:
        return f"{self.hour}: {self.cost_usd}"


class SpendDrift(models.Model):
    """How far a project is above its usual spend now (usage.drift.Drift); `watched_since` its first spend."""

    project = models.ForeignKey(Project, **COPIED)
    watched_since = models.DateTimeField()
    height = models.FloatField(default=0)
    since = models.DateTimeField(null=True)
    spent_usd = models.DecimalField(**MONEY, default=0)
    usual_usd = models.DecimalField(**MONEY, default=0)

    class Meta:
        db_table = "usage_drift"
        constraints = (models.UniqueConstraint(fields=("project",), name="usage_drift_one_row_per_project"),)

    def __str__(self) -> str:
        return f"{self.height:.1f}"


class SpendWatch(models.Model):
    """Up to which moment spend was looked at, in one row; whoever looks holds its lock."""

    through = models.DateTimeField(null=True)

    class Meta:
        db_table = "usage_watch"

    def __str__(self) -> str:
        return f"through {self.through}"


class SpendWarning(models.Model):
    """A project spends more than it usually does at these hours, since `since`: once a day. Insert-only.

    `spent_usd` is what it cost since then, `usual_usd` what that time usually costs.
    """

    public_id = PublicIdField(prefix="wrn")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="spend_warnings")
    day = models.DateField(help_text="The organisation's day.")
    since = models.DateTimeField()
    warned_at = models.DateTimeField()
    spent_usd = models.DecimalField(**MONEY)
    usual_usd = models.DecimalField(**MONEY)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("project", "day"), name="spend_warning_once_a_day"),
            models.CheckConstraint(
                condition=Q(spent_usd__gt=F("usual_usd"), warned_at__gt=F("since")),
                name="spend_warning_is_of_more_than_usual",
            ),
        )

    def __str__(self) -> str:
        return f"{self.project} on {self.day}"

    @property
    def usd_per_hour(self) -> Decimal:
        """Return what the project spends an hour since then."""
        return self.spent_usd / self._hours

    @property
    def usual_usd_per_hour(self) -> Decimal:
        """Return what it usually spends an hour at these times."""
        return self.usual_usd / self._hours

    @property
    def _hours(self) -> Decimal:
        return Decimal((self.warned_at - self.since).total_seconds()) / 3_600
