"""Limits and the ledger: what may be spent, what is held by calls in flight, what was spent and why.

A budget's scope is a kind and the id of the object, because keys belong to an app that imports this one; a
trigger checks that it exists.
"""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from catalog.models import Context, LlmModel, Tier
from core.clock import now
from core.ids import PublicIdField
from teams.models import Department, Project, Team, User

MONEY: Any = {"max_digits": 28, "decimal_places": 12}


class ScopeKind(models.TextChoices):
    """What a budget limits; the order is from the widest to the narrowest."""

    ORGANISATION = "organisation", "Organisation"
    DEPARTMENT = "department", "Department"
    TEAM = "team", "Team"
    PROJECT = "project", "Project"
    KEY = "key", "Key"


class Window(models.TextChoices):
    """The period after which a budget starts anew, in the budget's own time zone."""

    DAY = "day", "Day"
    WEEK = "week", "Week"
    MONTH = "month", "Month"
    QUARTER = "quarter", "Quarter"
    FISCAL_YEAR = "fiscal_year", "Fiscal year"
    LIFETIME = "lifetime", "Lifetime"


class Mode(models.TextChoices):
    """What happens at the limit: tell, let through with a warning, or refuse."""

    NOTIFY = "notify", "Notify"
    SOFT = "soft", "Soft"
    HARD = "hard", "Hard"


class Budget(models.Model):
    """One limit on one scope for one window. A call must fit every budget on its path."""

    public_id = PublicIdField(prefix="bdg")
    scope_kind = models.CharField(max_length=16, choices=ScopeKind)
    scope_id = models.BigIntegerField(help_text="The id of the scope's own row; 0 for the organisation.")
    department = models.ForeignKey(
        Department, on_delete=models.PROTECT, null=True, blank=True, related_name="budgets"
    )
    window = models.CharField(max_length=16, choices=Window)
    window_anchor = models.PositiveSmallIntegerField(
        default=1, help_text="First weekday (1 to 7) or first month of the fiscal year (1 to 12)."
    )
    time_zone = models.CharField(max_length=64, default="UTC")
    mode = models.CharField(max_length=8, choices=Mode, default=Mode.HARD)
    only_tier = models.ForeignKey(Tier, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    only_model = models.ForeignKey(
        LlmModel, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(default=now)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("scope_kind", "scope_id", "window", "id")
        constraints = (
            models.CheckConstraint(
                condition=Q(scope_kind=ScopeKind.ORGANISATION, scope_id=0, department__isnull=True)
                | (~Q(scope_kind=ScopeKind.ORGANISATION) & Q(scope_id__gt=0, department__isnull=False)),
                name="budget_scope_is_whole",
            ),
            models.CheckConstraint(
                condition=(Q(window=Window.WEEK) & Q(window_anchor__range=(1, 7)))
                | (Q(window=Window.FISCAL_YEAR) & Q(window_anchor__range=(1, 12)))
                | (~Q(window__in=(Window.WEEK, Window.FISCAL_YEAR)) & Q(window_anchor=1)),
                name="budget_window_anchor_fits_its_window",
            ),
            models.CheckConstraint(
                condition=Q(only_tier__isnull=True) | Q(only_model__isnull=True),
                name="budget_has_one_filter_at_most",
            ),
            models.UniqueConstraint(
                fields=("scope_kind", "scope_id", "window", "mode", "only_tier", "only_model"),
                condition=Q(closed_at__isnull=True),
                nulls_distinct=False,
                name="budget_one_open_per_scope_window_mode_filter",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_scope_kind_display()} {self.get_window_display().lower()} budget"


class LimitKind(models.TextChoices):
    """A base limit replaces the one before; a top-up adds to it while it is valid."""

    BASE = "base", "Limit"
    TOP_UP = "top_up", "Top-up"


class BudgetLimit(models.Model):
    """An amount in force from a moment on. Insert-only: what was the limit at T, as known at K, is always
    answered.

    A null amount means no limit at this budget (others still bind); 0 refuses everything.
    """

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="limits")
    kind = models.CharField(max_length=8, choices=LimitKind, default=LimitKind.BASE)
    amount_usd = models.DecimalField(**MONEY, null=True, blank=True)
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField(null=True, blank=True)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.TextField()
    recorded_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ("-valid_from", "-id")
        indexes = (models.Index(fields=("budget", "kind", "-valid_from", "-id"), name="limit_by_budget"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(amount_usd__isnull=True) | Q(amount_usd__gte=0), name="limit_is_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(kind=LimitKind.BASE, valid_until__isnull=True)
                | Q(
                    kind=LimitKind.TOP_UP,
                    valid_until__isnull=False,
                    valid_until__gt=F("valid_from"),
                    amount_usd__isnull=False,
                    amount_usd__gt=0,
                ),
                name="limit_top_up_ends_and_base_does_not",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="limit_has_a_reason"),
        )

    def __str__(self) -> str:
        return f"{self.amount_usd} from {self.valid_from:%Y-%m-%d %H:%M}"


class Balance(models.Model):
    """What a budget's window has spent and holds: a projection of entries and open reservations, equal to
    them at every commit.
    """

    pk = models.CompositePrimaryKey("budget_id", "window_start")
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="balances")
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    spent_usd = models.DecimalField(**MONEY, default=0)
    reserved_usd = models.DecimalField(**MONEY, default=0)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(reserved_usd__gte=0), name="balance_never_holds_less_than_nothing"
            ),
            models.CheckConstraint(
                condition=Q(window_end__gt=F("window_start")), name="balance_window_ends_after_it_starts"
            ),
        )

    def __str__(self) -> str:
        return f"{self.spent_usd} spent, {self.reserved_usd} held"


