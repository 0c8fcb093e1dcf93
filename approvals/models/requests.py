"""Policies, requests for access, who decided them and for whom, which access was looked at. Triggers keep
what raw SQL could break (docs/adr/0005, docs/adr/0009).
"""

from datetime import datetime, timedelta
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from approvals.models.waiting import RequestStatus, Saying, Waiting, WaitingQuerySet
from approvals.policy import Turn, turn_at
from budgets.models import MONEY
from catalog.models import Tier
from core.clock import now
from core.ids import PublicIdField
from keys.models import ApiKey, Grant
from teams.models import Department, Project, Role, Team, User, ValidityQuerySet, oversees

BREAK_GLASS_MOST_HOURS = 4
LONGEST_DELEGATION = timedelta(days=30)


class Policy(models.Model):
    """The rules for one tier, versioned. A change is a new row; a request keeps the one it was made under.

    `stages` is a list of {"role": "lead", "quorum": 1}, decided in order. `escalation_role` decides beside
    the stage's own when `sla_hours` have passed; `told_role` hears of each request and may deny it where
    `told_may_veto`. `auto_extend` lets a rule approve extensions. Zero `break_glass_hours` forbids it.
    Requests up to `together_cap_usd` a month may be approved several at a time; null forbids it.
    """

    public_id = PublicIdField(prefix="pol")
    tier = models.ForeignKey(Tier, on_delete=models.PROTECT, related_name="policies")
    version = models.PositiveIntegerField()
    stages = models.JSONField()
    default_days = models.PositiveSmallIntegerField()
    max_days = models.PositiveSmallIntegerField()
    max_monthly_usd = models.DecimalField(**MONEY, null=True)
    decide_within_hours = models.PositiveSmallIntegerField(default=168)
    sla_hours = models.PositiveSmallIntegerField(default=48)
    escalation_role = models.CharField(max_length=16, choices=Role, blank=True)
    told_role = models.CharField(max_length=16, choices=Role, blank=True)
    told_may_veto = models.BooleanField(default=False)
    min_reason_characters = models.PositiveSmallIntegerField(default=10)
    needs_ticket = models.BooleanField(default=False)
    auto_extend = models.BooleanField(default=False)
    auto_spend_percent = models.PositiveSmallIntegerField(default=80)
    auto_human_days = models.PositiveSmallIntegerField(default=90)
    break_glass_hours = models.PositiveSmallIntegerField(default=0)
    break_glass_cap_usd = models.DecimalField(**MONEY, null=True)
    together_cap_usd = models.DecimalField(**MONEY, null=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    confirmed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(default=now)
    retired_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "policies"
        ordering = ("tier_id", "-version")
        constraints = (
            models.UniqueConstraint(fields=("tier", "version"), name="policy_version_once_per_tier"),
            models.UniqueConstraint(
                fields=("tier",), condition=Q(retired_at__isnull=True), name="policy_one_in_force_per_tier"
            ),
            models.CheckConstraint(
                condition=Q(default_days__gte=1, max_days__gte=F("default_days")),
                name="policy_days_make_sense",
            ),
            models.CheckConstraint(condition=Q(tier__gt=1), name="policy_is_for_a_tier_that_needs_approval"),
            models.CheckConstraint(
                condition=Q(sla_hours__gte=2, sla_hours__lte=F("decide_within_hours")),
                name="policy_sla_ends_before_the_request",
            ),
            models.CheckConstraint(
                condition=Q(auto_extend=False) | Q(tier=2), name="policy_auto_rule_is_for_tier_2_alone"
            ),
            models.CheckConstraint(
                condition=Q(auto_spend_percent__gte=1, auto_spend_percent__lte=100, auto_human_days__gte=1),
                name="policy_auto_rule_makes_sense",
            ),
            models.CheckConstraint(
                condition=Q(break_glass_hours=0, break_glass_cap_usd__isnull=True)
                | Q(
                    break_glass_hours__gte=1,
                    break_glass_hours__lte=BREAK_GLASS_MOST_HOURS,
                    break_glass_cap_usd__gt=0,
                ),
                name="policy_break_glass_is_short_and_capped",
            ),
            models.CheckConstraint(
                condition=Q(told_may_veto=False) | ~Q(told_role=""), name="policy_veto_has_a_role"
            ),
            models.CheckConstraint(
                condition=Q(together_cap_usd__isnull=True) | Q(tier=2, together_cap_usd__gt=0),
                name="policy_several_together_are_for_tier_2_alone",
            ),
            models.CheckConstraint(
                condition=Q(created_by__isnull=True, confirmed_by__isnull=True)
                | (
                    Q(created_by__isnull=False, confirmed_by__isnull=False) & ~Q(confirmed_by=F("created_by"))
                ),
                name="policy_is_confirmed_by_somebody_else",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tier} policy, version {self.version}"


class ProposalStatus(models.TextChoices):
    """The life of a proposal. All but PENDING are final."""

    PENDING = "pending", "Waiting"
    CONFIRMED = "confirmed", "Confirmed"
    DROPPED = "dropped", "Dropped"


class PolicyProposal(models.Model):
    """Other rules for a tier, proposed by one administrator for another one to confirm.

    `rules` are those of `approvals.rules.Rules`; null proposes that nobody may ask for the tier any more.
    """

    public_id = PublicIdField(prefix="ppo")
    tier = models.ForeignKey(Tier, on_delete=models.PROTECT, related_name="+")
    base = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="proposals")
    rules = models.JSONField(null=True)
    reason = models.TextField()
    status = models.CharField(max_length=10, choices=ProposalStatus, default=ProposalStatus.PENDING)
    proposed_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField()
    ended_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    ended_at = models.DateTimeField(null=True)
    policy = models.OneToOneField(Policy, on_delete=models.PROTECT, null=True, related_name="proposal")

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tier",),
                condition=Q(status=ProposalStatus.PENDING),
                name="policy_proposal_one_pending_per_tier",
            ),
            models.CheckConstraint(
                condition=Q(status=ProposalStatus.PENDING, ended_by__isnull=True, ended_at__isnull=True)
                | (~Q(status=ProposalStatus.PENDING) & Q(ended_by__isnull=False, ended_at__isnull=False)),
                name="policy_proposal_ended_has_somebody",
            ),
            models.CheckConstraint(
                condition=~Q(status=ProposalStatus.CONFIRMED) | ~Q(ended_by=F("proposed_by")),
                name="policy_proposal_is_confirmed_by_somebody_else",
            ),
        )

    def __str__(self) -> str:
        return f"Change of the {self.tier} policy"


