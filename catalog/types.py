"""What is read of the catalogue."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from catalog.models import LlmModel
from catalog.pricing import PriceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPrice:
    """US dollars for one unit that is no token: a second, a request."""

    unit: str
    usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrices:
    """A model as the Models page shows it; prices in US dollars for a million tokens, None when unpriced."""

    model: LlmModel
    name: str
    provider: str
    mode: str
    tier: int
    aliases: tuple[str, ...]
    context_tokens: int
    max_output_tokens: int | None
    priced: bool
    input_usd: Decimal | None
    cached_usd: Decimal | None
    output_usd: Decimal | None
    times_reference: Decimal | None
    per_unit: tuple[UnitPrice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TierPrices:
    """A tier with its models, the cheapest first."""

    number: int
    name: str
    title: str
    description: str
    models: tuple[ModelPrices, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Everything that may be called, at the prices of `prices_at`, with multiples of `reference_model`."""

    prices_at: datetime
    reference_model: str | None
    reference_mix: str
    tiers: tuple[TierPrices, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """A price that is known to change; US dollars for a million units."""

    model: str
    unit: str
    at: datetime
    before_usd: Decimal | None
    after_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What other models are compared with: a model of Tier 1 and all its prices."""

    name: str
    prices: tuple[PriceRow, ...]
