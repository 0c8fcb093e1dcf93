"""How far each source was read, and the rows of it that a person must look at."""

from django.db import models

from core.clock import now
from teams.models import User


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
