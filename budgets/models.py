"""Limits and the ledger: what may be spent, what is held by calls in flight, what was spent and why.

A budget's scope is a kind and the id of the object, because keys belong to an app that imports this one; a
trigger checks that it exists.
"""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q

from catalog.models import Context, LlmModel, Tier
from core.clock import now
from core.ids import PublicIdField
from teams.models import Department, Project, Team, User

MONEY: Any = {"max_digits": 28, "decimal_places": 12}
MOST_PERCENTS, HIGHEST_PERCENT = 6, 200  # of the shares of a limit at which people are told
# Attribution is copied, never followed: no foreign-key check and no index on the path of every call. The rows
# it names are never deleted (trigger `is_never_deleted`).
COPIED: Any = {
    "on_delete": models.DO_NOTHING,
    "related_name": "+",
    "db_index": False,
    "db_constraint": False,
}


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


class Allocation(models.TextChoices):
    """How much of a budget may be handed out to the budgets below it, for the same window."""

    POOL = "pool", "Pool: each may use all of it"
    OVERCOMMIT = "overcommit", "Overcommit: their sum may reach a multiple of it"
    STRICT = "strict", "Strict: their sum stays within it"


class RollOver(models.TextChoices):
    """What a window passes on to the next: nothing, what was left, or what was overspent."""

    NONE = "none", "Nothing"
    UNUSED = "unused", "What was left is added"
    DEBT = "debt", "What was overspent is taken off"


def usual_percents() -> list[int]:
    """Return at which shares of a limit, in per cent, people are told unless they choose others."""
    return [50, 80, 100]


