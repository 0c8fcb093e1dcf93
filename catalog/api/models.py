"""Tiers and models in the API: what may be called at today's prices, and the work on what nobody priced."""

import re
from collections.abc import Sequence
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from catalog import selectors, services
from catalog.models import LlmModel, Tier, Unit
from catalog.serializers import (
    LlmModelOut,
    LlmModelQuery,
    ModelFreeIn,
    ModelPricesIn,
    TierOut,
    UnpricedModelOut,
)
from catalog.types import ModelPrices
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.views import ListViewSet, NounViewSet
from teams.selectors import require_admin


class TierViewSet(NounViewSet):
    """Tiers, by their number."""

    noun = "tier"
    out = TierOut
    order = "pk"
    lookup_value_regex = "[1-9]"

    def get_queryset(self) -> QuerySet[Tier]:
        """Return all tiers."""
        return Tier.objects.all()

    def by_id(self, rows: QuerySet[Any], public_id: str) -> QuerySet[Any]:
        """Narrow tiers down to a number."""
        return (
            rows.filter(number=public_id) if re.fullmatch(self.lookup_value_regex, public_id) else rows.none()
        )

    def id_of(self, row: Tier) -> str:
        """Return the number of a tier."""
        return str(row.number)


class LlmModelViewSet(NounViewSet):
    """Models that may be called, at the prices in force now."""

    noun = "model"
    out = LlmModelOut
    list_query = LlmModelQuery
    lookup_value_regex = id_pattern("mdl")

    def get_queryset(self) -> QuerySet[LlmModel]:
        """Return the models that may be called."""
        return LlmModel.objects.filter(retired_at__isnull=True)

    def chosen(self, rows: QuerySet[LlmModel]) -> QuerySet[LlmModel]:
        """Narrow the list down to a tier."""
        return self.narrowed(rows, tier="tier")

    def presented(self, rows: Sequence[LlmModel]) -> Sequence[ModelPrices]:
        """Return the rows of the Models page."""
        prices = {row.model.pk: row for tier in selectors.catalogue().tiers for row in tier.models}
        return [prices[model.pk] for model in rows]

    @operation(takes=ModelPricesIn, gives=LlmModelOut, refuses=(404,))
    @action(detail=True, methods=["post"], url_path="prices")
    def enter_prices(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Price a model that has no price, in force at once. Only administrators may."""
        require_admin(self.actor, "price models")
        wanted = self.body(ModelPricesIn)
        reason = wanted.pop("reason")
        prices = {Unit(name): usd for name, usd in wanted.items()}
        services.enter_prices(actor=self.actor, model=self.found(id), usd_per_unit=prices, reason=reason)
        return self.answer(self.found(id))

    @operation(takes=ModelFreeIn, gives=LlmModelOut, refuses=(404,))
    @action(detail=True, methods=["post"], url_path="declare-free", url_name="declare-free")
    def declare_free(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let a model without a price be called for nothing, in force at once. Only administrators may."""
        require_admin(self.actor, "price models")
        reason = self.body(ModelFreeIn)["reason"]
        services.declare_free(actor=self.actor, model=self.found(id), reason=reason)
        return self.answer(self.found(id))


class UnpricedModelViewSet(ListViewSet):
    """Models whose calls are refused because no price is in force; for administrators."""

    noun = "model"
    out = UnpricedModelOut
    reads_refuse = (403,)

    def get_queryset(self) -> QuerySet[LlmModel]:
        """Return the models without a price, to administrators."""
        require_admin(self.actor, "price models")
        refused = [model.pk for model in selectors.unpriced_models()]
        return LlmModel.objects.filter(pk__in=refused).annotate(
            refused_calls=Coalesce("unpriced__calls", 0),
            first_refused_at=F("unpriced__first_at"),
            last_refused_at=F("unpriced__last_at"),
        )