class RequestKind(models.TextChoices):
    """What is asked for."""

    ACCESS = "access", "Access"
    EXTENSION = "extension", "Extension"
    BREAK_GLASS = "break_glass", "Break-glass review"


class AccessRequestQuerySet(WaitingQuerySet["AccessRequest"]):
    """Requests, as people may see them and as time has left them."""

    def visible_to(self, user: User) -> Self:
        """Return the user's own requests, those of the teams he oversees, and those he is a delegate for."""
        here = {"team": OuterRef("project__team"), "department": OuterRef("project__team__department")}
        return self.filter(
            Q(requester=user) | Q(beneficiary=user) | lent_here(user, **here) | oversees(user, **here)
        )


class AccessRequest(Waiting):
    """Somebody asks that a key of a project may call a tier for a time.

    `team` is the project's when this revision began: people are looked up when it matters, and a request that
    moved starts again. `stage_began_at` is when its stage began, from where the clock of the stage runs. A
    trigger fills in both. `by_rule` says that no human approved it.
    """

    ACTS = "request"

    public_id = PublicIdField(prefix="req")
    kind = models.CharField(max_length=20, choices=RequestKind, default=RequestKind.ACCESS)
    requester = models.ForeignKey(User, on_delete=models.PROTECT, related_name="requests")
    beneficiary = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="requests")
    tier = models.ForeignKey(Tier, on_delete=models.PROTECT, related_name="+")
    model_ids = ArrayField(models.BigIntegerField(), default=list)
    duration_days = models.PositiveSmallIntegerField()
    expected_monthly_usd = models.DecimalField(**MONEY)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+")
    ticket = models.CharField(max_length=200, blank=True)
    extends_key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, related_name="+")
    extends_grant = models.ForeignKey(Grant, on_delete=models.PROTECT, null=True, related_name="extensions")
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="requests")
    stage_index = models.PositiveSmallIntegerField(default=0)
    stage_began_at = models.DateTimeField()
    by_rule = models.BooleanField(default=False)
    closed_reason = models.CharField(max_length=240, blank=True)
    key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, related_name="requests")

    # Filled in by `approvals.loading.listed()`: the role whose turn it is, who counts already and for whom,
    # the live delegations here, what was said, the grant that can go on, whether the beneficiary works in the
    # project's team now, until when an active grant from this lasts, when usage was last booked. By
    # `approvals.rules.tell_in_force()`: the rules in force for the tier.
    waiting_role: str
    counted_ids: list[int]
    represented_ids: list[int]
    lent: list[dict[str, Any]]
    said: list[dict[str, Any]]
    extendable_grant: str | None
    beneficiary_works: bool
    granted_until: datetime | None
    booked_at: datetime | None
    in_force: Policy | None

    objects = AccessRequestQuerySet.as_manager()

    class Meta(Waiting.Meta):
        indexes = (models.Index(fields=("status", "decide_by"), name="request_by_status"),)
        constraints = (
            models.UniqueConstraint(
                fields=("beneficiary", "project", "tier", "kind"),
                condition=Q(status=RequestStatus.PENDING),
                name="request_one_pending_per_person_project_tier",
            ),
            models.CheckConstraint(condition=Q(tier__gt=1), name="request_is_for_a_tier_that_needs_approval"),
            models.CheckConstraint(condition=Q(duration_days__gte=1), name="request_lasts_a_day_or_more"),
            models.CheckConstraint(
                condition=Q(expected_monthly_usd__gte=0), name="request_expected_cost_is_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(decide_by__gt=F("created_at")), name="request_has_time_to_be_decided"
            ),
            models.CheckConstraint(
                condition=Q(status=RequestStatus.PENDING, decided_at__isnull=True)
                | (~Q(status=RequestStatus.PENDING) & Q(decided_at__isnull=False)),
                name="request_decided_has_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(status=RequestStatus.CLOSED) | ~Q(closed_reason=""),
                name="request_closed_has_a_reason",
            ),
            models.CheckConstraint(
                condition=Q(kind=RequestKind.EXTENSION, extends_grant__isnull=False)
                | (~Q(kind=RequestKind.EXTENSION) & Q(extends_grant__isnull=True)),
                name="request_extension_names_its_grant",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tier} for {self.project}"

    @property
    def askers(self) -> frozenset[int]:
        """Return the ids of the people whose own request this is; neither may decide it."""
        return frozenset({self.requester_id, self.beneficiary_id})

    @property
    def turn(self) -> Turn:
        """Return the time of the stage's role, by the policy of this revision."""
        return turn_at(
            now(),
            began=self.stage_began_at,
            decide_by=self.decide_by,
            sla=timedelta(hours=self.policy.sla_hours),
        )

    @property
    def is_escalated(self) -> bool:
        """Whether the time in which the stage's own role should have decided is over."""
        return self.turn.ends_at <= now()


class Stage(models.Model):
    """Who must agree, and how many of them; pinned when the request is made or amended."""

    request = models.ForeignKey(AccessRequest, on_delete=models.PROTECT, related_name="stages")
    revision = models.PositiveIntegerField()
    index = models.PositiveSmallIntegerField()
    role = models.CharField(max_length=16, choices=Role)
    quorum = models.PositiveSmallIntegerField(default=1)
    max_days = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ("request_id", "revision", "index")
        constraints = (
            models.UniqueConstraint(fields=("request", "revision", "index"), name="stage_once_per_revision"),
            models.CheckConstraint(condition=Q(quorum__gte=1), name="stage_needs_somebody"),
        )

    def __str__(self) -> str:
        return f"stage {self.index}: {self.role}"


class Verdict(models.TextChoices):
    """Yes or no."""

    APPROVE = "approve", "Approved"
    DENY = "deny", "Denied"


class Decision(models.Model):
    """One human's verdict on one revision at one stage. Append-only by trigger."""

    public_id = PublicIdField(prefix="dcn")
    request = models.ForeignKey(AccessRequest, on_delete=models.PROTECT, related_name="decisions")
    revision = models.PositiveIntegerField()
    stage_index = models.PositiveSmallIntegerField()
    actor = models.ForeignKey(User, on_delete=models.PROTECT, related_name="decisions")
    on_behalf_of = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    verdict = models.CharField(max_length=8, choices=Verdict)
    comment = models.TextField(blank=True)
    monthly_cap_usd = models.DecimalField(**MONEY, null=True)
    duration_days = models.PositiveSmallIntegerField(null=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=("request", "revision", "actor"), name="decision_once_per_human_and_revision"
            ),
            models.UniqueConstraint(
                fields=("request", "revision", "on_behalf_of"),
                condition=Q(on_behalf_of__isnull=False),
                name="decision_once_on_behalf_of_and_revision",
            ),
            models.CheckConstraint(
                condition=Q(verdict=Verdict.APPROVE) | ~Q(comment=""), name="decision_to_deny_has_a_reason"
            ),
            models.CheckConstraint(
                condition=(Q(monthly_cap_usd__isnull=True) | Q(monthly_cap_usd__gte=0))
                & (Q(duration_days__isnull=True) | Q(duration_days__gte=1)),
                name="decision_offers_something",
            ),
        )

    def __str__(self) -> str:
        return f"{self.actor}: {self.verdict}"