class Budget(models.Model):
    """One limit on one scope for one window. A call must fit every budget on its path.

    `alert_percents` are the shares of the limit, in per cent, at which the people in charge are told.
    """

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
    allocation = models.CharField(
        max_length=10, choices=Allocation, default=Allocation.POOL, db_default="pool"
    )
    overcommit_ratio = models.DecimalField(max_digits=5, decimal_places=2, default=1, db_default=1)
    roll_over = models.CharField(max_length=8, choices=RollOver, default=RollOver.NONE, db_default="none")
    only_tier = models.ForeignKey(Tier, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    only_model = models.ForeignKey(
        LlmModel, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    alert_percents = ArrayField(
        models.PositiveSmallIntegerField(), default=usual_percents, db_default=usual_percents()
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
            models.CheckConstraint(
                condition=(Q(allocation=Allocation.OVERCOMMIT) & Q(overcommit_ratio__gte=1))
                | (~Q(allocation=Allocation.OVERCOMMIT) & Q(overcommit_ratio=1)),
                name="budget_overcommit_is_by_a_ratio_of_1_or_more",
            ),
            models.CheckConstraint(
                condition=~Q(window=Window.LIFETIME) | Q(roll_over=RollOver.NONE),
                name="budget_for_a_lifetime_does_not_roll_over",
            ),
            models.CheckConstraint(
                condition=Q(alert_percents__len__range=(1, MOST_PERCENTS)),
                name="budget_tells_at_one_share_of_its_limit_or_some",
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

    `mean_call_seconds` follows how long a call on this budget holds money; it answers "try again in".
    """

    pk = models.CompositePrimaryKey("budget_id", "window_start")
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="balances", db_index=False)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    spent_usd = models.DecimalField(**MONEY, default=0)
    reserved_usd = models.DecimalField(**MONEY, default=0)
    mean_call_seconds = models.FloatField(db_default=0.0)

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


class EntrySum(models.Model):
    """What the entries of a balance come to as far as the verification under way has read them."""

    pk = models.CompositePrimaryKey("budget_id", "window_start")
    budget_id = models.BigIntegerField()
    window_start = models.DateTimeField()
    amount_usd = models.DecimalField(**MONEY)


class AlertKind(models.TextChoices):
    """What passed a share of the limit: what is spent, or what the window is expected to come to."""

    SPENT = "spent", "Spent"
    FORECAST = "forecast", "Forecast"


class BudgetAlert(models.Model):
    """A share of its limit that a budget passed in a window: once while that limit is in force. Insert-only.

    `limit_since` is since when, in the window, the limit is what it is: another limit arms every share again.
    `is_told` is False where nobody was told of it by itself: a higher share was passed with it, or people
    knew (budgets.thresholds). `passes_on` is the organisation's day on which the limit is expected to be
    passed, if it is.
    """

    public_id = PublicIdField(prefix="alr")
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="alerts")
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    kind = models.CharField(max_length=8, choices=AlertKind)
    percent = models.PositiveSmallIntegerField()
    limit_since = models.DateTimeField()
    limit_usd = models.DecimalField(**MONEY)
    spent_usd = models.DecimalField(**MONEY)
    held_usd = models.DecimalField(**MONEY)
    forecast_usd = models.DecimalField(**MONEY, null=True)
    passes_on = models.DateField(null=True)
    is_told = models.BooleanField()
    passed_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("budget", "window_start", "limit_since", "kind", "percent"),
                name="alert_once_per_budget_window_limit_kind_and_percent",
            ),
            models.CheckConstraint(
                condition=Q(percent__range=(1, HIGHEST_PERCENT)), name="alert_is_about_a_share_of_a_limit"
            ),
            models.CheckConstraint(
                condition=Q(limit_since__gte=F("window_start"), limit_since__lt=F("window_end")),
                name="alert_limit_is_in_force_in_its_window",
            ),
            models.CheckConstraint(
                condition=~Q(kind=AlertKind.FORECAST) | Q(forecast_usd__isnull=False),
                name="alert_of_a_forecast_has_one",
            ),
        )

    def __str__(self) -> str:
        return f"{self.percent} % of {self.limit_usd}, {self.kind}"


class RateLimit(models.Model):
    """How fast a scope may call: requests and tokens a minute (token buckets by GCRA, full after a minute's
    rest) and calls in flight. A null is no limit.

    `requests_tat` and `tokens_tat` are the buckets' theoretical arrival times; `in_flight` is the number
    of open reservations that count on this row, equal to them at every commit.
    """

    SCOPES = (ScopeKind.KEY, ScopeKind.PROJECT, ScopeKind.TEAM)

    public_id = PublicIdField(prefix="rtl")
    scope_kind = models.CharField(max_length=16, choices=[(kind.value, kind.label) for kind in SCOPES])
    scope_id = models.BigIntegerField()
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveBigIntegerField(null=True, blank=True)
    parallel_calls = models.PositiveIntegerField(null=True, blank=True)
    requests_tat = models.DateTimeField(null=True, editable=False)
    tokens_tat = models.DateTimeField(null=True, editable=False)
    in_flight = models.IntegerField(default=0, editable=False)

    class Meta:
        ordering = ("scope_kind", "scope_id")
        constraints = (
            models.UniqueConstraint(fields=("scope_kind", "scope_id"), name="rate_limit_one_per_scope"),
            models.CheckConstraint(
                condition=Q(scope_kind__in=("key", "project", "team"), scope_id__gt=0),
                name="rate_limit_is_for_a_key_project_or_team",
            ),
            models.CheckConstraint(
                condition=(Q(requests_per_minute__isnull=True) | Q(requests_per_minute__gte=1))
                & (Q(tokens_per_minute__isnull=True) | Q(tokens_per_minute__gte=1))
                & (Q(parallel_calls__isnull=True) | Q(parallel_calls__gte=1)),
                name="rate_limit_lets_something_through",
            ),
            models.CheckConstraint(condition=Q(in_flight__gte=0), name="rate_limit_counts_from_nothing"),
        )

    def __str__(self) -> str:
        return f"rate of {self.scope_kind} {self.scope_id}"


class Lease(models.Model):
    """Money that a gateway node holds on every budget of a path, to decide a key's calls of one model itself.

    `held_usd` is what of it no call has drawn yet: it is reserved on the path's balances while the lease is
    open. What was granted is held, was drawn by calls, or was given back (`returned_usd`). The node stops
    before `expires_at`; calls it allowed are drawn until `reclaim_at`, when the rest is given back:
    `unheard_usd` is that rest, which bounds what the node let through and never told of. `wish` is what the
    node asked for it by: a question without an answer is asked again, and finds the lease that it opened.
    """

    public_id = PublicIdField(prefix="lse")
    source = models.CharField(max_length=40, help_text="The public id of the gateway.")
    node = models.CharField(max_length=64)
    wish = models.CharField(max_length=40, null=True)  # noqa: DJ001  a wish that is over has no name
    key_id = models.BigIntegerField()
    owner = models.ForeignKey(User, **COPIED)
    project = models.ForeignKey(Project, **COPIED)
    team = models.ForeignKey(Team, **COPIED)
    department = models.ForeignKey(Department, **COPIED)
    model = models.ForeignKey(LlmModel, **COPIED)
    tier = models.ForeignKey(Tier, **COPIED)
    budget_ids = ArrayField(models.BigIntegerField())
    window_starts = ArrayField(models.DateTimeField())
    granted_usd = models.DecimalField(**MONEY)
    held_usd = models.DecimalField(**MONEY)
    returned_usd = models.DecimalField(**MONEY, default=0, db_default=0)
    unheard_usd = models.DecimalField(**MONEY, default=0, db_default=0)
    opened_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    reclaim_at = models.DateTimeField()
    recalled_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            models.Index(fields=("reclaim_at",), condition=Q(closed_at__isnull=True), name="lease_open"),
            models.Index(fields=("key_id",), condition=Q(closed_at__isnull=True), name="lease_open_by_key"),
            models.Index(fields=("closed_at",), condition=Q(unheard_usd__gt=0), name="lease_ended_unheard"),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(held_usd__gte=0, held_usd__lte=F("granted_usd")), name="lease_holds_what_is_left"
            ),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True) | Q(held_usd=0), name="lease_closed_holds_nothing"
            ),
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("opened_at"), reclaim_at__gt=F("expires_at")),
                name="lease_is_reclaimed_after_its_end",
            ),
            models.CheckConstraint(
                condition=Q(returned_usd__gte=0, returned_usd__lte=F("granted_usd") - F("held_usd")),
                name="lease_gives_back_what_it_was_granted",
            ),
            models.CheckConstraint(
                condition=Q(unheard_usd__gte=0, unheard_usd__lte=F("returned_usd")),
                name="lease_is_in_doubt_about_what_it_gave_back",
            ),
            models.UniqueConstraint(
                fields=("source", "node", "wish"),
                condition=Q(closed_at__isnull=True),
                name="lease_one_per_wish",
            ),
        )

    def __str__(self) -> str:
        return f"{self.held_usd} left of {self.granted_usd}"


class ReservationState(models.TextChoices):
    """A reservation is open until exactly one thing resolves it."""

    OPEN = "open", "Open"
    SETTLED = "settled", "Settled"
    RELEASED = "released", "Released"
    UNSETTLED = "unsettled", "Charged at its input bound, never settled"


class Reservation(models.Model):
    """Money held for one call from its authorisation to its settlement, with its attribution as it was then.

    `budget_ids[i]` and `window_starts[i]` name the i-th balance it holds on. `request_id` is unique per
    gateway, so a repeated authorisation finds it. `rate_ids` are the rate limits it counts on, `units` the
    bounds of what is not counted in tokens.
    """

    id = models.BigAutoField(primary_key=True)
    public_id = PublicIdField(prefix="rsv")
    source = models.CharField(max_length=40, help_text="The public id of the gateway that asked.")
    request_id = models.CharField(max_length=64)
    request_hash = models.BinaryField(max_length=32)
    key_id = models.BigIntegerField()
    owner = models.ForeignKey(User, **COPIED)
    project = models.ForeignKey(Project, **COPIED)
    team = models.ForeignKey(Team, **COPIED)
    department = models.ForeignKey(Department, **COPIED)
    model = models.ForeignKey(LlmModel, **COPIED)
    tier = models.ForeignKey(Tier, **COPIED)
    context = models.CharField(max_length=16, choices=Context)
    route = models.CharField(max_length=100)
    input_bound_tokens = models.BigIntegerField()
    max_output_tokens = models.BigIntegerField(null=True)
    choices = models.PositiveSmallIntegerField(default=1)
    units = models.JSONField(db_default={})
    held_tokens = models.BigIntegerField(db_default=0)
    rate_ids = ArrayField(models.BigIntegerField(), db_default=[])
    lease = models.ForeignKey(Lease, null=True, **COPIED)
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
            BrinIndex(fields=("authorized_at",), name="reservation_by_time"),
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


# What a statement lists one by one: what came late, and what was put right.
PUT_RIGHT = (EntryKind.LATE, EntryKind.ADJUST, EntryKind.CORRECTION)


class Entry(models.Model):
    """One posting of the ledger. Append-only by trigger; the sum over a budget's window is that balance's
    `spent_usd`.

    An entry of a call carries its attribution; one of a window (a carry, and what corrects it) has none.
    `prior_period` is the first day of the closed month that it is about, though it stands in an open one.
    """

    public_id = PublicIdField(prefix="ent")
    kind = models.CharField(max_length=12, choices=EntryKind)
    amount_usd = models.DecimalField(**MONEY)
    reservation = models.ForeignKey(  # never deleted, so no entry of a settlement looks for it again
        Reservation, on_delete=models.PROTECT, null=True, related_name="entries", db_constraint=False
    )
    budget_ids = ArrayField(models.BigIntegerField())
    window_starts = ArrayField(models.DateTimeField())
    key_id = models.BigIntegerField(null=True)
    project = models.ForeignKey(Project, null=True, **COPIED)
    team = models.ForeignKey(Team, null=True, **COPIED)
    department = models.ForeignKey(Department, null=True, **COPIED)
    model = models.ForeignKey(LlmModel, null=True, **COPIED)
    price_ids = ArrayField(models.BigIntegerField(), default=list)
    tokens = models.JSONField(default=dict)
    overrun_usd = models.DecimalField(**MONEY, default=0)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(max_length=240, blank=True)
    corrects = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, related_name="corrections", db_index=False
    )  # looked up from the correction alone
    prior_period = models.DateField(null=True)
    effective_at = models.DateTimeField()
    recorded_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "entries"
        indexes = (
            BrinIndex(fields=("effective_at",), name="entry_by_time"),
            models.Index(
                fields=("team", "recorded_at"),
                condition=Q(kind__in=PUT_RIGHT),
                name="entry_put_right_by_team",
            ),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(key_id__isnull=False, project__isnull=False, team__isnull=False)
                & Q(department__isnull=False, model__isnull=False)
                | Q(key_id__isnull=True, project__isnull=True, team__isnull=True)
                & Q(department__isnull=True, model__isnull=True, reservation__isnull=True),
                name="entry_is_of_a_call_or_of_a_window",
            ),
            models.UniqueConstraint(
                fields=("budget_ids", "window_starts"),
                condition=Q(kind=EntryKind.CARRY),
                name="entry_one_carry_per_window",
            ),
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
