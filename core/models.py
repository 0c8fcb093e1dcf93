"""Tables everybody writes to: what was done (audit, sealed) and what must still be told (outbox)."""

from django.db import models
from django.db.models import F, Q

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
    policy_version = models.PositiveIntegerField(null=True)
    request_id = models.CharField(max_length=64, blank=True)
    ip_address = models.GenericIPAddressField(null=True)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("object_type", "object_id", "id"), name="audit_by_object"),
            models.Index(fields=("at",), name="audit_by_time"),
            models.Index(fields=("actor_id", "id"), name="audit_by_actor"),
            models.Index(fields=("team_id", "id"), name="audit_by_team"),
        )

    def __str__(self) -> str:
        return f"{self.actor_label} {self.action} {self.object_label}"


class AuditSeal(models.Model):
    """A closed range of audit events under one chain of HMACs, whose key is not in the database.

    `marks` holds 40 bytes an event: its id and its link of the chain (core/seal.py). Append-only by trigger.
    """

    number = models.PositiveIntegerField(unique=True)
    first_event_id = models.BigIntegerField(unique=True)
    last_event_id = models.BigIntegerField(unique=True)
    events = models.PositiveIntegerField()
    marks = models.BinaryField()
    head = models.CharField(max_length=64)
    sealed_at = models.DateTimeField()

    class Meta:
        ordering = ("number",)
        constraints = (
            models.CheckConstraint(
                condition=Q(number__gte=1, events__gte=1, last_event_id__gte=F("first_event_id")),
                name="audit_seal_closes_a_range",
            ),
        )

    def __str__(self) -> str:
        return f"seal {self.number}"


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
