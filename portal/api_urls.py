"""The addresses of the management API: one router, the OpenAPI document, a refusal for all else."""

from collections.abc import Collection, Iterable

from django.urls import URLPattern, URLResolver, include, path, re_path
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter

from approvals.api import (
    AccessRequestViewSet,
    AccessReviewViewSet,
    BudgetRequestViewSet,
    DelegationViewSet,
    PolicyProposalViewSet,
    PolicyViewSet,
)
from budgets.api import BudgetAlertViewSet, BudgetViewSet, RateLimitViewSet
from budgets.scopes import ScopeName
from budgets.services.moves import move_project, move_team
from catalog.api import (
    LlmModelViewSet,
    PriceListViewSet,
    PriceProposalViewSet,
    PriceViewSet,
    TierViewSet,
    UnpricedModelViewSet,
)
from core.rest.schema import operation
from core.rest.views import referred
from keys.api import (
    ApiKeyViewSet,
    ApiTokenViewSet,
    GrantViewSet,
    LeakViewSet,
    PlannedActivityViewSet,
    ServiceAccountViewSet,
    SuspensionViewSet,
)
from keys.models import ApiKey
from portal.api import OpenApiDocument, unknown_address
from portal.audit.api import AuditEventViewSet
from portal.gateways.api import GatewayViewSet
from portal.leaving import LEAVING, TEAM_ENDINGS
from portal.news.api import DeliveryViewSet, NotificationsViewSet, WebhookViewSet
from teams.api import (
    DepartmentViewSet,
    PersonViewSet,
    ProjectViewSet,
    RoleViewSet,
    SessionViewSet,
    TeamViewSet,
)
from teams.models import Department, Team, User
from teams.serializers import ProjectMoveIn, ProjectOut, TeamMoveIn, TeamOut
from teams.services.changes import require_director
from usage.api import (
    BlockedCallsViewSet,
    DiscrepancyViewSet,
    FocusViewSet,
    InvoiceViewSet,
    PeriodViewSet,
    ProviderAccountViewSet,
    QuarantineViewSet,
    ReconciliationRunViewSet,
    RepricingViewSet,
    SourceViewSet,
    SpendWarningViewSet,
    UpstreamKeyViewSet,
    UsageDayViewSet,
)


class Keys:
    """The keys, as budgets need to know them (`budgets.ports.KeyDirectory`)."""

    def visible_ids(self, user: User) -> Iterable[int]:
        """Return the ids of the keys that the user may see, as a queryset."""
        return ApiKey.objects.visible_to(user).order_by().values_list("pk", flat=True)

    def names(self, user: User, key_ids: Collection[int]) -> dict[int, ScopeName]:
        """Return those of these keys that the user may see. One query."""
        rows = ApiKey.objects.visible_to(user).filter(pk__in=key_ids).values_list("pk", "public_id", "name")
        return {pk: ScopeName(public_id=public_id, name=name) for pk, public_id, name in rows}

    def find(self, user: User, public_id: str) -> int | None:
        """Return the id of a key that the user may see. One query."""
        found = ApiKey.objects.visible_to(user).filter(public_id=public_id)
        return found.order_by().values_list("pk", flat=True).first()


