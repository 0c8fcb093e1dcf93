"""Tables everybody writes to: what was done (audit, sealed) and what must still be told (outbox)."""

from datetime import time

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
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
    api_token = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text="The public id of the token, if any."
    )

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

    `marks` holds 40 bytes an event: its id and its link of the chain (core/seal.py). `key_id` tells which key
    made it, so that keys can be rotated; those before the first rotation name none. Append-only by trigger.
    """

    number = models.PositiveIntegerField(unique=True)
    first_event_id = models.BigIntegerField(unique=True)
    last_event_id = models.BigIntegerField(unique=True)
    events = models.PositiveIntegerField()
    marks = models.BinaryField()
    head = models.CharField(max_length=64)
    key_id = models.CharField(max_length=8, blank=True, default="", db_default="")
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
    SLACK = "slack", "Slack"
    WEBHOOK = "webhook", "Webhook"


# A message that is still to be sent by itself: nothing has become of it, and no digest will hold it.
WAITS = Q(
    delivered_at__isnull=True,
    dead_at__isnull=True,
    dropped_at__isnull=True,
    digest_at__isnull=True,
    digest__isnull=True,
)
# A message that nobody sends any more and nobody has looked at yet.
GAVE_UP = Q(dead_at__isnull=False, put_aside_at__isnull=True)


class Outbox(models.Model):
    """A message that must go out because of a committed change; drained by a task, retried with back-off.

    It ends in one way: delivered, given up, dropped because the person wants none of it, or in a digest. What
    was given up is kept until somebody puts it aside, the rest for a while after its end (trigger).
    """

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
    put_aside_at = models.DateTimeField(null=True)
    dropped_at = models.DateTimeField(null=True)
    digest_at = models.DateTimeField(null=True)
    digest = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="items")
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("id",)
        verbose_name_plural = "outbox"
        indexes = (
            models.Index(
                fields=("next_attempt_at",),
                condition=WAITS,
                name="outbox_waits",
            ),
            models.Index(fields=("id",), condition=GAVE_UP, name="outbox_given_up"),
            models.Index(
                fields=("digest_at",), condition=Q(digest_at__isnull=False), name="outbox_waits_for_digest"
            ),
        )
        constraints = (
            models.CheckConstraint(
                condition=(
                    Q(dead_at__isnull=True, dropped_at__isnull=True, digest__isnull=True)
                    | Q(delivered_at__isnull=True, dropped_at__isnull=True, digest__isnull=True)
                    | Q(delivered_at__isnull=True, dead_at__isnull=True, digest__isnull=True)
                    | Q(delivered_at__isnull=True, dead_at__isnull=True, dropped_at__isnull=True)
                ),
                name="outbox_ends_in_one_way",
            ),
            models.CheckConstraint(
                condition=Q(digest_at__isnull=True)
                | Q(
                    delivered_at__isnull=True,
                    dead_at__isnull=True,
                    dropped_at__isnull=True,
                    digest__isnull=True,
                ),
                name="outbox_waits_for_a_digest_or_ended",
            ),
            models.CheckConstraint(
                condition=Q(put_aside_at__isnull=True) | Q(dead_at__isnull=False),
                name="outbox_put_aside_was_given_up",
            ),
        )

    def __str__(self) -> str:
        return f"{self.topic} to {self.recipient}"


class DeliveryAttempt(models.Model):
    """One attempt to deliver a message, and what came of it. Never changed, kept as long as it (trigger)."""

    message = models.ForeignKey(Outbox, on_delete=models.PROTECT, related_name="log")
    at = models.DateTimeField()
    channel = models.CharField(max_length=16, choices=OutboxKind)
    delivered = models.BooleanField()
    detail = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.message} at {self.at:%Y-%m-%d %H:%M}"


class NewsKind(models.TextChoices):
    """What a person may choose about. Everything else is important and always sent at once."""

    WAITING = "waiting", "Requests that wait for your decision"
    REQUESTS = "requests", "What becomes of requests"
    KEYS = "keys", "Keys and access"
    BUDGETS = "budgets", "Budgets"


class Channel(models.TextChoices):
    """How news of one kind reaches a person."""

    MAIL = "mail", "Mail, at once"
    DIGEST = "digest", "Mail, once a day"
    SLACK = "slack", "Slack, at once"
    OFF = "off", "Not at all"


class Preference(models.Model):
    """When a person wants to be told, by the clock of his own zone; an empty zone is the organisation's."""

    person = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="preference"
    )
    time_zone = models.CharField(max_length=64, blank=True)
    quiet_starts = models.TimeField(null=True)
    quiet_ends = models.TimeField(null=True)
    digest_time = models.TimeField(default=time(8))
    slack_decides = models.BooleanField(default=False)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(quiet_starts__isnull=True, quiet_ends__isnull=True)
                | Q(quiet_starts__isnull=False, quiet_ends__isnull=False) & ~Q(quiet_starts=F("quiet_ends")),
                name="preference_quiet_hours_start_and_end",
            ),
        )

    def __str__(self) -> str:
        return f"preference of {self.person}"


