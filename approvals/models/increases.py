"""Requests for more budget, each with its one decision. Triggers keep what raw SQL could break."""

from datetime import timedelta
from typing import Any, Self

from django.db import models
from django.db.models import F, OuterRef, Q
from django.db.models.functions import Coalesce

from approvals.models.requests import lent_here
from approvals.models.waiting import RequestStatus, Saying, Waiting, WaitingQuerySet
from approvals.policy import Turn, turn_at
from budgets.models import MONEY, Budget, BudgetLimit
from core.clock import now
from core.ids import PublicIdField
from teams.models import Department, Project, Role, Team, User, oversees

DECIDE_WITHIN = timedelta(days=7)
SLA = timedelta(hours=48)
# Who decides beside an owner that let a request wait too long, each with a clock of his own.
NEXT_OWNER: dict[str, str] = {Role.LEAD: Role.DIRECTOR, Role.DIRECTOR: Role.FINANCE}


def where_it_is() -> dict[str, Coalesce]:
    """Return the team and the department that a request for more is about, to a query inside its own."""
    departments = ("project__team__department", "team__department", "department")
    return {
        "team": Coalesce(OuterRef("project__team"), OuterRef("team")),
        "department": Coalesce(*(OuterRef(name) for name in departments)),
    }


class BudgetRequestQuerySet(WaitingQuerySet["BudgetRequest"]):
    """Requests for more budget, as people may see them and as time has left them."""

    def visible_to(self, user: User) -> Self:
        """Return the user's own requests, those about what he oversees, and those he is a delegate for."""
        here = where_it_is()
        return self.filter(Q(requester=user) | lent_here(user, **here) | oversees(user, **here))

    def placed(self) -> Self:
        """Load what says whose budget a request is about."""
        return self.select_related(
            "requester",
            "decided_by",
            "on_behalf_of",
            "limit",
            "budget__only_model",
            "project__team__department",
            "team__department",
            "department",
        )


class BudgetRequest(Waiting):
    """Somebody asks the owner of the parent for more of a budget: a higher limit, or one until a moment.

    One human decides it, so the decision stands in the row. `project`, `team` or `department` is where the
    budget is; none of them is the organisation. People are looked up when it matters, `role` is pinned.
    `revised_in` is the project's team when this revision began (a trigger fills it in): a request that moved
    starts again.
    """

    ACTS = "budget_increase"

    public_id = PublicIdField(prefix="brq")
    requester = models.ForeignKey(User, on_delete=models.PROTECT, related_name="budget_requests")
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="requests")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, null=True, related_name="+")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, related_name="+")
    department = models.ForeignKey(Department, on_delete=models.PROTECT, null=True, related_name="+")
    limit_usd = models.DecimalField(**MONEY, help_text="What the limit shall be, top-ups included.")
    until = models.DateTimeField(null=True, help_text="When it falls back; null is for good.")
    role = models.CharField(max_length=16, choices=Role)
    revised_in = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, related_name="+")
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    on_behalf_of = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    comment = models.TextField(blank=True)
    limit = models.OneToOneField(BudgetLimit, on_delete=models.PROTECT, null=True, related_name="request")

    # Filled in by `approvals.loading.with_lent()`: the live delegations where the budget is; by
    # `find_increase()` what was said.
    lent: list[dict[str, Any]]
    said: list[dict[str, Any]]

    objects = BudgetRequestQuerySet.as_manager()

    class Meta(Waiting.Meta):
        indexes = (models.Index(fields=("status", "decide_by"), name="budget_request_by_status"),)
        constraints = (
            models.UniqueConstraint(
                fields=("requester", "budget"),
                condition=Q(status=RequestStatus.PENDING),
                name="budget_request_one_pending_per_person_and_budget",
            ),
            models.CheckConstraint(
                condition=Q(project__isnull=True, team__isnull=True)
                | Q(project__isnull=True, department__isnull=True)
                | Q(team__isnull=True, department__isnull=True),
                name="budget_request_is_about_one_place",
            ),
            models.CheckConstraint(condition=Q(limit_usd__gt=0), name="budget_request_asks_for_something"),
            models.CheckConstraint(condition=~Q(reason=""), name="budget_request_has_a_reason"),
            models.CheckConstraint(
                condition=Q(decide_by__gt=F("created_at")), name="budget_request_has_time_to_be_decided"
            ),
            models.CheckConstraint(
                condition=Q(status=RequestStatus.PENDING, decided_at__isnull=True)
                | (~Q(status=RequestStatus.PENDING) & Q(decided_at__isnull=False)),
                name="budget_request_decided_has_a_time",
            ),
            models.CheckConstraint(
                condition=(
                    Q(status__in=(RequestStatus.APPROVED, RequestStatus.DENIED), decided_by__isnull=False)
                    & ~Q(decided_by=F("requester"))
                )
                | (
                    ~Q(status__in=(RequestStatus.APPROVED, RequestStatus.DENIED)) & Q(decided_by__isnull=True)
                ),
                name="budget_request_is_decided_by_somebody_else",
            ),
            models.CheckConstraint(
                condition=Q(on_behalf_of__isnull=True)
                | (
                    Q(decided_by__isnull=False)
                    & ~Q(on_behalf_of=F("decided_by"))
                    & ~Q(on_behalf_of=F("requester"))
                ),
                name="budget_request_is_decided_for_somebody_else",
            ),
            models.CheckConstraint(
                condition=Q(status=RequestStatus.APPROVED, limit__isnull=False)
                | (~Q(status=RequestStatus.APPROVED) & Q(limit__isnull=True)),
                name="budget_request_approved_has_its_limit",
            ),
            models.CheckConstraint(
                condition=~Q(status=RequestStatus.DENIED) | ~Q(comment=""),
                name="budget_request_denied_has_a_reason",
            ),
        )

    def __str__(self) -> str:
        return f"More budget for {self.place_name}"

    @property
    def chain(self) -> tuple[str, ...]:
        """Return the roles that decide one after the other: the pinned one and those it escalates to."""
        roles = [self.role]
        while roles[-1] in NEXT_OWNER:
            roles.append(NEXT_OWNER[roles[-1]])
        return tuple(roles)

    @property
    def turn(self) -> Turn:
        """Return the time of the last role that may decide by now."""
        return turn_at(now(), began=self.revised_at, decide_by=self.decide_by, sla=SLA, roles=len(self.chain))

    @property
    def next_role(self) -> str:
        """Return the role that may decide too when this turn is over; empty where nobody comes after."""
        return "".join(self.chain[self.turn.index + 1 : self.turn.index + 2])

    @property
    def home_team(self) -> Team | None:
        """Return the team that the budget is in now, if it is in one."""
        return self.project.team if self.project else self.team

    @property
    def home_department(self) -> Department | None:
        """Return the department that the budget is in now, if it is in one."""
        return self.home_team.department if self.home_team else self.department

    @property
    def place_name(self) -> str:
        """Return how people call where the budget is."""
        if self.project:
            return self.project.name
        if self.team:
            return f"{self.team.name} team"
        return f"{self.department.name} department" if self.department else "the organisation"


class BudgetComment(Saying):
    """A question about a request for more budget, or an answer."""

    public_id = PublicIdField(prefix="bcm")
    request = models.ForeignKey(BudgetRequest, on_delete=models.PROTECT, related_name="comments")

    class Meta(Saying.Meta):
        constraints = (models.CheckConstraint(condition=~Q(text=""), name="budget_comment_says_something"),)