class Teams(TeamViewSet):
    """Teams with their moves, and what ends elsewhere when somebody leaves one."""

    __doc__ = TeamViewSet.__doc__
    endings = TEAM_ENDINGS

    @operation(takes=TeamMoveIn, gives=TeamOut, refuses=(404, 409, 422))
    @action(detail=True, methods=["post"])
    def move(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let a team with its projects, keys and budgets belong to another department; what it used stays."""
        wanted, team = self.body(TeamMoveIn), self.found(id)
        require_director(self.actor, team.department_id)
        departments = Department.objects.visible_to(self.actor)
        known = wanted["department"]
        department = referred(departments, field="department", noun="department", public_id=known)
        move_team(actor=self.actor, team=team, department=department, reason=wanted["reason"])
        return self.answer(self.found(id))


class Projects(ProjectViewSet):
    """Projects of the teams that the person works in or oversees."""

    @operation(takes=ProjectMoveIn, gives=ProjectOut, refuses=(404, 409, 422))
    @action(detail=True, methods=["post"])
    def move(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let a project with its keys and budgets belong to another team; what it used before stays."""
        wanted, project = self.body(ProjectMoveIn), self.found(id)
        require_director(self.actor, project.team.department_id)
        teams = Team.objects.visible_to(self.actor)
        team = referred(teams, field="team", noun="team", public_id=wanted["team"])
        move_project(actor=self.actor, project=project, team=team, reason=wanted["reason"])
        return self.answer(self.found(id))


class People(PersonViewSet):
    """People with what ends elsewhere when one leaves."""

    __doc__ = PersonViewSet.__doc__
    leaving = LEAVING


class Budgets(BudgetViewSet):
    """Budgets with the keys that some of them limit."""

    __doc__ = BudgetViewSet.__doc__
    keys = Keys()


class BudgetAlerts(BudgetAlertViewSet):
    """Alerts of budgets with the keys that some of them limit."""

    __doc__ = BudgetAlertViewSet.__doc__
    keys = Keys()


class RateLimits(RateLimitViewSet):
    """Rate limits with the keys that some of them limit."""

    __doc__ = RateLimitViewSet.__doc__
    keys = Keys()


class BudgetRequests(BudgetRequestViewSet):
    """Requests for more budget, with the keys that some budgets limit."""

    __doc__ = BudgetRequestViewSet.__doc__
    keys = Keys()


router = SimpleRouter()
router.register("departments", DepartmentViewSet, "departments")
router.register("teams", Teams, "teams")
router.register("projects", Projects, "projects")
router.register("people", People, "people")
router.register("roles", RoleViewSet, "roles")
router.register("tiers", TierViewSet, "tiers")
router.register("models", LlmModelViewSet, "models")
router.register("unpriced-models", UnpricedModelViewSet, "unpriced_models")
router.register("prices", PriceViewSet, "prices")
router.register("price-proposals", PriceProposalViewSet, "price_proposals")
router.register("repricings", RepricingViewSet, "repricings")
router.register("budgets", Budgets, "budgets")
router.register("budget-alerts", BudgetAlerts, "budget_alerts")
router.register("rate-limits", RateLimits, "rate_limits")
router.register("keys", ApiKeyViewSet, "keys")
router.register("grants", GrantViewSet, "grants")
router.register("suspensions", SuspensionViewSet, "suspensions")
router.register("planned-activities", PlannedActivityViewSet, "planned_activities")
router.register("leaks", LeakViewSet, "leaks")
router.register("api-tokens", ApiTokenViewSet, "api_tokens")
router.register("service-accounts", ServiceAccountViewSet, "service_accounts")
router.register("requests", AccessRequestViewSet, "requests")
router.register("budget-requests", BudgetRequests, "budget_requests")
router.register("delegations", DelegationViewSet, "delegations")
router.register("policies", PolicyViewSet, "policies")
router.register("policy-proposals", PolicyProposalViewSet, "policy_proposals")
router.register("access-reviews", AccessReviewViewSet, "access_reviews")
router.register("usage/days", UsageDayViewSet, "usage_days")
router.register("usage", FocusViewSet, "usage")
router.register("spend-warnings", SpendWarningViewSet, "spend_warnings")
router.register("blocked-calls", BlockedCallsViewSet, "blocked_calls")
router.register("reconciliation/runs", ReconciliationRunViewSet, "reconciliation_runs")
router.register("reconciliation/discrepancies", DiscrepancyViewSet, "discrepancies")
router.register("sources", SourceViewSet, "sources")
router.register("provider-accounts", ProviderAccountViewSet, "provider_accounts")
router.register("upstream-keys", UpstreamKeyViewSet, "upstream_keys")
router.register("invoices", InvoiceViewSet, "invoices")
router.register("quarantine", QuarantineViewSet, "quarantine")
router.register("reconciliation/periods", PeriodViewSet, "periods")
router.register("audit-events", AuditEventViewSet, "audit_events")
router.register("gateways", GatewayViewSet, "gateways")
router.register("webhooks", WebhookViewSet, "webhooks")
router.register("deliveries", DeliveryViewSet, "deliveries")
router.register("me/sessions", SessionViewSet, "sessions")

# Of these there is one: the list as it is installed, and what is one's own.
price_list = PriceListViewSet.as_view({"get": "read", "post": "follow"}, basename="price_list")
notifications = NotificationsViewSet.as_view({"get": "read", "post": "change"}, basename="notifications")
single = [
    path("price-list/", price_list, name="price_list"),
    path("me/notifications/", notifications, name="notifications"),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", include(([*router.urls, *single], "api"))),
    path("schema/", OpenApiDocument.as_view(), name="api-schema"),
    re_path("", unknown_address),
]
