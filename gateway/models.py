"""The gateways that may ask for decisions. Their secrets are derived: a dump of the database holds none."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from core.clock import now
from core.ids import PublicIdField


class GatewayKind(models.TextChoices):
    """The product that runs as this gateway."""

    LITELLM = "litellm", "LiteLLM Proxy"


class Gateway(models.Model):
    """One gateway's identity. `live_versions` are the one or two secret versions that are accepted; the
    newest signs.
    """

    public_id = PublicIdField(prefix="gw")
    name = models.CharField(max_length=63, unique=True)
    kind = models.CharField(max_length=16, choices=GatewayKind, default=GatewayKind.LITELLM)
    base_url = models.URLField(blank=True)
    live_versions = ArrayField(models.PositiveSmallIntegerField())
    created_at = models.DateTimeField(default=now)
    disabled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                condition=Q(live_versions__len__range=(1, 2)), name="gateway_has_one_or_two_live_secrets"
            ),
        )

    def __str__(self) -> str:
        return self.name


class UsedNonce(models.Model):
    """A signature nonce that was used, kept as long as its timestamp could still be accepted. The table is
    unlogged.
    """

    pk = models.CompositePrimaryKey("gateway_id", "nonce")
    gateway_id = models.BigIntegerField()
    nonce = models.CharField(max_length=64)
    used_at = models.DateTimeField()

    class Meta:
        db_table = "gateway_used_nonce"

    def __str__(self) -> str:
        return self.nonce
