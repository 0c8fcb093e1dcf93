"""The catalogue, read: tiers, models at today's prices, and every dated price. Everybody may see it."""

import re
from collections.abc import Sequence
from typing import Any

from django.db.models import Q, QuerySet

from catalog import selectors
from catalog.models import LlmModel, Price, Tier
from catalog.selectors import ModelPrices
from catalog.serializers import LlmModelOut, LlmModelQuery, PriceOut, PriceQuery, TierOut
from core.rest.fields import id_pattern
from core.rest.views import NounViewSet


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


class PriceViewSet(NounViewSet):
    """Every dated price, past, present and planned."""

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
