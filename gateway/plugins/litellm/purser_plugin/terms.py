"""What a lease allows and what a call under it may cost: the portal's own arithmetic of a hold. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

LEDGER_DECIMALS = Decimal("0.000000000001")


class UnreadableGrantError(Exception):
    """A field of the portal's answer cannot be read; the message is its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One allowed call. `output_tokens` is the limit of each choice, 0 for a model that writes none."""

    input_tokens: int
    output_tokens: int
    held_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms that came with a lease: the dearest prices that may apply, and the limits of the model and of
    its tier.
    """

    key_id: str
    project: str
    input_usd: Decimal
    output_usd: Decimal
    request_usd: Decimal
    context_window_tokens: int
    max_output_tokens: int | None
    default_output_tokens: int
    floor_output_tokens: int

    def decide(
        self, *, bound: int, asked: int | None, choices: int, left_usd: Decimal, clamp: bool
    ) -> Decided | None:
        """Decide one call by its worst case; None when `left_usd` does not cover it.

        `bound` bounds the input in tokens from above, `asked` is the output limit that the client set. With
        `clamp` the output is cut to what the money covers, but not below the tier's floor.
        """
        input_tokens = min(bound, self.context_window_tokens)
        fixed = input_tokens * self.input_usd + self.request_usd
        per_output = choices * self.output_usd
        wanted = asked or self.default_output_tokens
        if self.max_output_tokens is not None:
            wanted = min(wanted, self.max_output_tokens)
        held = _round_up(fixed + wanted * per_output)
        if held > left_usd and clamp and per_output > 0:
            fitting = int((left_usd - fixed) // per_output)
            wanted = max(min(wanted, fitting), min(wanted, self.floor_output_tokens))
            held = _round_up(fixed + wanted * per_output)
        if held > left_usd:
            return None
        return Decided(input_tokens=input_tokens, output_tokens=wanted, held_usd=held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The answer to a wish for a lease: what was added to which one, and how long it lasts from now on."""

    lease: str
    added_usd: Decimal
    seconds: float
    terms: Terms


def read_grant(document: Mapping[str, object]) -> Grant:
    """Read the answer to a wish for a lease. Raises UnreadableGrantError."""
    seconds = document.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise UnreadableGrantError("seconds")
    return Grant(
        lease=_text(document, "lease"),
        added_usd=_usd(document, "added_usd"),
        seconds=seconds,
        terms=_terms(document),
    )


def wire_usd(value: Decimal) -> str:
    """Return an amount as the portal reads it."""
    return f"{value:.12f}"


def _terms(document: Mapping[str, object]) -> Terms:
    most = document.get("max_output_tokens")
    return Terms(
        key_id=_text(document, "key_id"),
        project=_text(document, "project"),
        input_usd=_usd(document, "input_usd"),
        output_usd=_usd(document, "output_usd"),
        request_usd=_usd(document, "request_usd"),
        context_window_tokens=_count(document, "context_window_tokens"),
        max_output_tokens=None if most is None else _count(document, "max_output_tokens"),
        default_output_tokens=_count(document, "default_output_tokens"),
        floor_output_tokens=_count(document, "floor_output_tokens"),
    )


def _usd(document: Mapping[str, object], name: str) -> Decimal:
    try:
        value = Decimal(_text(document, name))
    except ArithmeticError:
        raise UnreadableGrantError(name) from None
    if not value.is_finite() or value < 0:
        raise UnreadableGrantError(name)
    return value


def _round_up(value: Decimal) -> Decimal:
    return value.quantize(LEDGER_DECIMALS, rounding=ROUND_CEILING)


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise UnreadableGrantError(name)
    return value


def _count(document: Mapping[str, object], name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnreadableGrantError(name)
    return value
