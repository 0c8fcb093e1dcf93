"""Where the ledger, the gateways' records and the providers' figures differ, and what became of it."""

from django.db import models
from django.db.models import F, Q

from budgets.models import MONEY, Entry
from core.ids import PublicIdField
from teams.models import User


class RunState(models.TextChoices):
    """The outcome of a reconciliation. A source that could not be read is red, never "no difference"."""

    MATCHED = "matched", "Matched"
    DIFFERENT = "different", "Differences found"
    UNREADABLE = "unreadable", "A source could not be read"
    ALONE = "alone", "No other side"


class Level(models.IntegerChoices):
    """What is compared: calls with a gateway, volumes with a provider, money with a provider."""

    CALLS = 1, "Calls, with the gateway"
    VOLUMES = 2, "Volumes, with the provider"
    MONEY = 3, "Money, with the provider"


class ReconciliationRun(models.Model):
    """The ledger against one source for one UTC day, at one level. Running it again updates the same row.

    `source` is the public id of a gateway, of a provider's account, or of a bill, whose period ends before
    `period_end`. `portal_*` are the ledger's figures, `gateway_*` the source's. In money the difference is
    cut into what keys used that are known elsewhere, keys nobody knows, more or less volume at our price, the
    provider's volume at another price, and what belongs to no model; the parts are the difference exactly.
    A gateway that keeps no journal or log is `alone`: only what is wrong among its own calls is looked for.
    `no_twins` stands for the ledger's calls when no answer was among them twice (level 1).
    """

    level = models.PositiveSmallIntegerField(choices=Level, default=Level.CALLS, db_default=Level.CALLS)
    day = models.DateField()
    period_end = models.DateField(null=True)
    source = models.CharField(max_length=40)
    state = models.CharField(max_length=12, choices=RunState)
    notice = models.CharField(max_length=240, blank=True, db_default="")
    provisional = models.BooleanField(default=False, db_default=False)
    data_refreshed_at = models.DateTimeField(null=True)
    portal_calls = models.BigIntegerField(default=0)
    gateway_calls = models.BigIntegerField(default=0)
    portal_input_tokens = models.BigIntegerField(default=0)
    gateway_input_tokens = models.BigIntegerField(default=0)
    portal_output_tokens = models.BigIntegerField(default=0)
    gateway_output_tokens = models.BigIntegerField(default=0)
    portal_cost_usd = models.DecimalField(**MONEY, default=0)
    provider_cost_usd = models.DecimalField(**MONEY, default=0, db_default=0)
    elsewhere_usd = models.DecimalField(**MONEY, default=0, db_default=0)
    unknown_key_usd = models.DecimalField(**MONEY, default=0, db_default=0)
    volume_usd = models.DecimalField(**MONEY, default=0, db_default=0)
    price_usd = models.DecimalField(**MONEY, default=0, db_default=0)
    other_usd = models.DecimalField(**MONEY, default=0, db_default=0)
    drift_usd = models.DecimalField(**MONEY, default=0)
    alone = models.BooleanField(default=False, db_default=False)
    no_twins = models.CharField(max_length=64, blank=True, default="", db_default="")
    runs = models.PositiveIntegerField(default=0)
    first_run_at = models.DateTimeField()
    last_run_at = models.DateTimeField()

    class Meta:
        ordering = ("-day", "source", "level")
        constraints = (
            models.UniqueConstraint(
                fields=("day", "source", "level"), name="reconciliation_one_per_day_source_and_level"
            ),
            models.CheckConstraint(
                condition=~Q(level=Level.MONEY)
                | Q(state=RunState.UNREADABLE)
                | Q(
                    provider_cost_usd=F("portal_cost_usd")
                    + F("elsewhere_usd")
                    + F("unknown_key_usd")
                    + F("volume_usd")
                    + F("price_usd")
                    + F("other_usd")
                ),
                name="reconciliation_of_money_closes",
            ),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.source}"


