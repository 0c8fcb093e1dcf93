"""Why a provider's money differs from the ledger's: parts that add up to the difference, to the last digit.

The method is the one of cost accounting: a difference of volume is worth our price, a difference of price is
counted on the provider's volume. What keys outside the gateways used stands apart. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from catalog.pricing import Rates, TokenUsage, charge
from core.money import ZERO, quantise

LEAST_USD = Decimal("0.00001")
SHARE = Decimal("0.001")
PRICE_SHARE = Decimal("0.005")
BYPASS_SHARE = Decimal("0.01")
BYPASS_CALLS = 5


class Holder(StrEnum):
    """Who holds the upstream key that something was used with."""

    GATEWAY = "gateway"  # its calls are in the ledger
    ELSEWHERE = "elsewhere"  # registered, and used outside the gateways on purpose
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """So many calls with so many tokens; `calls` is None where nobody counted them.

    `units` are what is counted beside tokens, such as seconds; who does not count a unit has none of it.
    """

    calls: int | None = 0
    tokens: TokenUsage = field(default_factory=lambda: TokenUsage(input_tokens=0))
    units: Mapping[str, Decimal] = field(default_factory=dict)

    def plus(self, other: "Counted") -> "Counted":
        """Return both together."""
        calls = None if self.calls is None or other.calls is None else self.calls + other.calls
        units = {
            name: self.units.get(name, ZERO) + other.units.get(name, ZERO)
            for name in sorted({*self.units, *other.units})
        }
        return Counted(calls=calls, tokens=_combined(self.tokens, other.tokens, 1), units=units)

    def minus(self, other: "Counted") -> "Counted":
        """Return by how much this is more than the other; calls and units that this one does not count are as
        many as the other's.
        """
        calls = 0 if self.calls is None or other.calls is None else self.calls - other.calls
        units = {name: count - other.units.get(name, ZERO) for name, count in self.units.items()}
        return Counted(calls=calls, tokens=_combined(self.tokens, other.tokens, -1), units=units)

    def worth(self, rate: Rates) -> Decimal:
        """Return what this costs in US dollars at these rates, signed, rounded once."""
        return charge(self.tokens, rate, calls=self.calls or 0, units=self.units)

    def parts(self) -> tuple[int, int, int, int]:
        """Return what providers count apart: fresh, cached and cache-write input, and output."""
        tokens = self.tokens
        fresh = tokens.input_tokens - tokens.cached_tokens - tokens.cache_write_tokens
        return fresh, tokens.cached_tokens, tokens.cache_write_tokens, tokens.output_tokens

    def distance(self, rate: Rates) -> Decimal:
        """Return what the parts are worth without their signs: more of one does not make up for another."""
        prices = (rate.input_usd, rate.cached_usd, rate.cache_write_usd, rate.output_usd)
        tokens = sum((abs(part) * usd for part, usd in zip(self.parts(), prices, strict=True)), ZERO)
        others = (abs(count) * rate.unit_usd.get(name, ZERO) for name, count in self.units.items())
        return sum(others, tokens)

    def is_nothing(self) -> bool:
        """Whether nothing was counted at all."""
        return not self.calls and not any(self.parts()) and not any(self.units.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBooks:
    """One model of one account over some time: our books, and what the provider counted and charged.

    `charged` is the provider's money by who holds the key; `charged_to_all` is what it does not tell by key.
    Without `rates` nobody has priced the model here. Where a price changed within the time, `spans` are both
    sides' counts of the times in which one held, which volumes are worth something by.
    """

    ledger_usd: Decimal
    ours: Counted
    theirs: Mapping[Holder, Counted]
    rates: Rates | None
    charged: Mapping[Holder, Decimal] = field(default_factory=dict)
    charged_to_all: Decimal = ZERO
    spans: tuple["ModelBooks", ...] = ()

    @property
    def volume_usd(self) -> Decimal | None:
        """Return what the provider counted more at our prices of its time; None where there are none."""
        priced = [(volume(one), one.rates) for one in self.spans or (self,) if one.rates is not None]
        return sum((more.worth(rates) for more, rates in priced), ZERO) if priced else None

    def worth_of(self, holder: Holder) -> Decimal | None:
        """Return what the provider counted on these keys at our prices of its time; None without any."""
        counts = [
            (one.theirs.get(holder, Counted()), one.rates)
            for one in self.spans or (self,)
            if one.rates is not None
        ]
        return sum((counted.worth(rates) for counted, rates in counts), ZERO) if counts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variance:
    """The parts of a difference in US dollars; `other_usd` is what the provider names no model for."""

    elsewhere_usd: Decimal = ZERO
    unknown_key_usd: Decimal = ZERO
    volume_usd: Decimal = ZERO
    price_usd: Decimal = ZERO
    other_usd: Decimal = ZERO

    @property
    def total_usd(self) -> Decimal:
        """Return the whole difference: the provider's money less the ledger's."""
        return self.elsewhere_usd + self.unknown_key_usd + self.volume_usd + self.price_usd + self.other_usd

    def plus(self, other: "Variance") -> "Variance":
        """Return both together."""
        return Variance(
            elsewhere_usd=self.elsewhere_usd + other.elsewhere_usd,
            unknown_key_usd=self.unknown_key_usd + other.unknown_key_usd,
            volume_usd=self.volume_usd + other.volume_usd,
            price_usd=self.price_usd + other.price_usd,
            other_usd=self.other_usd + other.other_usd,
        )


def variance(books: ModelBooks) -> Variance:
    """Cut one model's difference into its parts. They add up to it exactly, for any figures.

    What our books would charge for the provider's volume is what they did charge, and the difference in
    volume at the rates: so long prompts and rounding of single calls are in it as they were charged. A model
    without rates differs in volume alone.
    """
    money = _by_holder(books)
    ours_usd = books.ledger_usd
    gateway_usd = money[Holder.GATEWAY]
    at_our_price = books.volume_usd
    volume_usd = gateway_usd - ours_usd if at_our_price is None else at_our_price
    return Variance(
        elsewhere_usd=money[Holder.ELSEWHERE],
        unknown_key_usd=money[Holder.UNKNOWN],
        volume_usd=volume_usd,
        price_usd=gateway_usd - ours_usd - volume_usd,
    )


def volume(books: ModelBooks) -> Counted:
    """Return by how much the provider counted more than we did, on the keys that gateways hold."""
    return books.theirs.get(Holder.GATEWAY, Counted()).minus(books.ours)


def beyond(difference_usd: Decimal, of_usd: Decimal, share: Decimal = SHARE) -> bool:
    """Whether a difference counts: it is more than $0.00001 and more than 0.1 % of what it differs from."""
    return abs(difference_usd) > max(LEAST_USD, share * abs(of_usd))


def shares(amount_usd: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """Cut an amount in proportion to weights, to twelve decimals; the parts add up to it exactly.

    What rounding leaves goes to the largest part; without any weight the first takes all.
    """
    whole = sum(weights, ZERO)
    if whole == 0:
        return [amount_usd, *([ZERO] * (len(weights) - 1))]
    parts = [quantise(amount_usd * weight / whole) for weight in weights]
    largest = max(range(len(weights)), key=lambda place: weights[place])
    parts[largest] += amount_usd - sum(parts, ZERO)
    return parts


def _by_holder(books: ModelBooks) -> dict[Holder, Decimal]:
    """Return the provider's money by who holds the key, all of it."""
    holders = list(Holder)
    weights = [_weight(books, holder) for holder in holders]
    rest = shares(books.charged_to_all, weights)
    return {holder: books.charged.get(holder, ZERO) + rest[place] for place, holder in enumerate(holders)}


def _weight(books: ModelBooks, holder: Holder) -> Decimal:
    tokens, worth = books.theirs.get(holder, Counted()).tokens, books.worth_of(holder)
    if worth is None:
        worth = Decimal(tokens.input_tokens + tokens.output_tokens)
    return worth if worth > 0 else ZERO


def _combined(one: TokenUsage, other: TokenUsage, sign: int) -> TokenUsage:
    return TokenUsage(
        input_tokens=one.input_tokens + sign * other.input_tokens,
        cached_tokens=one.cached_tokens + sign * other.cached_tokens,
        cache_write_tokens=one.cache_write_tokens + sign * other.cache_write_tokens,
        output_tokens=one.output_tokens + sign * other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + sign * other.reasoning_tokens,
    )
