"""What a call costs: pure arithmetic over price rows, the exact twin of `catalog_card` in SQL."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, localcontext

from core.money import ZERO, quantise

STANDARD = "standard"
CONTRACT, MANUAL = "contract", "manual"
PRECEDENCE = {CONTRACT: 0, MANUAL: 1}
IMPORTED = 2  # every other source
# Token counts have at most 19 digits and prices 20, so a product never needs more.
EXACT_DIGITS = 60
TOKENS_PER_PRICE = 1_000_000
OPEN_UNITS = ("second", "character", "image", "page", "search")
# Tokens that a total counts too: a call pays on top what they cost above the kind that they are part of.
PART_OF = {
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "cached_audio": "cached",
    "output_audio": "output",
    "input_image": "input",
    "output_image": "output",
}
# A kind of token without a price of its own costs what the kind it is part of costs.
FALLS_BACK = {"cached": "input", "cache_write": "input", "reasoning": "output", **PART_OF}
Units = Mapping[str, Decimal | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """US dollars for one unit in [valid_from, valid_until), for calls of `tier_start` or more input."""

    id: int
    unit: str
    context: str
    tier_start: int
    usd_per_unit: Decimal
    source: str
    valid_from: datetime
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens as inclusive totals: cached and cache-write are part of input, reasoning is part of output."""

    input_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """US dollars for each kind of token of one call, for the call itself, and for its other units.

    A unit of PART_OF is at what it costs above the kind that it is part of, which may be less than nothing.
    """

    input_usd: Decimal = ZERO
    cached_usd: Decimal = ZERO
    cache_write_usd: Decimal = ZERO
    output_usd: Decimal = ZERO
    reasoning_usd: Decimal = ZERO
    request_usd: Decimal = ZERO
    unit_usd: Mapping[str, Decimal] = field(default_factory=dict)
    price_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What was consumed over some time: tokens of all calls together, and how many calls they were."""

    calls: int
    tokens: TokenUsage

    @property
    def input_tokens_per_call(self) -> int:
        """Return the input of the average call, which decides its long-context step."""
        return self.tokens.input_tokens // self.calls if self.calls > 0 else 0


def cost(
    usage: TokenUsage,
    prices: Iterable[PriceRow],
    *,
    at: datetime,
    context: str = STANDARD,
    units: Units | None = None,
) -> Decimal:
    """Return what one call costs in US dollars, rounded once, half to even, to twelve decimals."""
    rate = rates(prices, at=at, context=context, input_tokens=usage.input_tokens)
    return charge(usage, rate, units=units)


def charge(usage: TokenUsage, rate: Rates, *, calls: int = 1, units: Units | None = None) -> Decimal:
    """Return the cost in US dollars of these tokens and other units in so many calls, rounded once.

    A unit without a price costs nothing.
    """
    fresh_tokens = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    with localcontext(prec=EXACT_DIGITS):
        return quantise(
            fresh_tokens * rate.input_usd
            + usage.cached_tokens * rate.cached_usd
            + usage.cache_write_tokens * rate.cache_write_usd
            + (usage.output_tokens - usage.reasoning_tokens) * rate.output_usd
            + usage.reasoning_tokens * rate.reasoning_usd
            + calls * rate.request_usd
            + sum((count * rate.unit_usd.get(unit, ZERO) for unit, count in (units or {}).items()), ZERO)
        )


def rates(
    prices: Iterable[PriceRow], *, at: datetime, context: str = STANDARD, input_tokens: int = 0
) -> Rates:
    """Return what each kind of token costs for a call with this total input, authorised at `at`.

    The whole call is at the step of its total input. A kind without a price of its own costs what the kind it
    is part of costs. Per unit and context, a contract beats a manual override beats an imported list. A unit
    that nobody priced in `context` is charged at the dearest context.
    """
    live = [row for row in prices if _is_live(row, at) and row.tier_start <= input_tokens]
    chosen = {
        unit: _choose([row for row in live if row.unit == unit], context)
        for unit in {row.unit for row in live}
    }
    usd = {unit: row.usd_per_unit for unit, row in chosen.items()}
    kinds = {"input": usd.get("input", ZERO), "output": usd.get("output", ZERO)}
    kinds |= {kind: usd.get(kind, kinds["input"]) for kind in ("cached", "cache_write")}
    others = {unit: usd[unit] for unit in OPEN_UNITS if unit in usd}
    others |= {unit: usd[unit] - kinds[kind] for unit, kind in PART_OF.items() if unit in usd}
    return Rates(
        input_usd=kinds["input"],
        cached_usd=kinds["cached"],
        cache_write_usd=kinds["cache_write"],
        output_usd=kinds["output"],
        reasoning_usd=usd.get("reasoning", kinds["output"]),
        request_usd=usd.get("request", ZERO),
        unit_usd=others,
        price_ids=tuple(sorted(row.id for row in chosen.values())),
    )


def price_of(
    prices: Iterable[PriceRow], *, unit: str, context: str, tier_start: int, at: datetime
) -> Decimal | None:
    """Return what a unit costs in a call of `tier_start` input tokens at `at`; None when it has no price."""
    live = [row for row in prices if _is_live(row, at) and row.tier_start <= tier_start]
    kind: str | None = unit
    while kind is not None:
        rows = [row for row in live if row.unit == kind]
        if rows:
            return _choose(rows, context).usd_per_unit
        kind = FALLS_BACK.get(kind)
    return None


def is_priced(prices: Iterable[PriceRow], *, at: datetime, has_output: bool) -> bool:
    """Say whether a call could be priced at `at`: its input, and its output where the model writes any."""
    units = {row.unit for row in prices if _is_live(row, at) and row.tier_start == 0}
    return "input" in units and ("output" in units or not has_output)


def monthly_estimate(use: Use, prices: Iterable[PriceRow], *, at: datetime, days: int = 30) -> Decimal:
    """Return what 30 days of this use would cost in US dollars, when `use` was consumed over `days` days.

    The long-context step is that of the average call.
    """
    rate = rates(prices, at=at, input_tokens=use.input_tokens_per_call)
    return quantise(charge(use.tokens, rate, calls=use.calls) * 30 / days)


def multiple_against(amount_usd: Decimal, reference_usd: Decimal) -> Decimal | None:
    """Return how many times the reference the amount is (17 for "17x"), unrounded; None against nothing."""
    return amount_usd / reference_usd if reference_usd > 0 else None


def _is_live(row: PriceRow, at: datetime) -> bool:
    return row.valid_from <= at and (row.valid_until is None or at < row.valid_until)


def _choose(rows: Sequence[PriceRow], context: str) -> PriceRow:
    """Return the row of one unit that a call pays."""
    steps = [_step([row for row in rows if row.context == name]) for name in {row.context for row in rows}]
    asked = [row for row in steps if row.context == context]
    return min(asked or steps, key=lambda row: (-row.usd_per_unit, row.id))


def _step(rows: Sequence[PriceRow]) -> PriceRow:
    """Return the row of one unit and context with the best source and, of that, the highest step."""
    return min(
        rows,
        key=lambda row: (PRECEDENCE.get(row.source, IMPORTED), -row.tier_start, -row.usd_per_unit, row.id),
    )
