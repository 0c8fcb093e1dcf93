"""Delegations in the API: what a person lends and was lent."""

from typing import Any, TypeVar

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from approvals import selectors, services
from approvals.models import Delegation
from approvals.serializers.delegations import DelegationCreateIn, DelegationOut, DelegationQuery
from core import clock
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.serializers import NothingIn
from core.rest.views import NounViewSet, referred
from teams.models import Department, Role, Team, User

_Place = TypeVar("_Place", Team, Department)


class DelegationViewSet(NounViewSet):
    """What the person lends and was lent; administrators see all."""

    noun = "delegation"
    out = DelegationOut
    list_query = DelegationQuery
    lookup_value_regex = id_pattern("dlg")

    def get_queryset(self) -> QuerySet[Delegation]:
        """Return the delegations in scope."""
        return selectors.delegations_visible_to(self.actor)

    def chosen(self, rows: QuerySet[Delegation]) -> QuerySet[Delegation]:
        """Narrow the list down to those that are over, or are not."""
        match self.query.get("over"):
            case "yes":
                return rows.filter(valid_until__lte=clock.now())
            case "no":
                return rows.filter(valid_until__gt=clock.now())
            case _:
                return rows

    @operation(takes=DelegationCreateIn, gives=DelegationOut, status=201)
    def create(self, request: Request) -> Response:
        """Let somebody else decide in a role of one's own, for 30 days at most."""
        wanted = self.body(DelegationCreateIn)
        teams, departments = Team.objects.visible_to(self.actor), Department.objects.visible_to(self.actor)
        made = services.delegate(
            actor=self.actor,
            taker=referred(
                User.objects.filter(is_active=True),
                field="taker",
                noun="person",
                email=wanted["taker"].strip().lower(),
            ),
            role=Role(wanted["role"]),
            valid_from=wanted.get("valid_from") or clock.now(),
            valid_until=wanted["valid_until"],
            reason=wanted["reason"],
            team=self._named(wanted, "team", teams),
            department=self._named(wanted, "department", departments),
        )
        return self.created(self.found(made.public_id))

    @operation(gives=DelegationOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def end(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End a delegation now: who lends it, who was lent it, an administrator. Again changes nothing."""
        self.body(NothingIn)
        services.end_delegation(actor=self.actor, delegation=self.found(id))
        return self.answer(self.found(id))

    def _named(self, wanted: dict[str, Any], field: str, rows: QuerySet[_Place]) -> _Place | None:
        """Return the place that the body names in a field, among those that the person sees."""
        if field not in wanted:
            return None
        return referred(rows, field=field, noun=field, public_id=wanted[field])