class Delegation(models.Model):
    """One person lends a role that he holds to another for a time, in [valid_from, valid_until).

    `team` and `department` are where, as in the role itself. Only who holds the role lends it: a delegate has
    nothing to lend on. It ends early by a nearer `valid_until`, and never grows (trigger).
    """

    public_id = PublicIdField(prefix="dlg")
    giver = models.ForeignKey(User, on_delete=models.PROTECT, related_name="delegations_given")
    taker = models.ForeignKey(User, on_delete=models.PROTECT, related_name="delegations_taken")
    role = models.CharField(max_length=16, choices=Role)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, related_name="+")
    department = models.ForeignKey(Department, on_delete=models.PROTECT, null=True, related_name="+")
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField()
    reason = models.CharField(max_length=240, blank=True)
    created_at = models.DateTimeField(default=now)
    ended_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")

    objects = ValidityQuerySet["Delegation"].as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=(
                    Q(role=Role.LEAD, team__isnull=False, department__isnull=True)
                    | Q(role=Role.DIRECTOR, team__isnull=True, department__isnull=False)
                    | Q(role=Role.ADMIN, team__isnull=True, department__isnull=True)
                ),
                name="delegation_has_the_scope_of_its_role",
            ),
            models.CheckConstraint(condition=~Q(giver=F("taker")), name="delegation_is_to_somebody_else"),
            models.CheckConstraint(
                condition=Q(valid_until__gte=F("valid_from"))
                & Q(valid_until__lte=F("valid_from") + LONGEST_DELEGATION),
                name="delegation_is_short",
            ),
        )

    def __str__(self) -> str:
        return f"{self.giver} to {self.taker}: {self.get_role_display()}"


