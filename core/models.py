"""Two tables everybody writes to: what was done (audit) and what must still be told (outbox)."""

from django.db import models
from django.db.models import Q

from core.ids import PublicIdField


class AuditEvent(models.Model):
    """One act, written in the transaction of the change it describes. Append-only by trigger.

    The actor is copied as text beside the id, so that a later rename changes no past label.
    """

    public_id = PublicIdField(prefix="aud")
    at = models.DateTimeField()
    action = models.CharField(max_length=64)
    actor_id = models.BigIntegerField(null=True)
    actor_label = models.CharField(max_length=254)
    on_behalf_of_id = models.BigIntegerField(null=True)
    object_type = models.CharField(max_length=64)
    object_id = models.CharField(max_length=64)
    object_label = models.CharField(max_length=254)
    department_id = models.BigIntegerField(null=True)
    team_id = models.BigIntegerField(null=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    ip_address = models.GenericIPAddressField(null=True)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("object_type", "object_id", "id"), name="audit_by_object"),
            models.Index(fields=("at",), name="audit_by_time"),
        )

    def __str__(self) -> str:
        return f"{self.actor_label} {self.action} {self.object_label}"


class OutboxKind(models.TextChoices):
    """How a message leaves the house."""

    MAIL = "mail", "Mail"


class Outbox(models.Model):
    """A message that must go out because of a committed change; drained by a task, retried with back-off."""

    public_id = PublicIdField(prefix="out")
    kind = models.CharField(max_length=16, choices=OutboxKind)
    topic = models.CharField(max_length=64)
    dedupe_key = models.CharField(max_length=200, unique=True)
    recipient = models.CharField(max_length=254)
    payload = models.JSONField()
    created_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    delivered_at = models.DateTimeField(null=True)
    dead_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("id",)
        verbose_name_plural = "outbox"
        indexes = (
            models.Index(
                fields=("next_attempt_at",),
                condition=Q(delivered_at__isnull=True, dead_at__isnull=True),
                name="outbox_due",
            ),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(delivered_at__isnull=True) | Q(dead_at__isnull=True),
                name="outbox_delivered_or_dead_not_both",
            ),
        )

    def __str__(self) -> str:
        return f"{self.topic} to {self.recipient}"


class IdempotentCall(models.Model):
    """A call that its caller may repeat with the same `Idempotency-Key`, written in the transaction of its
    effect.

    `caller` is who called; `fingerprint` is of what was asked. Without a `status` the answer is not kept (it
    held a secret, or is a page), so the repeated act itself answers. Kept for a day.
    """

    caller = models.CharField(max_length=80)
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.TextField(blank=True)
    location = models.CharField(max_length=500, blank=True)
    called_at = models.DateTimeField()

    class Meta:
        indexes = (models.Index(fields=("called_at",), name="idempotent_call_by_age"),)
        constraints = (
            models.UniqueConstraint(fields=("caller", "key"), name="idempotent_call_once_per_caller_and_key"),
            models.CheckConstraint(
                condition=Q(status__isnull=True, body="", location="") | Q(status__range=(200, 399)),
                name="idempotent_call_keeps_what_was_done",
            ),
        )

    def __str__(self) -> str:
        return f"{self.key} of {self.caller}"
