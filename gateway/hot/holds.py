"""How long a call may hold money: as long as a call of its route, or in its context, may take. Seconds.

`HOLD_SECONDS` is for every call, `HOLD_SECONDS_FOR` for the routes and contexts that take longer or shorter.
A context only ever makes it longer: a batch is answered within a day, whatever its route.
"""

from collections.abc import Iterator

from django.conf import settings

from gateway.hot.wire import ROUTE_MODES
from usage.contexts import CONTEXTS

STANDARD = "standard"


def hold_seconds(route: str, context: str) -> float:
    """Return how long a call of a route in a context may hold its money."""
    of_route: int = settings.HOLD_SECONDS_FOR.get(route, settings.HOLD_SECONDS)
    return float(max(of_route, settings.HOLD_SECONDS_FOR.get(context, 0)))


def longest_hold_seconds(mode: str | None) -> float:
    """Return the longest that a call under a lease may hold money: a lease is for every route of a mode."""
    return max(_of_mode(mode), default=float(settings.HOLD_SECONDS))


def shortest_hold_seconds(mode: str) -> float:
    """Return within what a gateway must end a call of a model, which it serves by every route of its mode."""
    return min(_of_mode(mode), default=float(settings.HOLD_SECONDS))


def unknown_holds() -> list[str]:
    """Return what `HOLD_SECONDS_FOR` names and is neither a route nor a context."""
    return sorted(settings.HOLD_SECONDS_FOR.keys() - ROUTE_MODES.keys() - CONTEXTS)


def _of_mode(mode: str | None) -> Iterator[float]:
    return (hold_seconds(route, STANDARD) for route, each in ROUTE_MODES.items() if each == mode)
