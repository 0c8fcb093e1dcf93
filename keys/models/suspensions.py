"""What stops a key for a time: people, and the breaker that watches how fast it spends (docs/adr/0024)."""

from django.db import models
from django.db.models import F, Q

from budgets.models import MONEY
from core.clock import now
from core.ids import PublicIdField
from keys.models.keys import ApiKey
from teams.models import User


class SuspensionCause(models.TextChoices):
    """Why a key was suspended. All but the first are the breaker's."""

    PERSON = "person", "By a person"
    BURN_HOUR = "burn_hour", "Burns its budget within hours"
    BURN_SIX_HOURS = "burn_six_hours", "Burns its budget within days"
    VELOCITY = "velocity", "Spends faster than it ever did"
    PLAN = "plan", "Spends faster than was planned"


class Suspension(models.Model):
    """A time in which a key is refused; open until somebody resumes the key. Its facts never change.

    `evidence` is what the breaker saw: amounts in US dollars as texts, and the minutes of the last hour. The
    statement that settles the call writes it (usage_stop_runaways); `told_at` is when people were told.
    """

    public_id = PublicIdField(prefix="sus")
    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="suspensions")
    cause = models.CharField(max_length=16, choices=SuspensionCause)
    reason = models.CharField(max_length=240)
    evidence = models.JSONField(default=dict)
    suspended_at = models.DateTimeField(default=now)
    suspended_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    told_at = models.DateTimeField(null=True)
    resumed_at = models.DateTimeField(null=True)
    resumed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    resumed_reason = models.CharField(max_length=240, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("id",), condition=Q(told_at__isnull=True), name="suspension_to_be_told"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("key",), condition=Q(resumed_at__isnull=True), name="suspension_is_the_only_open_one"
            ),
            models.CheckConstraint(
                condition=Q(cause=SuspensionCause.PERSON, suspended_by__isnull=False)
                | (~Q(cause=SuspensionCause.PERSON) & Q(suspended_by__isnull=True)),
                name="suspension_is_by_a_person_or_by_the_breaker",
            ),
            models.CheckConstraint(
                condition=Q(resumed_at__isnull=True, resumed_by__isnull=True)
                | Q(resumed_at__gte=F("suspended_at"), resumed_by__isnull=False),
                name="suspension_is_ended_by_a_person",
            ),
        )

    def __str__(self) -> str:
        return f"{self.key} since {self.suspended_at:%Y-%m-%d %H:%M}"


class PlannedActivity(models.Model):
    """A time in which a key may spend faster than it is used to: the breaker lets it, up to so much an hour.

    What was spent in it is never held against the key afterwards.
    """

    public_id = PublicIdField(prefix="pln")
    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="planned_activities")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    most_usd_an_hour = models.DecimalField(**MONEY)
    reason = models.CharField(max_length=240)
    planned_at = models.DateTimeField(default=now)
    planned_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    cancelled_at = models.DateTimeField(null=True)
    cancelled_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ("-starts_at", "-id")
        verbose_name_plural = "planned activities"
        indexes = (models.Index(fields=("key", "ends_at"), name="planned_activity_by_key"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")), name="planned_activity_ends_after_it_starts"
            ),
            models.CheckConstraint(
                condition=Q(most_usd_an_hour__gt=0), name="planned_activity_has_an_amount"
            ),
            models.CheckConstraint(
                condition=Q(cancelled_at__isnull=True, cancelled_by__isnull=True)
                | Q(cancelled_at__isnull=False, cancelled_by__isnull=False),
                name="planned_activity_is_cancelled_by_a_person",
            ),
        )

    def __str__(self) -> str:
        return f"{self.key} from {self.starts_at:%Y-%m-%d %H:%M}"
