"""How far each source was read, and the rows of it that a person must look at."""

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q, TextField, Value
from django.db.models.functions import MD5, Cast, Concat, Left

from budgets.models import MONEY
from core.clock import now
from core.ids import LENGTH, PublicIdField
from teams.models import User

# Most rows are set aside by SQL, which makes their ids itself.
NEW_ID = Concat(Value("qrn_"), Left(MD5(Cast(RandomUUID(), TextField())), LENGTH))


class SourceKind(models.TextChoices):
    """What a source tells: the calls of a gateway, or a provider's own figures."""

    JOURNAL = "journal", "Gateway journal"
    LOG = "log", "Gateway log"
    USAGE = "usage", "Provider usage"
    COST = "cost", "Provider costs"


class ImportCursor(models.Model):
    """How far a source has been read. Losing it costs a re-read, never a double booking.

    `gateway` is the gateway whose log it is, by its public id; a journal is called as its gateway is.

    A source that fails is asked again at `next_attempt_at`, later with each of its `failures` in a row; empty
    is at once. One reader at a time holds it, until `claimed_until` at most. One that is closed is read no
    more, and nothing waits for it; what was read of it stays.
    """

    source = models.CharField(max_length=40, unique=True)
    kind = models.CharField(max_length=8, choices=SourceKind, default=SourceKind.JOURNAL)
    gateway = models.CharField(max_length=40, blank=True, default="", db_default="")
    position = models.TextField(blank=True)
    last_success_at = models.DateTimeField(null=True)
    last_row_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True)
    last_error_at = models.DateTimeField(null=True)
    rows_read = models.BigIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    claimed_until = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.source

    @property
    def public_id(self) -> str:
        """Return the name of the source, which the audit knows it by."""
        return self.source


class QuarantineReason(models.TextChoices):
    """Why a row could not be booked."""

    MALFORMED = "malformed", "Cannot be read"
    BAD_TOKENS = "bad_tokens", "Negative, absurd or contradictory tokens"
    UNKNOWN_CALL = "unknown_call", "No authorisation is known for it"
    CONFLICT = "conflict", "Other figures than were booked"
    NEGATIVE = "negative", "Negative figure"
    NOT_A_NUMBER = "not_a_number", "Figure that is no number"
    INFINITE = "infinite", "Infinite figure"
    ABSURD_TOKENS = "absurd_tokens", "More tokens than any call can have"
    PARTS_EXCEED = "parts_exceed", "Parts that are more than their whole"
    BAD_UTF8 = "bad_utf8", "Text that is not valid UTF-8"
    OVERSIZE = "oversize", "Longer than any row may be"
    BAD_TIME = "bad_time", "Before what is kept, or in the future"
    UNKNOWN_KEY = "unknown_key", "Key that is not known"
    UNKNOWN_MODEL = "unknown_model", "Model that is not known"
    UNKNOWN_PROJECT = "unknown_project", "Project that is not known, or not the key's"
    UNPRICED = "unpriced", "Model without a price at that time"


class QuarantineOutcome(models.TextChoices):
    """What became of a row that could not be booked."""

    BOOKED = "booked", "Booked"
    DISMISSED = "dismissed", "Dismissed"


class Quarantine(models.Model):
    """A row from a gateway that a person must look at. One bad row never stops a page of them.

    `row` is what was told, as far as it can be read; secrets and the content of calls are not kept in it.
    """

    public_id = PublicIdField(prefix="qrn", db_default=NEW_ID)
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
    outcome = models.CharField(max_length=10, choices=QuarantineOutcome, blank=True, db_default="")

    class Meta:
        verbose_name_plural = "quarantine"
        indexes = (
            models.Index(
                fields=("-seen_at", "-id"), condition=Q(resolved_at__isnull=True), name="quarantine_open"
            ),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(resolved_at__isnull=True, outcome="")
                | (Q(resolved_at__isnull=False) & ~Q(outcome="")),
                name="quarantine_resolved_has_an_outcome",
            ),
            models.UniqueConstraint(
                fields=("source", "external_id", "reason", "row_hash"), name="quarantine_each_row_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.reason}: {self.external_id}"


class RetiredMonth(models.Model):
    """A month whose single calls were dropped after their sums recounted; its roll-ups and entries stay.

    A call of such a month cannot be booked any more: nobody could tell whether it was booked before.
    """

    month = models.DateField(unique=True)
    calls = models.BigIntegerField()
    cost_usd = models.DecimalField(**MONEY)
    retired_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "usage_retired_month"
        ordering = ("month",)

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class RecountedDay(models.Model):
    """A day of a month that is to be retired, whose sums recounted when it had so many rows.

    Written by the database's own functions alone, which drop no month without all of its days.
    """

    pk = models.CompositePrimaryKey("month", "day")
    month = models.DateField()
    day = models.DateField()
    zone = models.TextField()
    rows = models.BigIntegerField()

    class Meta:
        db_table = "usage_recounted_day"

    def __str__(self) -> str:
        return f"{self.day}"
