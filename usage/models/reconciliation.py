"""Where the portal and a gateway's journal differ."""

from django.db import models
from django.db.models import Q

from budgets.models import MONEY
from core.ids import PublicIdField
from teams.models import User


class RunState(models.TextChoices):
    """The outcome of a reconciliation. A source that could not be read is red, never "no difference"."""

    MATCHED = "matched", "Matched"
    DIFFERENT = "different", "Differences found"
    UNREADABLE = "unreadable", "A source could not be read"


class ReconciliationRun(models.Model):
    """Portal against gateway for one UTC day and source. Running it again updates the same row."""

    day = models.DateField()
    source = models.CharField(max_length=40)
    state = models.CharField(max_length=12, choices=RunState)
    portal_calls = models.BigIntegerField(default=0)
    gateway_calls = models.BigIntegerField(default=0)
    portal_input_tokens = models.BigIntegerField(default=0)
    gateway_input_tokens = models.BigIntegerField(default=0)
    portal_output_tokens = models.BigIntegerField(default=0)
    gateway_output_tokens = models.BigIntegerField(default=0)
    portal_cost_usd = models.DecimalField(**MONEY, default=0)
    drift_usd = models.DecimalField(**MONEY, default=0)
    runs = models.PositiveIntegerField(default=0)
    first_run_at = models.DateTimeField()
    last_run_at = models.DateTimeField()

    class Meta:
        ordering = ("-day", "source")
        constraints = (
            models.UniqueConstraint(fields=("day", "source"), name="reconciliation_one_per_day_and_source"),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.source}"


class DiscrepancyClass(models.TextChoices):
    """In what way the two sides differ (the rest of the classes need a provider's figures)."""

    MISSING_AT_PORTAL = "missing_at_portal", "At the gateway, not in the ledger"
    MISSING_AT_GATEWAY = "missing_at_gateway", "In the ledger, not at the gateway"
    TOKEN_MISMATCH = "token_mismatch", "Token counts differ"


class DiscrepancyState(models.TextChoices):
    """What became of a difference."""

    OPEN = "open", "Open"
    EXPLAINED = "explained", "Explained"
    CORRECTED = "corrected", "Corrected"
    ACCEPTED = "accepted", "Accepted"


class Discrepancy(models.Model):
    """One call on which portal and gateway differ."""

    public_id = PublicIdField(prefix="dsc")
    run = models.ForeignKey(ReconciliationRun, on_delete=models.PROTECT, related_name="discrepancies")
    kind = models.CharField(max_length=20, choices=DiscrepancyClass)
    external_id = models.CharField(max_length=100)
    detail = models.JSONField(default=dict)
    amount_usd = models.DecimalField(**MONEY, default=0)
    state = models.CharField(max_length=10, choices=DiscrepancyState, default=DiscrepancyState.OPEN)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    note = models.CharField(max_length=240, blank=True)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "discrepancies"
        constraints = (
            models.UniqueConstraint(
                fields=("run", "kind", "external_id"), name="discrepancy_each_call_once_per_run"
            ),
            models.CheckConstraint(
                condition=Q(state=DiscrepancyState.OPEN, closed_at__isnull=True)
                | (~Q(state=DiscrepancyState.OPEN) & Q(closed_at__isnull=False)),
                name="discrepancy_closed_has_a_time",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind}: {self.external_id}"
