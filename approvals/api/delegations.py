"""Delegations in the API: what a person lends and was lent."""

from typing import Any

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
            **self._place(wanted),
        )
        return self.created(self.found(made.public_id))

    @operation(gives=DelegationOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def end(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End a delegation now: who lends it, who was lent it, an administrator. Again changes nothing."""
        self.body(NothingIn)
        services.end_delegation(actor=self.actor, delegation=self.found(id))
        return self.answer(self.found(id))

    def _place(self, wanted: dict[str, Any]) -> dict[str, Team | Department]:
        """Return the team and the department that the body names, among those that the person sees."""
        place: dict[str, Team | Department] = {}
        for field, rows in (
            ("team", Team.objects.visible_to(self.actor)),
            ("department", Department.objects.visible_to(self.actor)),
        ):
            if field in wanted:
                place[field] = referred(rows, field=field, noun=field, public_id=wanted[field])
        return place
