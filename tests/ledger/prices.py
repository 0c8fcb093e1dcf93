"""What a call costs and may cost at most: the model's own reading of dated prices. Exact, no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal

from catalog.pricing import PriceRow
from tests.ledger.facts import ZERO, Model

PICO = Decimal("1e-12")
EXACT = Context(prec=60)
SOURCES = {"contract": 0, "manual": 1}
OPEN_UNITS = ("second", "character", "image", "page", "search")
# A kind of token without a price of its own costs what the kind it is part of costs.
PART_OF = {"cached": "input", "cache_write": "input", "reasoning": "output"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What each unit of one call costs, and what it may cost at most."""

    usd: Mapping[str, Decimal]
    dearest: Mapping[str, Decimal]
    price_ids: tuple[int, ...]

    def rate(self, unit: str) -> Decimal:
        """Return what one of a unit costs."""
        return self.usd.get(unit, self.usd.get(PART_OF.get(unit, ""), ZERO))

    def most(self, *units: str) -> Decimal:
        """Return the dearest of some kinds of token."""
        return max((self.dearest[unit] for unit in units if unit in self.dearest), default=ZERO)

    def prices(self, mode: str) -> bool:
        """Say whether a call of this kind can be charged."""
        if mode == "chat":
            return {"input", "output"} <= self.usd.keys()
        if mode == "embedding":
            return "input" in self.usd
        return bool(self.usd.keys() & {"request", *OPEN_UNITS})

    def units_usd(self, units: Mapping[str, Decimal], rates: Mapping[str, Decimal]) -> Decimal:
        """Return what open units cost at these rates."""
        return sum((count * rates.get(unit, ZERO) for unit, count in units.items()), ZERO)


def card(model: Model, *, context: str, at: datetime, input_tokens: int) -> Card:
    """Read the prices of a model that hold at `at` for a call of this input."""
    live = [row for row in model.prices if is_live(row, at) and row.tier_start <= input_tokens]
    usd: dict[str, Decimal] = {}
    dearest: dict[str, Decimal] = {}
    ids = []
    for unit in sorted({row.unit for row in live}):
        rows = [row for row in live if row.unit == unit]
        rows = [row for row in rows if row.context == context] or rows
        best = [row for name in {row.context for row in rows} for row in best_source(rows, name)]
        tops = [max(of, key=lambda row: row.tier_start) for of in by_context(best)]
        paid = min(tops, key=lambda row: (-row.usd_per_unit, row.id))
        usd[unit], dearest[unit] = paid.usd_per_unit, max(row.usd_per_unit for row in best)
        ids.append(paid.id)
    return Card(usd=usd, dearest=dearest, price_ids=tuple(sorted(ids)))


def is_live(row: PriceRow, at: datetime) -> bool:
    return row.valid_from <= at and (row.valid_until is None or at < row.valid_until)


def best_source(rows: list[PriceRow], context: str) -> list[PriceRow]:
    """Return the rows of a context from the source that beats the others."""
    own = [row for row in rows if row.context == context]
    best = min(SOURCES.get(row.source, 2) for row in own)
    return [row for row in own if SOURCES.get(row.source, 2) == best]


def by_context(rows: list[PriceRow]) -> list[list[PriceRow]]:
    return [[row for row in rows if row.context == name] for name in {row.context for row in rows}]


def nearest(amount: Decimal) -> Decimal:
    """Round a cost once, half to even."""
    return amount.quantize(PICO, rounding=ROUND_HALF_EVEN, context=EXACT)


def up(amount: Decimal) -> Decimal:
    """Round a hold so that it covers its call."""
    return amount.quantize(PICO, rounding=ROUND_CEILING, context=EXACT)


def unit_bounds(
    asked: Mapping[str, Decimal], most: Mapping[str, Decimal], rates: Mapping[str, Decimal]
) -> dict[str, Decimal] | None:
    """Return the bound of each priced unit, or None where one that costs something has none."""
    known = {**most, **asked}
    if any(rate and unit not in known for unit, rate in rates.items()):
        return None
    return {unit: known[unit] for unit in rates if unit in known}
