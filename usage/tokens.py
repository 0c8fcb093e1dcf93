"""The counts of one call, of tokens and of other units, checked in one place for settlements and journal rows
alike. Pure.
"""

from collections.abc import Mapping
from typing import Any

TOKEN_FIELDS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
MAX_TOKENS = 100_000_000
OPEN_UNITS = ("second", "character", "image", "page", "search")
MAX_UNITS = 1_000_000_000


class TokenCountError(ValueError):
    """The counts contradict themselves or are beyond reason; `field` names the one at fault."""

    def __init__(self, detail: str, *, field: str) -> None:
        super().__init__(detail)
        self.field = field


def checked_tokens(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return every count of `usage`, 0 for one that is missing.

    Totals are inclusive: cached and cache-write tokens are part of the input, reasoning tokens of the output.
    Raises TokenCountError.
    """
    tokens = {name: usage.get(name, 0) for name in TOKEN_FIELDS}
    for name, count in tokens.items():
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_TOKENS:
            raise TokenCountError(f"{name} must be a whole number from 0 to {MAX_TOKENS}.", field=name)
    if tokens["cached_tokens"] + tokens["cache_write_tokens"] > tokens["input_tokens"]:
        raise TokenCountError(
            "cached_tokens and cache_write_tokens are parts of input_tokens and cannot be more.",
            field="usage",
        )
    if tokens["reasoning_tokens"] > tokens["output_tokens"]:
        raise TokenCountError("reasoning_tokens is part of output_tokens and cannot be more.", field="usage")
    return tokens


def checked_units(units: Any) -> dict[str, int | float] | None:
    """Return what a call counts in units that are not tokens, by unit; None where it says nothing.

    Raises TokenCountError.
    """
    if units is None:
        return None
    if not isinstance(units, Mapping):
        raise TokenCountError("units must be an object of numbers by unit.", field="units")
    for name, count in units.items():
        if name not in OPEN_UNITS:
            raise TokenCountError(
                f"Unknown unit {str(name)[:40]!r}. Known are {', '.join(OPEN_UNITS)}.", field="units"
            )
        if isinstance(count, bool) or not isinstance(count, int | float) or not 0 <= count <= MAX_UNITS:
            raise TokenCountError(f"units.{name} must be a number from 0 to {MAX_UNITS}.", field="units")
    return dict(units)
