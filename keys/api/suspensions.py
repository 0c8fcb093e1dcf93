"""Stops of keys and activity planned for them in the API. Resuming takes a person: a loop must not resume
itself.
"""

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.serializers import NothingIn
from core.rest.views import NounViewSet, referred
from keys import selectors, services
from keys.models import ApiKey, PlannedActivity, Suspension
from keys.serializers import OfKeyQuery
from keys.serializers_suspensions import PlanIn, PlannedActivityOut, SuspensionOut


class SuspensionViewSet(NounViewSet):
    """When and why the keys in scope were stopped, by people and by the breaker, the newest first."""

    noun = "suspension"
    out = SuspensionOut
    list_query = OfKeyQuery
    lookup_value_regex = id_pattern("sus")

    def get_queryset(self) -> QuerySet[Suspension]:
        """Return the suspensions in scope."""
        return selectors.listed_suspensions(self.actor)

    def chosen(self, rows: QuerySet[Suspension]) -> QuerySet[Suspension]:
        """Narrow the list down to a key."""
        return self.narrowed(rows, key="key__public_id")


class PlannedActivityViewSet(NounViewSet):
    """Activity of the keys in scope for which the breaker lets them spend faster, ended ones included."""

    noun = "planned activity"
    out = PlannedActivityOut
    list_query = OfKeyQuery
    lookup_value_regex = id_pattern("pln")

    def get_queryset(self) -> QuerySet[PlannedActivity]:
        """Return the plans in scope."""
        return selectors.listed_plans(self.actor)

    def chosen(self, rows: QuerySet[PlannedActivity]) -> QuerySet[PlannedActivity]:
        """Narrow the list down to a key."""
        return self.narrowed(rows, key="key__public_id")

    @operation(takes=PlanIn, gives=PlannedActivityOut, status=201, refuses=(410, 422))
    def create(self, request: Request) -> Response:
        """Let a key spend up to so much within any hour of a time; budgets bind it all the same."""
        wanted = self.body(PlanIn)
        keys = ApiKey.objects.visible_to(self.actor).select_related("project__team__department", "owner")
        key = referred(keys, field="key", noun="key", public_id=wanted.pop("key"))
        return self.created(services.plan_activity(actor=self.actor, key=key, **wanted))

    @operation(gives=PlannedActivityOut, refuses=(404, 410))
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End a plan now, or take it back before it starts."""
        self.body(NothingIn)
        plan = self.found(id)
        services.cancel_activity(actor=self.actor, key=plan.key, plan_id=plan.public_id)
        return self.answer(self.found(id))
