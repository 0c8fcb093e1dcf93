"""Months of the books: open, softly closed, closed, and what was closed."""

from django.db import models
from django.db.models import Q

from budgets.models import MONEY
from core.ids import PublicIdField
from teams.models import User
from usage.models.events import Cut, TokenCounts


class PeriodState(models.TextChoices):
    """How far a month is done. A month without a row is open."""

    OPEN = "open", "Open"
    SOFT = "soft", "Softly closed"
    CLOSED = "closed", "Closed"
    REOPENED = "reopened", "Reopened"


class PeriodClose(models.Model):
    """How far one month, in the organisation's time zone, is closed, and by whom.

    What is closed does not change: what comes later is booked in the open month and says so. Who closed a
    month does not reopen it.
    """

    public_id = PublicIdField(prefix="prd")
    month = models.DateField(unique=True, help_text="The first day of the month.")
    state = models.CharField(max_length=10, choices=PeriodState, default=PeriodState.OPEN)
    soft_closed_at = models.DateTimeField(null=True)
    soft_closed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    closed_at = models.DateTimeField(null=True)
    closed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    reopened_at = models.DateTimeField(null=True)
    reopened_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=240, blank=True, help_text="Why it was reopened.")

    class Meta:
        db_table = "usage_period_close"
        ordering = ("-month",)
        constraints = (
            models.CheckConstraint(condition=Q(month__day=1), name="period_starts_on_a_first"),
            models.CheckConstraint(
                condition=~Q(state=PeriodState.CLOSED) | Q(closed_at__isnull=False, closed_by__isnull=False),
                name="period_is_closed_by_somebody",
            ),
            models.CheckConstraint(
                condition=~Q(state=PeriodState.REOPENED)
                | (Q(reopened_at__isnull=False, reopened_by__isnull=False) & ~Q(reason="")),
                name="period_is_reopened_with_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(reopened_by__isnull=True)
                | ~Q(state=PeriodState.REOPENED)
                | ~Q(reopened_by=models.F("closed_by")),
                name="period_is_reopened_by_another",
            ),
        )

    def __str__(self) -> str:
        return f"{self.month:%B %Y}"


class PeriodFigure(Cut, TokenCounts):
    """What a month came to when it was closed, by project, model and tier. Insert-only (trigger).

    `closed_at` tells the closes of a month apart that was reopened between them.
    """

    period = models.ForeignKey(PeriodClose, on_delete=models.PROTECT, related_name="figures")
    closed_at = models.DateTimeField()
    calls = models.BigIntegerField()
    cost_usd = models.DecimalField(**MONEY)

    class Meta:
        db_table = "usage_period_figure"
        constraints = (
            models.UniqueConstraint(
                fields=("period", "closed_at", "project", "model", "team", "department", "tier"),
                name="period_figure_one_row_per_attribution",
            ),
        )

    def __str__(self) -> str:
        return f"{self.cost_usd}"
