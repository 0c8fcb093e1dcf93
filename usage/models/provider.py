"""What the providers say: their accounts, our keys there, and their own figures, every version of them."""

from datetime import date, timedelta

from django.db import models
from django.db.models import F, Q

from budgets.models import MONEY
from catalog.models import Context, Provider
from core.clock import now
from core.ids import PublicIdField
from teams.models import User
from usage.models.events import TokenCounts


class ProviderAccount(models.Model):
    """What a provider bills together. `admin_credential` says where its admin key is ("env:NAME" or
    "file:/path"), never the key.
    """

    public_id = PublicIdField(prefix="pac")
    provider = models.CharField(max_length=16, choices=Provider)
    name = models.CharField(max_length=100, help_text="The organisation's id at the provider.")
    admin_credential = models.CharField(max_length=240, blank=True)
    base_url = models.URLField(blank=True, help_text="Empty: the provider's own address.")
    created_at = models.DateTimeField(default=now)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("provider", "name")
        constraints = (
            models.UniqueConstraint(fields=("provider", "name"), name="provider_account_once"),
            models.CheckConstraint(
                condition=Q(admin_credential="")
                | Q(admin_credential__regex=r"^(env:[A-Z][A-Z0-9_]*|file:/.+)$"),
                name="provider_account_refers_to_its_key",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_provider_display()} {self.name}"


class UpstreamCredential(models.Model):
    """One of our keys at a provider, by the id that the provider's reports use. `held_by` is the public id of
    the gateway that holds it, empty for a key that is known and used elsewhere on purpose.

    A key that reports usage and is not in this registry is a bypass.
    """

    public_id = PublicIdField(prefix="upc")
    account = models.ForeignKey(ProviderAccount, on_delete=models.PROTECT, related_name="credentials")
    external_id = models.CharField(max_length=100, help_text="The key's id at the provider, never the key.")
    label = models.CharField(max_length=100)
    held_by = models.CharField(max_length=40, blank=True)
    registered_at = models.DateTimeField(default=now)
    registered_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("account_id", "label")
        constraints = (
            models.UniqueConstraint(fields=("account", "external_id"), name="upstream_credential_once"),
        )

    def __str__(self) -> str:
        return self.label


class Version(models.Model):
    """A figure as a provider told it at `read_at`. Another figure read later supersedes it and keeps it.

    `data_refreshed_at` is the moment up to which the provider says it has counted; `final` when it will not
    change any more (D+1 for usage, D+3 for money).
    """

    read_at = models.DateTimeField()
    superseded_at = models.DateTimeField(null=True, blank=True)
    data_refreshed_at = models.DateTimeField(null=True, blank=True)
    final = models.BooleanField(default=False)

    class Meta:
        abstract = True


class ProviderUsage(Version, TokenCounts):
    """A provider's count for one UTC day, upstream key, project, model and service class.

    Tokens are inclusive totals, whatever the provider's own convention.
    """

    account = models.ForeignKey(ProviderAccount, on_delete=models.PROTECT, related_name="usage")
    day = models.DateField()
    upstream_key = models.CharField(max_length=100, blank=True)
    upstream_project = models.CharField(max_length=100, blank=True)
    model_name = models.CharField(max_length=100)
    context = models.CharField(max_length=16, choices=Context, default=Context.STANDARD)
    requests = models.BigIntegerField(null=True, help_text="Empty when the provider does not count them.")
    units = models.JSONField(db_default={})

    class Meta:
        db_table = "usage_provider_usage"
        indexes = (models.Index(fields=("account", "day"), name="provider_usage_by_day"),)
        constraints = (
            models.UniqueConstraint(
                fields=("account", "day", "upstream_key", "upstream_project", "model_name", "context"),
                condition=Q(superseded_at__isnull=True),
                name="provider_usage_one_current_version",
            ),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.model_name}"


class ProviderCost(Version):
    """What a provider says one UTC day cost, by its line item. Credits and refunds are negative."""

    account = models.ForeignKey(ProviderAccount, on_delete=models.PROTECT, related_name="costs")
    day = models.DateField()
    upstream_key = models.CharField(max_length=100, blank=True)
    upstream_project = models.CharField(max_length=100, blank=True)
    line_item = models.CharField(max_length=200, blank=True)
    model_name = models.CharField(max_length=100, blank=True)
    amount_usd = models.DecimalField(**MONEY)

    class Meta:
        db_table = "usage_provider_cost"
        indexes = (models.Index(fields=("account", "day"), name="provider_cost_by_day"),)
        constraints = (
            models.UniqueConstraint(
                fields=("account", "day", "upstream_key", "upstream_project", "line_item", "model_name"),
                condition=Q(superseded_at__isnull=True),
                name="provider_cost_one_current_version",
            ),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.line_item}: {self.amount_usd}"


class Invoice(models.Model):
    """A provider's bill for [period_start, period_end), uploaded by a person. Another one for the same number
    supersedes it and keeps it.
    """

    public_id = PublicIdField(prefix="inv")
    account = models.ForeignKey(ProviderAccount, on_delete=models.PROTECT, related_name="invoices")
    number = models.CharField(max_length=100)
    period_start = models.DateField()
    period_end = models.DateField()
    total_usd = models.DecimalField(**MONEY)
    document_hash = models.CharField(max_length=64)
    uploaded_at = models.DateTimeField(default=now)
    uploaded_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    superseded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-period_start", "number")
        constraints = (
            models.UniqueConstraint(
                fields=("account", "number"),
                condition=Q(superseded_at__isnull=True),
                name="invoice_one_current_version",
            ),
            models.CheckConstraint(
                condition=Q(period_end__gt=F("period_start")), name="invoice_period_is_not_empty"
            ),
        )

    def __str__(self) -> str:
        return self.number

    @property
    def last_day(self) -> date:
        """Return the last day of the period, which people write."""
        return self.period_end - timedelta(days=1)


class InvoiceLine(models.Model):
    """One line of a bill; credits are negative. The lines sum to the bill's total."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="lines")
    description = models.CharField(max_length=240)
    model_name = models.CharField(max_length=100, blank=True)
    quantity = models.DecimalField(max_digits=28, decimal_places=6, null=True)
    amount_usd = models.DecimalField(**MONEY)

    class Meta:
        db_table = "usage_invoice_line"

    def __str__(self) -> str:
        return self.description