class ReservationState(models.TextChoices):
    """A reservation is open until exactly one thing resolves it."""

    OPEN = "open", "Open"
    SETTLED = "settled", "Settled"
    RELEASED = "released", "Released"
    UNSETTLED = "unsettled", "Charged at its input bound, never settled"


class Reservation(models.Model):
    """Money held for one call from its authorisation to its settlement, with its attribution as it was then.

    `budget_ids[i]` and `window_starts[i]` name the i-th balance it holds on. `request_id` is unique per
    gateway, so a repeated authorisation finds it.
    """

    id = models.BigAutoField(primary_key=True)
    public_id = PublicIdField(prefix="rsv")
    source = models.CharField(max_length=40, help_text="The public id of the gateway that asked.")
    request_id = models.CharField(max_length=64)
    request_hash = models.BinaryField(max_length=32)
    key_id = models.BigIntegerField()
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    department = models.ForeignKey(Department, on_delete=models.PROTECT, related_name="+")
    model = models.ForeignKey(LlmModel, on_delete=models.PROTECT, related_name="+")
    tier = models.ForeignKey(Tier, on_delete=models.PROTECT, related_name="+")
    context = models.CharField(max_length=16, choices=Context)
    route = models.CharField(max_length=100)
    input_bound_tokens = models.BigIntegerField()
    max_output_tokens = models.BigIntegerField(null=True)
    choices = models.PositiveSmallIntegerField(default=1)
    held_usd = models.DecimalField(**MONEY)
    input_floor_usd = models.DecimalField(**MONEY)
    budget_ids = ArrayField(models.BigIntegerField())
    window_starts = ArrayField(models.DateTimeField())
    warnings = models.JSONField(default=list)
    state = models.CharField(max_length=10, choices=ReservationState, default=ReservationState.OPEN)
    authorized_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            models.Index(
                fields=("expires_at",),
                condition=Q(state=ReservationState.OPEN),
                name="reservation_open_by_expiry",
            ),
        )
        constraints = (
            models.UniqueConstraint(fields=("source", "request_id"), name="reservation_one_per_request"),
            models.CheckConstraint(
                condition=Q(held_usd__gte=0, input_floor_usd__gte=0),
                name="reservation_holds_at_least_nothing",
            ),
            models.CheckConstraint(
                condition=Q(state=ReservationState.OPEN, resolved_at__isnull=True)
                | (~Q(state=ReservationState.OPEN) & Q(resolved_at__isnull=False)),
                name="reservation_resolved_has_a_time",
            ),
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("authorized_at")), name="reservation_expires_after_it_starts"
            ),
        )

    def __str__(self) -> str:
        return f"{self.held_usd} for {self.request_id}"


class EntryKind(models.TextChoices):
    """Why an entry was written. A mistake is corrected by another entry."""

    SETTLE = "settle", "Settlement"
    LATE = "late", "Late settlement"
    UNSETTLED = "unsettled", "Never settled, charged at the input bound"
    ADJUST = "adjust", "Adjustment"
    CORRECTION = "correction", "Correction"
    CARRY = "carry", "Carry from the window before"


class Entry(models.Model):
    """One posting of the ledger. Append-only by trigger; the sum over a budget's window is that balance's
    `spent_usd`.
    """

    public_id = PublicIdField(prefix="ent")
    kind = models.CharField(max_length=12, choices=EntryKind)
    amount_usd = models.DecimalField(**MONEY)
    reservation = models.ForeignKey(Reservation, on_delete=models.PROTECT, null=True, related_name="entries")
    budget_ids = ArrayField(models.BigIntegerField())
    window_starts = ArrayField(models.DateTimeField())
    key_id = models.BigIntegerField()
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    department = models.ForeignKey(Department, on_delete=models.PROTECT, related_name="+")
    model = models.ForeignKey(LlmModel, on_delete=models.PROTECT, related_name="+")
    price_ids = ArrayField(models.BigIntegerField(), default=list)
    tokens = models.JSONField(default=dict)
    overrun_usd = models.DecimalField(**MONEY, default=0)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=240, blank=True)
    corrects = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="corrections")
    effective_at = models.DateTimeField()
    recorded_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "entries"
        constraints = (
            models.UniqueConstraint(
                fields=("reservation",),
                condition=Q(kind__in=(EntryKind.SETTLE, EntryKind.LATE)),
                name="entry_one_settlement_per_reservation",
            ),
            models.UniqueConstraint(
                fields=("reservation",),
                condition=Q(kind=EntryKind.UNSETTLED),
                name="entry_one_unsettled_charge_per_reservation",
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=(EntryKind.SETTLE, EntryKind.LATE, EntryKind.UNSETTLED))
                | Q(amount_usd__gte=0),
                name="entry_charge_is_not_negative",
            ),
            models.CheckConstraint(
                condition=~Q(kind=EntryKind.CORRECTION) | Q(corrects__isnull=False),
                name="entry_correction_names_what_it_corrects",
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=(EntryKind.ADJUST, EntryKind.CORRECTION)) | ~Q(reason=""),
                name="entry_by_hand_has_a_reason",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_usd}"
