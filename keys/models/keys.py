"""Internal API keys, and the grants that raise what a key may call for a time."""

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from budgets.models import MONEY
from catalog.models import Tier
from core.clock import now
from core.ids import PublicIdField
from teams.models import Project, Team, User

MAX_OVERLAP_HOURS = 7 * 24


class KeyState(models.TextChoices):
    """What a key is at a moment; computed from its facts, never stored."""

    AWAITING_REVEAL = "awaiting_reveal", "Awaiting reveal"
    LIVE = "live", "Live"
    SUSPENDED = "suspended", "Suspended"
    EXPIRED = "expired", "Expired"
    REVOKED = "revoked", "Revoked"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    """Keys, as people may see them."""

    def visible_to(self, user: User) -> Self:
        """Return the user's own keys and those of the teams he oversees."""
        return self.filter(Q(owner=user) | Q(project__team__in=Team.objects.overseen_by(user)))


class ApiKey(models.Model):
    """A virtual key: one person's, for one project, good for Tier 1 and for whatever active grants add.

    Only the HMAC of the secret is kept, made at the reveal; before that there is no secret at all. A rotation
    gives the key another secret at its next reveal, and the one before goes on until `previous_until`: two
    are live at most, and name, grants, budgets and spend stay those of the one key.
    """

    public_id = PublicIdField(prefix="key")
    name = models.CharField(max_length=80)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="api_keys")
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_keys")
    secret_hmac = models.BinaryField(max_length=32, null=True, unique=True, editable=False)
    pepper_id = models.PositiveSmallIntegerField(null=True, editable=False)
    prefix = models.CharField(max_length=16, blank=True, editable=False)
    last4 = models.CharField(max_length=4, blank=True, editable=False)
    rotation_asked_at = models.DateTimeField(null=True, editable=False)
    rotation_overlap_hours = models.PositiveSmallIntegerField(null=True, editable=False)
    previous_hmac = models.BinaryField(max_length=32, null=True, unique=True, editable=False)
    previous_pepper_id = models.PositiveSmallIntegerField(null=True, editable=False)
    previous_masked = models.CharField(max_length=32, blank=True, editable=False)
    previous_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=now)
    revealed_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    suspended_at = models.DateTimeField(null=True)
    suspended_reason = models.CharField(max_length=240, blank=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    revoked_reason = models.CharField(max_length=240, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("created_at")), name="key_expires_after_it_starts"
            ),
            models.CheckConstraint(
                condition=Q(revealed_at__isnull=True, secret_hmac__isnull=True, pepper_id__isnull=True)
                | Q(revealed_at__isnull=False, secret_hmac__isnull=False, pepper_id__isnull=False),
                name="key_revealed_has_a_digest",
            ),
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True, revoked_by__isnull=True)
                | (Q(revoked_at__isnull=False) & ~Q(revoked_reason="")),
                name="key_revoked_has_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(rotation_asked_at__isnull=True, rotation_overlap_hours__isnull=True)
                | Q(
                    rotation_asked_at__isnull=False,
                    rotation_overlap_hours__isnull=False,
                    rotation_overlap_hours__lte=MAX_OVERLAP_HOURS,
                    revealed_at__isnull=False,
                ),
                name="key_rotation_follows_a_reveal_and_overlaps_a_week_at_most",
            ),
            models.CheckConstraint(
                condition=Q(
                    previous_hmac__isnull=True, previous_pepper_id__isnull=True, previous_until__isnull=True
                )
                | Q(
                    previous_hmac__isnull=False,
                    previous_pepper_id__isnull=False,
                    previous_until__isnull=False,
                    secret_hmac__isnull=False,
                ),
                name="key_previous_secret_has_an_end_and_a_successor",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> KeyState:
        """Return what this key is now; the authorise statement decides the same by the database's clock."""
        if self.revoked_at:
            return KeyState.REVOKED
        if self.expires_at <= now():
            return KeyState.EXPIRED
        if self.revealed_at is None:
            return KeyState.AWAITING_REVEAL
        return KeyState.SUSPENDED if self.suspended_at else KeyState.LIVE

    @property
    def masked(self) -> str:
        """Return the secret as it may be shown: its prefix and last four characters."""
        return f"{self.prefix}…{self.last4}" if self.prefix else "not revealed"

    @property
    def awaits_successor(self) -> bool:
        """Whether its owner may reveal the secret that replaces the present one."""
        return self.rotation_asked_at is not None and self.state in {KeyState.LIVE, KeyState.SUSPENDED}

    @property
    def previous_is_live(self) -> bool:
        """Whether the secret before the present one is still good, as far as the key itself is."""
        return self.previous_until is not None and self.previous_until > now()


class GrantState(models.TextChoices):
    """What a grant is at a moment; computed, never stored."""

    SCHEDULED = "scheduled", "Scheduled"
    ACTIVE = "active", "Active"
    EXPIRED = "expired", "Expired"
    REVOKED = "revoked", "Revoked"


class Grant(models.Model):
    """Permission for one key to call a tier in [starts_at, expires_at). It may only shrink (trigger).

    An empty `model_ids` means every model of the tier. `source_request` is the public id of the approved
    request it came from.
    """

    public_id = PublicIdField(prefix="grn")
    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, related_name="grants")
    tier = models.ForeignKey(Tier, on_delete=models.PROTECT, related_name="+")
    model_ids = ArrayField(models.BigIntegerField(), default=list)
    monthly_cap_usd = models.DecimalField(**MONEY, null=True)
    starts_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    source_request = models.CharField(max_length=32, unique=True)
    granted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    supersedes = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="superseded_by")
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    revoked_reason = models.CharField(max_length=240, blank=True)
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("key", "tier", "expires_at"), name="grant_by_key"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("starts_at")), name="grant_expires_after_it_starts"
            ),
            models.CheckConstraint(condition=Q(tier__gt=1), name="grant_is_for_more_than_the_default_tier"),
            models.CheckConstraint(
                condition=Q(monthly_cap_usd__isnull=True) | Q(monthly_cap_usd__gte=0),
                name="grant_cap_is_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True) | ~Q(revoked_reason=""),
                name="grant_revoked_has_a_reason",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tier} for {self.key}"

    @property
    def state(self) -> GrantState:
        """Return what this grant is now."""
        if self.revoked_at:
            return GrantState.REVOKED
        if self.expires_at <= now():
            return GrantState.EXPIRED
        return GrantState.ACTIVE if self.starts_at <= now() else GrantState.SCHEDULED
