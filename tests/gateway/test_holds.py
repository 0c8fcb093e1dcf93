"""How long a call may hold money, by its route and its context."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from gateway.hot.holds import hold_seconds, longest_hold_seconds, shortest_hold_seconds


@pytest.fixture(autouse=True)
def times(settings: Settings) -> None:
    """Give two routes and a context times of their own."""
    settings.HOLD_SECONDS = 600
    settings.HOLD_SECONDS_FOR = {"/v1/messages": 90, "/v1/audio/speech": 1_800, "batch": 900}


@pytest.mark.parametrize(
    ("route", "context", "seconds"),
    [
        ("/v1/chat/completions", "standard", 600),
        ("/v1/messages", "standard", 90),
        ("/v1/messages", "flex", 90),
        ("/v1/messages", "batch", 900),
        ("/v1/audio/speech", "standard", 1_800),
        ("/v1/audio/speech", "batch", 1_800),
        ("/v1/unknown", "standard", 600),
    ],
)
def test_a_route_has_its_time_and_a_context_only_makes_it_longer(
    route: str, context: str, seconds: float
) -> None:
    assert hold_seconds(route, context) == seconds


def test_a_lease_waits_for_the_longest_and_a_gateway_ends_calls_by_the_shortest_of_a_mode() -> None:
    assert (longest_hold_seconds("chat"), shortest_hold_seconds("chat")) == (600, 90)
    assert (longest_hold_seconds("speech"), longest_hold_seconds(None)) == (1_800, 600)
