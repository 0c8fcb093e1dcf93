"""The catalogue in the API: tiers, models, dated prices, and what administrators do about them."""

from catalog.api.models import LlmModelViewSet, TierViewSet, UnpricedModelViewSet
from catalog.api.prices import PriceListViewSet, PriceProposalViewSet, PriceViewSet

__all__ = [
    "LlmModelViewSet",
    "PriceListViewSet",
    "PriceProposalViewSet",
    "PriceViewSet",
    "TierViewSet",
    "UnpricedModelViewSet",
]