def lent_to(user: User, at: datetime | None = None) -> ValidityQuerySet[Delegation]:
    """Return what is lent to a person now, or was at `at`."""
    return Delegation.objects.live(at).filter(taker=user, taker__is_active=True, giver__is_active=True)


def lent_here(user: User, *, team: Any, department: Any) -> Q:
    """Return the condition that something is lent to a person where this team and department of a row are."""
    return Q(Exists(lent_to(user).filter(delegation_covers(team=team, department=department))))


def delegation_covers(*, team: Any, department: Any) -> Q:
    """Return the condition that a delegation is for this team, its department or everything."""
    everything = Q(team__isnull=True, department__isnull=True)
    in_team = Q() if team is None else Q(team=team)
    in_department = Q() if department is None else Q(department=department)
    return everything | in_team | in_department


class Comment(Saying):
    """A question, an answer, or an offer of a lower tier."""

    public_id = PublicIdField(prefix="cmt")
    request = models.ForeignKey(AccessRequest, on_delete=models.PROTECT, related_name="comments")
    offered_tier = models.ForeignKey(Tier, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta(Saying.Meta):
        constraints = (models.CheckConstraint(condition=~Q(text=""), name="comment_says_something"),)


class GrantReview(models.Model):
    """Somebody looked at access that is hardly used, and kept or ended it. Append-only."""

    grant = models.ForeignKey(Grant, on_delete=models.PROTECT, related_name="reviews")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    keeps = models.BooleanField()
    reason = models.CharField(max_length=240, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("grant", "at"), name="grant_review_by_grant"),)

    def __str__(self) -> str:
        return f"{self.grant}: {'kept' if self.keeps else 'ended'}"