class NewsChoice(models.Model):
    """By which channel a person wants news of one kind; without a row, by mail at once."""

    preference = models.ForeignKey(Preference, on_delete=models.PROTECT, related_name="choices")
    kind = models.CharField(max_length=16, choices=NewsKind)
    channel = models.CharField(max_length=16, choices=Channel)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("preference", "kind"), name="news_choice_once_a_kind"),
            models.CheckConstraint(
                condition=Q(kind__in=NewsKind.values, channel__in=Channel.values),
                name="news_choice_is_one_of_them",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} by {self.channel}"


class Webhook(models.Model):
    """An address that is told of acts. Its secret is derived, never stored: `live_versions` says which live.

    `failures` counts attempts that failed since the last delivery. One that is removed is off for good.
    """

    public_id = PublicIdField(prefix="whk")
    url = models.URLField(max_length=500)
    description = models.CharField(max_length=120)
    actions = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    live_versions = ArrayField(models.PositiveSmallIntegerField(), default=list)
    created_at = models.DateTimeField()
    failures = models.PositiveIntegerField(default=0)
    disabled_at = models.DateTimeField(null=True)
    disabled_reason = models.CharField(max_length=240, blank=True)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(live_versions__len__gte=1, live_versions__len__lte=2),
                name="webhook_has_one_or_two_live_secrets",
            ),
            models.CheckConstraint(
                condition=Q(disabled_at__isnull=True, disabled_reason="")
                | Q(disabled_at__isnull=False) & ~Q(disabled_reason=""),
                name="webhook_is_disabled_with_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(removed_at__isnull=True) | Q(disabled_at__isnull=False),
                name="webhook_is_off_once_it_is_removed",
            ),
        )

    def __str__(self) -> str:
        return self.description


class SlackLink(models.Model):
    """Whose Slack account is whose. It counts once the code that the portal showed came from that account.

    `with_second_factor` says that the person who saw the code had one, so that what comes from the account
    stands for no less than a sign-in does; taking his factors away ends that.
    """

    person = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="slack_link"
    )
    slack_user = models.CharField(max_length=32, blank=True)
    code_hash = models.CharField(max_length=64, blank=True)
    code_expires_at = models.DateTimeField(null=True)
    confirmed_at = models.DateTimeField(null=True)
    with_second_factor = models.BooleanField(default=False)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("slack_user",),
                condition=Q(confirmed_at__isnull=False),
                name="slack_link_one_person_an_account",
            ),
            models.CheckConstraint(
                condition=Q(confirmed_at__isnull=True) | ~Q(slack_user=""),
                name="slack_link_is_confirmed_by_an_account",
            ),
        )

    def __str__(self) -> str:
        return f"{self.slack_user} is {self.person}"


class SlackButton(models.Model):
    """A button in Slack that approves a request, and in which message it is, while it can be pressed.

    `request_id` and `revision` are what it approves; `stage_index` is which approval it would be.
    """

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    request_id = models.CharField(max_length=32)
    revision = models.PositiveIntegerField()
    stage_index = models.PositiveSmallIntegerField()
    channel = models.CharField(max_length=32)
    ts = models.CharField(max_length=32)
    subject = models.TextField()

    def __str__(self) -> str:
        return f"{self.subject} to {self.person}"


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


class Walk(models.Model):
    """Work that takes longer than a job may: how far its round has come, and what the last whole one found.

    Without a `place` no round is under way.
    """

    name = models.CharField(max_length=40, primary_key=True)
    begun_at = models.DateTimeField(null=True)
    place = models.JSONField(null=True)
    ended_at = models.DateTimeField(null=True)
    outcome = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name
