"""Prices in the API: every dated one, the published list, and changes that wait for a second person."""

from typing import cast

from django.db.models import Q, QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from catalog import services
from catalog.importer import Slot
from catalog.models import LlmModel, Price, PriceProposal
from catalog.proposals import Override
from catalog.serializers import (
    PriceCreateIn,
    PriceEndIn,
    PriceListOut,
    PriceOut,
    PriceProposalOut,
    PriceProposalQuery,
    PriceQuery,
    PriceRejectIn,
)
from core.rest.fields import id_pattern
from core.rest.repeats import Repeatable
from core.rest.schema import operation
from core.rest.serializers import NothingIn
from core.rest.views import NounViewSet, referred
from teams.models import User
from teams.selectors import require_admin


class PriceViewSet(NounViewSet):
    """Every dated price, past, present and planned. Everybody may see them."""

    noun = "price"
    out = PriceOut
    list_query = PriceQuery
    lookup_value_regex = id_pattern("prc")

    def get_queryset(self) -> QuerySet[Price]:
        """Return all prices."""
        return Price.objects.select_related("model")

    def chosen(self, rows: QuerySet[Price]) -> QuerySet[Price]:
        """Narrow the list down to a model, a unit, a source and a moment."""
        found = self.narrowed(rows, model="model__public_id", unit="unit", source="source")
        at = self.query.get("valid_at")
        if at is None:
            return found
        return found.filter(Q(valid_until__isnull=True) | Q(valid_until__gt=at), valid_from__lte=at)

    @operation(takes=PriceCreateIn, gives=PriceProposalOut, status=201)
    def create(self, request: Request) -> Response:
        """Enter a price that beats the list; beyond 20 % it waits for another administrator's word."""
        require_admin(self.actor, "enter prices")
        wanted = self.body(PriceCreateIn)
        models = LlmModel.objects.all()
        made = services.override_price(
            actor=self.actor,
            model=referred(models, field="model", noun="model", public_id=wanted["model"]),
            override=Override(
                slot=Slot(unit=wanted["unit"], context=wanted["context"], tier_start=wanted["tier_start"]),
                usd_per_unit=wanted["usd_per_unit"],
                source=wanted["source"],
                valid_from=wanted.get("valid_from"),
                valid_until=wanted.get("valid_until"),
            ),
            reason=wanted["reason"],
        )
        return Response(PriceProposalOut(made).data, status=201)

    @operation(takes=PriceEndIn, gives=PriceProposalOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def end(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End a price that somebody entered; beyond 20 % it waits for another administrator's word."""
        wanted = self.body(PriceEndIn)
        ended = services.end_price(
            actor=self.actor,
            price=self.found(id),
            ends_at=wanted.get("ends_at"),
            reason=wanted["reason"],
        )
        return Response(PriceProposalOut(ended).data)


class PriceProposalViewSet(NounViewSet):
    """Changes of prices, with what each would do; for administrators."""

    noun = "proposal"
    out = PriceProposalOut
    list_query = PriceProposalQuery
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("ppr")

    def get_queryset(self) -> QuerySet[PriceProposal]:
        """Return all proposals, to administrators."""
        require_admin(self.actor, "see what is proposed")
        return PriceProposal.objects.select_related("proposed_by", "ended_by")

    def chosen(self, rows: QuerySet[PriceProposal]) -> QuerySet[PriceProposal]:
        """Narrow the list down to a state."""
        return self.narrowed(rows, state="state")

    @operation(gives=PriceProposalOut, refuses=(404, 412))
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Put prices in force: another administrator than the one who proposed them."""
        self.body(NothingIn)
        services.approve_prices(actor=self.actor, proposal=self.found(id))
        return self.answer(self.found(id))

    @operation(takes=PriceRejectIn, gives=PriceProposalOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Reject a proposal, or take one's own back; nothing changes."""
        reason = self.body(PriceRejectIn)["reason"]
        services.reject_prices(actor=self.actor, proposal=self.found(id), reason=reason)
        return self.answer(self.found(id))


class PriceListViewSet(Repeatable):
    """The published price list, as it is installed; for administrators."""

    http_method_names = ["get", "head", "post"]

    @operation(gives=PriceListOut, reads=True, refuses=(403,))
    def read(self, request: Request) -> Response:
        """Return what following the list would do now; nothing is written."""
        report = services.import_prices(actor=cast("User", request.user), dry_run=True)
        return Response(PriceListOut(report).data)

    @operation(takes=NothingIn, gives=PriceListOut)
    def follow(self, request: Request) -> Response:
        """Let prices follow the list; what moves by more than 20 % waits for another administrator's word."""
        NothingIn(data=request.data).is_valid(raise_exception=True)
        report = services.import_prices(actor=cast("User", request.user))
        return Response(PriceListOut(report).data)
