"""What was consumed: every call once, its roll-ups, what a gateway says of it, and where the two differ."""

from django.db import models
from django.db.models import Q

from budgets.models import COPIED, MONEY
from catalog.models import LlmModel, Tier
from core.clock import now
from core.ids import PublicIdField
from teams.models import Department, Project, Team, User


class Finish(models.TextChoices):
    """How a call ended."""

    STOP = "stop", "Complete"
    LENGTH = "length", "Output limit reached"
    ERROR = "error", "Failed"
    CANCELLED = "cancelled", "Client left"


class TokenCounts(models.Model):
    """Inclusive totals: cached and cache-write tokens are part of the input, reasoning tokens part of the
    output.
    """

    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class Attribution(models.Model):
    """Who a call belonged to when it was written; never follows a later move or rename."""

    key_id = models.BigIntegerField()
    owner = models.ForeignKey(User, **COPIED)
    project = models.ForeignKey(Project, **COPIED)
    team = models.ForeignKey(Team, **COPIED)
    department = models.ForeignKey(Department, **COPIED)
    model = models.ForeignKey(LlmModel, **COPIED)
    tier = models.ForeignKey(Tier, **COPIED)

    class Meta:
        abstract = True


class UsageEvent(Attribution, TokenCounts):
    """One finished call, priced by Purser. Partitioned by month of `at`, the moment of its authorisation.

    `source` is the public id of the gateway that reported it; (source, external_id) is written once.
    """

    pk = models.CompositePrimaryKey("source", "external_id", "at")
    source = models.CharField(max_length=40)
    external_id = models.CharField(max_length=100)
    at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    reservation_id = models.BigIntegerField(null=True)
    calls = models.SmallIntegerField(
        default=1, help_text="-1 takes back a call that was charged without being settled."
    )
    cost_usd = models.DecimalField(**MONEY)
    units = models.JSONField(db_default={}, help_text="What is not counted in tokens, by unit.")
    finish = models.CharField(max_length=10, choices=Finish)
    cache_hit = models.BooleanField(default=False)
    estimated = models.BooleanField(default=False)
    late = models.BooleanField(default=False)
    provider_call_id = models.CharField(max_length=100, blank=True)

    class Meta:
        db_table = "usage_event"

    def __str__(self) -> str:
        return f"{self.source}/{self.external_id}"


class UsageDay(Attribution, TokenCounts):
    """Sums by the organisation's day, key and model: the source of every money figure on a page, in a CSV,
    in the API.
    """

    day = models.DateField()
    calls = models.BigIntegerField(default=0)
    cost_usd = models.DecimalField(**MONEY, default=0)

    class Meta:
        db_table = "usage_day"
        indexes = (
            models.Index(fields=("project", "day"), name="usage_day_by_project"),
            models.Index(fields=("team", "day"), name="usage_day_by_team"),
            models.Index(fields=("key_id", "day"), name="usage_day_by_key"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("day", "key_id", "model", "project", "team", "department", "owner", "tier"),
                name="usage_day_one_row_per_attribution",
            ),
        )

    def __str__(self) -> str:
        return f"{self.day}: {self.cost_usd}"


class BlockedHour(models.Model):
    """Refused calls of known keys, counted by hour, key and code."""

    hour = models.DateTimeField()
    key_id = models.BigIntegerField()
    project = models.ForeignKey(Project, **COPIED)
    team = models.ForeignKey(Team, **COPIED)
    department = models.ForeignKey(Department, **COPIED)
    code = models.CharField(max_length=40)
    calls = models.BigIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        db_table = "usage_blocked_hour"
        constraints = (
            models.UniqueConstraint(
                fields=("hour", "key_id", "project", "team", "department", "code"),
                name="blocked_hour_one_row_per_attribution_and_code",
            ),
        )

    def __str__(self) -> str:
        return f"{self.calls} x {self.code}"


class GatewayCall(TokenCounts):
    """One finished call as a gateway's own journal has it: the other side of the reconciliation.
    Partitioned by month.
    """

    pk = models.CompositePrimaryKey("source", "external_id", "at")
    source = models.CharField(max_length=40)
    external_id = models.CharField(max_length=100)
    at = models.DateTimeField()
    pulled_at = models.DateTimeField()
    model_name = models.CharField(max_length=100)
    finish = models.CharField(max_length=10, choices=Finish)
    cache_hit = models.BooleanField(default=False)
    released = models.BooleanField(default=False)

    class Meta:
        db_table = "usage_gateway_call"

    def __str__(self) -> str:
        return f"{self.source}/{self.external_id}"


class ImportCursor(models.Model):
    """How far a source has been read. Losing it costs a re-read, never a double booking."""

    source = models.CharField(max_length=40, unique=True)
    position = models.TextField(blank=True)
    last_success_at = models.DateTimeField(null=True)
    last_row_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True)
    last_error_at = models.DateTimeField(null=True)
    rows_read = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return self.source


class QuarantineReason(models.TextChoices):
    """Why a row could not be booked."""

    MALFORMED = "malformed", "Cannot be read"
    BAD_TOKENS = "bad_tokens", "Negative, absurd or contradictory tokens"
    UNKNOWN_CALL = "unknown_call", "No authorisation is known for it"
    CONFLICT = "conflict", "Other figures than were booked"


class Quarantine(models.Model):
    """A row from a gateway that a person must look at. One bad row never stops a page of them."""

    source = models.CharField(max_length=40)
    external_id = models.CharField(max_length=100)
    reason = models.CharField(max_length=16, choices=QuarantineReason)
    detail = models.CharField(max_length=500)
    row = models.JSONField()
    row_hash = models.CharField(max_length=64)
    seen_at = models.DateTimeField(default=now)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    resolution = models.CharField(max_length=240, blank=True)

    class Meta:
        verbose_name_plural = "quarantine"
        constraints = (
            models.UniqueConstraint(
                fields=("source", "external_id", "reason", "row_hash"), name="quarantine_each_row_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.reason}: {self.external_id}"


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
