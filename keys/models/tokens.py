"""Tokens of the management API, and the programs that are somebody of their own there."""

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from core.clock import now
from core.ids import PublicIdField
from keys.models.keys import KeyState
from teams.models import User


class ServiceAccount(models.Model):
    """A program that calls the API as itself: a user who cannot sign in, for whom one person answers."""

    user = models.OneToOneField(User, on_delete=models.PROTECT, related_name="service_account")
    responsible = models.ForeignKey(User, on_delete=models.PROTECT, related_name="service_accounts")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ("user__name", "id")
        constraints = (
            models.CheckConstraint(
                condition=~Q(user=F("responsible")), name="service_account_is_answered_for_by_somebody_else"
            ),
        )

    def __str__(self) -> str:
        return str(self.user)


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    """Tokens, as people may see them."""

    def visible_to(self, user: User) -> Self:
        """Return the user's own tokens and those of services that he answers for; no role shows more."""
        return self.filter(Q(owner=user) | Q(owner__service_account__responsible=user))


class ApiToken(models.Model):
    """A token of the management API: a program acts as its owner with it, within its scopes, until its end.

    Like a key's, only the HMAC of its secret is kept, made at the reveal. `last_used_at` is true to a minute.
    """

    public_id = PublicIdField(prefix="tok")
    name = models.CharField(max_length=80)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_tokens")
    scopes = ArrayField(models.CharField(max_length=40))
    secret_hmac = models.BinaryField(max_length=32, null=True, unique=True, editable=False)
    pepper_id = models.PositiveSmallIntegerField(null=True, editable=False)
    masked_secret = models.CharField(max_length=32, blank=True, editable=False)
    created_at = models.DateTimeField(default=now)
    revealed_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    revoked_reason = models.CharField(max_length=240, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("created_at")), name="api_token_expires_after_it_starts"
            ),
            models.CheckConstraint(condition=~Q(scopes=[]), name="api_token_has_a_scope"),
            models.CheckConstraint(
                condition=Q(revealed_at__isnull=True, secret_hmac__isnull=True, pepper_id__isnull=True)
                | Q(revealed_at__isnull=False, secret_hmac__isnull=False, pepper_id__isnull=False),
                name="api_token_revealed_has_a_digest",
            ),
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True, revoked_by__isnull=True)
                | (Q(revoked_at__isnull=False) & ~Q(revoked_reason="")),
                name="api_token_revoked_has_a_reason",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> KeyState:
        """Return what this token is now."""
        if self.revoked_at:
            return KeyState.REVOKED
        if self.expires_at <= now():
            return KeyState.EXPIRED
        return KeyState.LIVE if self.revealed_at else KeyState.AWAITING_REVEAL

    @property
    def masked(self) -> str:
        """Return the secret as it may be shown."""
        return self.masked_secret or "not revealed"
