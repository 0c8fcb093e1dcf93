"""The gateways that may ask for decisions. Their secrets are derived: a dump of the database holds none."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from core.clock import now
from core.ids import PublicIdField


class GatewayKind(models.TextChoices):
    """The product that runs as this gateway."""

    LITELLM = "litellm", "LiteLLM Proxy"
    NGINX = "nginx", "nginx"


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


class LogKind(models.TextChoices):
    """What kind of ordinary log a gateway keeps."""

    LITELLM = "litellm", "LiteLLM spend logs"
    NGINX = "nginx", "nginx access log"


class GatewayLog(models.Model):
    """The ordinary log of a gateway, read besides its plugin's journal or in place of one.

    `place` is the address of LiteLLM's API, or the path of nginx's file. `admin_credential` says where the
    key of that API is ("env:NAME" or "file:/path"), never the key.
    """

    public_id = PublicIdField(prefix="gwl")
    gateway = models.ForeignKey(Gateway, on_delete=models.PROTECT, related_name="logs")
    kind = models.CharField(max_length=16, choices=LogKind)
    place = models.CharField(max_length=500)
    admin_credential = models.CharField(max_length=240, blank=True)
    created_at = models.DateTimeField(default=now)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "gateway_log"
        ordering = ("gateway_id", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=("gateway", "kind"),
                condition=Q(closed_at__isnull=True),
                name="gateway_log_one_of_a_kind",
            ),
            models.CheckConstraint(
                condition=Q(admin_credential="")
                | Q(admin_credential__regex=r"^(env:[A-Z][A-Z0-9_]*|file:/.+)$"),
                name="gateway_log_refers_to_its_key",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.gateway}"


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


class Standing(models.Model):
    """What a key may do with a model in a context, as a decision last looked it up: who pays, what it costs,
    and the budgets and rate limits of its path. It holds until something that it was made of is changed or
    `valid_until`, whichever is first. `seen`, the snapshot it was looked up under, `seen_before`, its oldest
    open transaction, and `seen_turn` say which `StandingChange` it has seen. docs/adr/0020 has the rule. The
    table is unlogged.
    """

    pk = models.CompositePrimaryKey("digest", "asked_model", "context")
    digest = models.BinaryField()
    asked_model = models.TextField()
    context = models.TextField()
    mode = models.TextField()
    key_id = models.BigIntegerField()
    key_public = models.TextField()
    owner_id = models.BigIntegerField()
    project_id = models.BigIntegerField()
    project_code = models.TextField()
    team_id = models.BigIntegerField()
    team_code = models.TextField()
    department_id = models.BigIntegerField()
    model_id = models.BigIntegerField()
    tier_id = models.IntegerField()
    context_window_tokens = models.BigIntegerField()
    max_output_tokens = models.BigIntegerField()
    default_output_tokens = models.BigIntegerField()
    floor_output_tokens = models.BigIntegerField()
    below_input_tokens = models.BigIntegerField(null=True)
    input_usd = models.DecimalField(max_digits=20, decimal_places=15)
    dear_input_usd = models.DecimalField(max_digits=20, decimal_places=15)
    dear_request_usd = models.DecimalField(max_digits=20, decimal_places=15)
    dear_output_usd = models.DecimalField(max_digits=20, decimal_places=15)
    budget_ids = ArrayField(models.BigIntegerField())
    window_starts = ArrayField(models.DateTimeField())
    limits_usd = ArrayField(models.DecimalField(max_digits=28, decimal_places=12, null=True))
    rate_ids = ArrayField(models.BigIntegerField())
    known_at = models.DateTimeField()
    valid_until = models.DateTimeField()
    seen_before = models.BigIntegerField()
    seen_turn = models.IntegerField()
    seen = models.TextField()
    server_started_at = models.DateTimeField()

    class Meta:
        db_table = "gateway_standing"

    def __str__(self) -> str:
        return f"{self.key_public} {self.asked_model}"


class StandingChange(models.Model):
    """A transaction that changed what standings are made of, and how often it did. The table is unlogged."""

    xid = models.BigIntegerField(primary_key=True)
    turn = models.IntegerField()
    at = models.DateTimeField()

    class Meta:
        db_table = "gateway_standing_change"

    def __str__(self) -> str:
        return str(self.xid)
