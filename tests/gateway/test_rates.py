"""How fast a scope may call: requests and tokens a minute, calls in flight; and when a refused one may come
back.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from budgets.models import Balance, RateLimit, Reservation, ScopeKind
from core import clock
from tests.gateway.conftest import World
from tests.ledger.clockwork import move_to, moved_clock
from usage.services import expire_holds

SCOPES = ("key", "project", "team")


@pytest.fixture(autouse=True)
def at(world: World) -> Iterator[datetime]:
    """Let the time stand still, so that what is told of it can be checked to the second."""
    moment = clock.now().replace(microsecond=0) + timedelta(seconds=1)
    with moved_clock(moment):
        yield moment


def rate(world: World, scope: str = "key", **limits: Any) -> RateLimit:
    ids = {"key": world.key.pk, "project": world.project.pk, "team": world.team.pk}
    return RateLimit.objects.create(scope_kind=scope, scope_id=ids[scope], **limits)


def refusal(answer: Any) -> tuple[str, str, int, str]:
    assert answer.status_code == 429, answer.json()
    body = answer.json()
    assert body["code"] == "rate_limited"
    assert body["retry_after_seconds"] == int(answer["Retry-After"])
    told = body["rate_limit"]
    return told["limit"], told["scope"], int(answer["Retry-After"]), answer["x-should-retry"]


@pytest.mark.parametrize("scope", SCOPES)
def test_requests_a_minute_are_counted_for_each_scope(world: World, scope: str) -> None:
    rate(world, scope, requests_per_minute=3)
    assert [world.gus.authorize(world.token).status_code for _ in range(3)] == [200] * 3
    assert refusal(world.gus.authorize(world.token)) == ("requests_per_minute", scope, 20, "true")


@pytest.mark.parametrize("scope", SCOPES)
def test_tokens_a_minute_are_counted_for_each_scope(world: World, scope: str) -> None:
    rate(world, scope, tokens_per_minute=2_400)
    assert [world.gus.authorize(world.token).status_code for _ in range(2)] == [200] * 2
    limit, of, seconds, retry = refusal(world.gus.authorize(world.token))
    assert (limit, of, retry) == ("tokens_per_minute", scope, "true")
    assert seconds in (23, 24)  # 3,300 tokens of 40 a second are 82.5 s, of which 60 may be ahead


@pytest.mark.parametrize("scope", SCOPES)
def test_calls_in_flight_are_counted_for_each_scope(world: World, scope: str) -> None:
    rate(world, scope, parallel_calls=2)
    assert [world.gus.authorize(world.token).status_code for _ in range(2)] == [200] * 2
    limit, of, seconds, retry = refusal(world.gus.authorize(world.token))
    assert (limit, of, retry) == ("parallel_calls", scope, "true")
    assert 1 <= seconds <= 30


@pytest.mark.parametrize("limits", [{"requests_per_minute": 3}, {"tokens_per_minute": 3_300}])
def test_who_comes_back_when_told_to_is_let_in_and_a_second_sooner_is_not(
    world: World, at: datetime, limits: dict[str, Any]
) -> None:
    rate(world, **limits)
    for _ in range(3):
        world.gus.authorize(world.token)
    seconds = int(world.gus.authorize(world.token)["Retry-After"])
    move_to(at + timedelta(seconds=seconds - 1))
    assert world.gus.authorize(world.token).status_code == 429
    move_to(at + timedelta(seconds=seconds))
    assert world.gus.authorize(world.token).status_code == 200


def test_a_refused_call_uses_nothing_of_a_rate_or_a_budget(world: World) -> None:
    made = rate(world, requests_per_minute=1)
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    world.gus.authorize(world.token)
    made.refresh_from_db()
    before = (made.requests_tat, made.in_flight, Balance.objects.get().reserved_usd)
    world.gus.authorize(world.token)
    made.refresh_from_db()
    assert (made.requests_tat, made.in_flight, Balance.objects.get().reserved_usd) == before


def test_unused_tokens_flow_back_when_the_call_settles(world: World) -> None:
    rate(world, tokens_per_minute=1_200)
    first = world.gus.authorize(world.token).json()["reservation"]  # holds 1,100
    assert world.gus.authorize(world.token).status_code == 429
    world.gus.settle(first, input_tokens=90, output_tokens=10)
    assert world.gus.authorize(world.token).status_code == 200


def test_a_call_larger_than_its_rate_is_told_not_to_try_again(world: World) -> None:
    rate(world, tokens_per_minute=1_000)
    answer = world.gus.authorize(world.token)
    assert refusal(answer)[0] == "tokens_per_minute"
    assert answer["x-should-retry"] == "false"
    assert "1100 tokens" in answer.json()["detail"]
    assert world.gus.authorize(world.token, input_bytes=500).status_code == 200


def test_the_clamped_call_counts_the_tokens_that_it_was_given(world: World) -> None:
    rate(world, tokens_per_minute=1_100)
    world.budget("key", kind=ScopeKind.KEY, limit="0.0012")
    answer = world.gus.authorize(world.token, max_output_tokens=5_000)
    assert (answer.status_code, answer.json()["max_output_tokens"]) == (200, 100)
    assert Reservation.objects.get().held_tokens == 1_100


@pytest.mark.parametrize("end", ["settle", "release", "expiry"])
def test_a_call_that_ends_is_no_longer_in_flight(world: World, at: datetime, end: str) -> None:
    made = rate(world, parallel_calls=1)
    reservation = world.gus.authorize(world.token).json()["reservation"]
    assert world.gus.authorize(world.token).status_code == 429
    if end == "settle":
        world.gus.settle(reservation)
    elif end == "release":
        world.gus.release(reservation)
    else:
        move_to(at + timedelta(hours=2))
        assert expire_holds() == 1
    made.refresh_from_db()
    assert made.in_flight == 0
    assert world.gus.authorize(world.token).status_code == 200


def test_the_longest_wait_of_several_rates_is_told(world: World) -> None:
    rate(world, "key", requests_per_minute=6)
    rate(world, "team", requests_per_minute=2)
    for _ in range(2):
        world.gus.authorize(world.token)
    assert refusal(world.gus.authorize(world.token)) == ("requests_per_minute", "team", 30, "true")


def test_a_fast_key_waits_for_its_calls_before_its_money(world: World) -> None:
    rate(world, requests_per_minute=1)
    world.budget("key", kind=ScopeKind.KEY, limit="0.0012")
    world.gus.authorize(world.token)
    assert world.gus.authorize(world.token).json()["code"] == "rate_limited"
