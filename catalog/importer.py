"""Reads our list of models and the price list in the installed package genai-prices. No network, no ORM.

The package is imported where it is read: it takes 20 MB, and only an import of prices needs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.errors import PriceListError
from catalog.pricing import STANDARD

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, TieredPrices

MODEL_LIST = Path(__file__).parent / "data" / "models.json"
PACKAGE = "genai-prices"
# What the list calls "always" starts here: before any call that this product can have seen.
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
SMALLEST_PRICE = Decimal("1e-15")  # NUMERIC(20,15)

# How the list names units, and how many of ours one of its prices is for. Searches are left out: no body
# bounds how many a call makes, so a price for them would refuse every call that does not say it.
UNITS = {
    "input_mtok": ("input", 1_000_000),
    "cache_read_mtok": ("cached", 1_000_000),
    "cache_write_mtok": ("cache_write", 1_000_000),
    "cache_write_1h_mtok": ("cache_write_1h", 1_000_000),
    "output_mtok": ("output", 1_000_000),
    "output_reasoning_mtok": ("reasoning", 1_000_000),
    "input_audio_mtok": ("input_audio", 1_000_000),
    "cache_audio_read_mtok": ("cached_audio", 1_000_000),
    "output_audio_mtok": ("output_audio", 1_000_000),
    "input_image_mtok": ("input_image", 1_000_000),
    "output_image_mtok": ("output_image", 1_000_000),
    "input_mchars": ("character", 1_000_000),
    "requests_kcount": ("request", 1_000),
    "input_audio_hours": ("second", 3_600),
    "audio_hours": ("second", 3_600),
}
# How the list names the service classes; the first that matches a context is used.
CONTEXTS = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
}
FAST_BY_SPEED = {"speed": "fast"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One model as we offer it."""

    name: str
    provider: str
    mode: str
    tier: int
    context_window_tokens: int
    max_output_tokens: int | None
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Slot:
    """What a price is for, apart from its time."""

    unit: str
    context: str
    tier_start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A price in [valid_from, valid_until) as the list has it; US dollars for one unit."""

    slot: Slot
    usd_per_unit: Decimal
    valid_from: datetime
    valid_until: datetime | None


def list_version() -> str:
    """Return the version of the installed price list."""
    return metadata.version(PACKAGE)


def listings() -> list[Listing]:
    """Return the models of our own list.

    The context window is the larger of our figure and the price list's: the hold of a call is capped at it,
    so it may be too large but never too small.
    """
    rows = json.loads(MODEL_LIST.read_text(encoding="utf-8"))
    found = [Listing(**{**row, "aliases": tuple(row["aliases"])}) for row in rows]
    return [_with_known_window(listing) for listing in found]


def published_prices(provider: str, model_name: str) -> list[Published]:
    """Return every price of a model, past and planned; none when the list does not have the model.

    Raises PriceListError when a price cannot be kept exactly or depends on the time of day.
    """
    model = _known_models().get((provider, model_name))
    if model is None:
        return []
    return [row for context in (STANDARD, *CONTEXTS) for row in _timeline(model, context)]


@cache
def _known_models() -> dict[tuple[str, str], ModelInfo]:
    from genai_prices.data import providers  # noqa: PLC0415

    return {(provider.id, model.id): model for provider in providers for model in provider.models}


def _with_known_window(listing: Listing) -> Listing:
    model = _known_models().get((listing.provider, listing.name))
    known = model.context_window if model and model.context_window else 0
    return Listing(
        name=listing.name,
        provider=listing.provider,
        mode=listing.mode,
        tier=listing.tier,
        context_window_tokens=max(listing.context_window_tokens, known),
        max_output_tokens=listing.max_output_tokens,
        aliases=listing.aliases,
    )


def _timeline(model: ModelInfo, context: str) -> Iterator[Published]:
    """Give the prices of one service class as consecutive ranges; equal neighbours are joined."""
    starts = _change_dates(model)
    tables = [_table(model, context, start) for start in starts]
    for slot in sorted({slot for table in tables for slot in table}):
        run_start, run_price = starts[0], tables[0].get(slot)
        for start, table in zip(starts[1:], tables[1:], strict=True):
            if table.get(slot) != run_price:
                if run_price is not None:
                    yield Published(
                        slot=slot, usd_per_unit=run_price, valid_from=run_start, valid_until=start
                    )
                run_start, run_price = start, table.get(slot)
        if run_price is not None:
            yield Published(slot=slot, usd_per_unit=run_price, valid_from=run_start, valid_until=None)


def _change_dates(model: ModelInfo) -> list[datetime]:
    from genai_prices.types import StartDateConstraint  # noqa: PLC0415

    dated = model.prices if isinstance(model.prices, list) else []
    constraints = [price.constraint for price in dated]
    constraints += [variant.constraint for variant in model.price_variants or []]
    dates = {SINCE}
    for constraint in constraints:
        if isinstance(constraint, StartDateConstraint):
            dates.add(datetime.combine(constraint.start_date, time.min, tzinfo=UTC))
        elif constraint is not None:
            raise PriceListError(f"{model.id} has a price that depends on the time of day. Enter it by hand.")
    return sorted(dates)


def _table(model: ModelInfo, context: str, at: datetime) -> dict[Slot, Decimal]:
    """Give the prices of a service class at a moment; empty when the list does not price the class then."""
    when = _when(model, context, at)
    if when is None:
        return {}
    prices = model.get_prices(at, when)
    return {
        Slot(unit=unit, context=context, tier_start=tier_start): usd
        for key, (unit, per) in UNITS.items()
        for tier_start, usd in _steps(model, getattr(prices, key, None), per)
    }


def _when(model: ModelInfo, context: str, at: datetime) -> dict[str, str] | None:
    if context == STANDARD:
        return {}
    active = [
        variant.when
        for variant in model.price_variants or []
        if variant.constraint is None or variant.constraint.active(at)
    ]
    wanted = [CONTEXTS[context], *([FAST_BY_SPEED] if context == "fast" else [])]
    return next((when for when in wanted if when in active), None)


def _steps(model: ModelInfo, price: Decimal | TieredPrices | None, per: int) -> Iterator[tuple[int, Decimal]]:
    from genai_prices.types import TieredPrices  # noqa: PLC0415

    if isinstance(price, TieredPrices):
        yield 0, _per_unit(model, price.base, per)
        for step in price.tiers:
            # The list applies a step to input above its start; `tier_start` is the first count that pays it.
            yield step.start + 1, _per_unit(model, step.price, per)
    elif price is not None:
        yield 0, _per_unit(model, price, per)


def _per_unit(model: ModelInfo, usd_for_many: Decimal, per: int) -> Decimal:
    usd = usd_for_many / per
    if usd != usd.quantize(SMALLEST_PRICE):
        raise PriceListError(f"{model.id} has a price with more than 15 decimals ({usd}). Enter it by hand.")
    return usd
