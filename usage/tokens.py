"""The counts of one call, of tokens and of other units, checked in one place for settlements, journal rows
and rows of other sources alike. Pure.
"""

from collections.abc import Mapping
from typing import Any

TOKEN_FIELDS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
MAX_TOKENS = 100_000_000
OPEN_UNITS = ("second", "character", "image", "page", "search")
# Tokens that a total counts too. They are at most what is left of it when its other parts are taken away, so
# that no call is charged less than nothing: the prices of these are added to those of the total.
PARTS = {
    "cache_write_1h": ("cache_write_tokens", ()),
    "input_audio": ("input_tokens", ("cached_tokens", "cache_write_tokens")),
    "input_image": ("input_tokens", ("cached_tokens", "cache_write_tokens")),
    "cached_audio": ("cached_tokens", ()),
    "output_audio": ("output_tokens", ("reasoning_tokens",)),
    "output_image": ("output_tokens", ("reasoning_tokens",)),
}
MAX_UNITS = 1_000_000_000


class TokenCountError(ValueError):
    """The counts contradict themselves or are beyond reason; `field` names the one at fault."""

    def __init__(self, detail: str, *, field: str) -> None:
        super().__init__(detail)
        self.field = field


class PartsExceedError(TokenCountError):
    """Counts that are part of a total are more than it."""


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
        raise PartsExceedError(
            "cached_tokens and cache_write_tokens are parts of input_tokens and cannot be more.",
            field="usage",
        )
    if tokens["reasoning_tokens"] > tokens["output_tokens"]:
        raise PartsExceedError("reasoning_tokens is part of output_tokens and cannot be more.", field="usage")
    units = checked_units(usage.get("units"))
    if units:
        check_parts(tokens, units)
    return tokens


def checked_units(units: Any) -> dict[str, int | float] | None:
    """Return what a call counts beside its totals, by unit; None where it says nothing.

    Whether its totals have room for them says `check_parts`. Raises TokenCountError.
    """
    if units is None:
        return None
    if not isinstance(units, Mapping):
        raise TokenCountError("units must be an object of numbers by unit.", field="units")
    for name, count in units.items():
        if name not in OPEN_UNITS and name not in PARTS:
            known = ", ".join([*OPEN_UNITS, *PARTS])
            raise TokenCountError(f"Unknown unit {str(name)[:40]!r}. Known are {known}.", field="units")
        if isinstance(count, bool) or not isinstance(count, int | float) or not 0 <= count <= MAX_UNITS:
            raise TokenCountError(f"units.{name} must be a number from 0 to {MAX_UNITS}.", field="units")
    return dict(units)


def check_parts(tokens: Mapping[str, int], units: Mapping[str, int | float]) -> None:
    """Refuse parts that their total has no room for, all parts of the same tokens together.

    Both are counts that were checked on their own. Raises TokenCountError, and of it PartsExceedError.
    """
    for total, taken in set(PARTS.values()):
        room = tokens[total] - sum(tokens[name] for name in taken)
        parts = [name for name, of in PARTS.items() if of == (total, taken) and name in units]
        if any(units[name] != int(units[name]) for name in parts):
            raise TokenCountError(f"units.{parts[0]} counts tokens and must be whole.", field="units")
        if sum(units[name] for name in parts) > room:
            raise PartsExceedError(
                f"units.{' and units.'.join(parts)} are parts of {total} and cannot be more.", field="units"
            )