class DiscrepancyClass(models.TextChoices):
    """In what way the two sides differ."""

    MISSING_AT_PORTAL = "missing_at_portal", "At the gateway, not in the ledger"
    MISSING_AT_GATEWAY = "missing_at_gateway", "In the ledger, not at the gateway"
    DUPLICATE = "duplicate", "The same answer twice"
    TOKEN_MISMATCH = "token_mismatch", "Token counts differ"
    PRICE_MISMATCH = "price_mismatch", "Costs differ"
    ZERO_COST = "zero_cost", "Tokens that cost nothing"
    BYPASS_UNKNOWN_KEY = "bypass_unknown_key", "Bypass: a key that is not registered"
    BYPASS_SHARED_KEY = "bypass_shared_key", "Bypass: a gateway's key used elsewhere"
    PRICE_CHANGE = "price_change", "The provider's price changed"


BYPASSES = (DiscrepancyClass.BYPASS_UNKNOWN_KEY, DiscrepancyClass.BYPASS_SHARED_KEY)


class DiscrepancyState(models.TextChoices):
    """What became of a difference."""

    OPEN = "open", "Open"
    EXPLAINED = "explained", "Explained"
    CORRECTED = "corrected", "Corrected"
    ACCEPTED = "accepted", "Accepted"


class Discrepancy(models.Model):
    """One call, or one key and model of a day, on which two sides differ.

    `external_id` names the call, or the key and model. `amount_usd` is what the ledger lacks, negative where
    it has too much; of a call missing at the gateway what it was charged. What no price tells the worth of is
    not in it: `detail` names these models as `unpriced`. `proposal` holds the prices that a
    provider seems to charge, by unit, as US dollars for one.
    """

    public_id = PublicIdField(prefix="dsc")
    run = models.ForeignKey(ReconciliationRun, on_delete=models.PROTECT, related_name="discrepancies")
    kind = models.CharField(max_length=20, choices=DiscrepancyClass)
    external_id = models.CharField(max_length=240)
    at = models.DateTimeField(null=True)
    model_name = models.CharField(max_length=100, blank=True, db_default="")
    detail = models.JSONField(default=dict)
    proposal = models.JSONField(null=True)
    amount_usd = models.DecimalField(**MONEY, default=0)
    state = models.CharField(max_length=10, choices=DiscrepancyState, default=DiscrepancyState.OPEN)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    note = models.CharField(max_length=240, blank=True)
    unconfirmed = models.BooleanField(
        default=False, db_default=False, help_text="A call that is booked and that no gateway's record has."
    )
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    closed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        verbose_name_plural = "discrepancies"
        indexes = (
            models.Index(
                fields=("-opened_at", "-id"),
                condition=Q(state=DiscrepancyState.OPEN),
                name="discrepancy_open",
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("run", "kind", "external_id"), name="discrepancy_each_call_once_per_run"
            ),
            models.CheckConstraint(
                condition=Q(state=DiscrepancyState.OPEN, closed_at__isnull=True)
                | (~Q(state=DiscrepancyState.OPEN) & Q(closed_at__isnull=False)),
                name="discrepancy_closed_has_a_time",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind}: {self.external_id}"

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Return the models without a price, for which the amount is not known."""
        return tuple(self.detail.get("unpriced", ()))


class LedgerCorrection(models.Model):
    """One entry by which the ledger followed another side: the run that found it, the entry, who and why.

    `prior_period` is the first day of the closed month that it is about; its entry stands in the open one.
    Insert-only (trigger).
    """

    public_id = PublicIdField(prefix="lcr")
    discrepancy = models.ForeignKey(Discrepancy, on_delete=models.PROTECT, related_name="corrections")
    run = models.ForeignKey(ReconciliationRun, on_delete=models.PROTECT, related_name="corrections")
    entry = models.OneToOneField(Entry, on_delete=models.PROTECT, related_name="reconciled")
    amount_usd = models.DecimalField(**MONEY)
    prior_period = models.DateField(null=True)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=240)
    posted_at = models.DateTimeField()

    class Meta:
        db_table = "usage_ledger_correction"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.amount_usd} for {self.discrepancy_id}"
