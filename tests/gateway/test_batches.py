"""Calls that share a statement: each is answered as if it had come alone, after those before it."""

from __future__ import annotations

import json
import secrets as random
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from budgets.models import Balance, RateLimit, Reservation, ScopeKind
from catalog.models import UnpricedCall
from gateway.auth import credential_of
from gateway.hot.decisions import ASKS, Ask, Kind, answers, statement
from keys import secrets
from tests.gateway.conftest import World, make_model
from tests.gateway.together import AUTHORIZE, RELEASE, SETTLE, Given, ask_together
from usage.models import Quarantine, UsageEvent


def question(world: World, **changes: Any) -> bytes:
    """Write one call that holds $0.0012."""
    body = {
        "request_id": random.token_hex(12),
        "key": world.token,
        "model": "small",
        "route": "/v1/chat/completions",
        "input_bytes": 1000,
        "max_output_tokens": 100,
    }
    return json.dumps(body | changes).encode()


def authorize(world: World, *bodies: bytes) -> list[Given]:
    return ask_together(world.gus.gateway, [(AUTHORIZE, body) for body in bodies])


def test_a_request_twice_in_one_batch_holds_once_where_only_one_fits(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0012")
    body = question(world)
    first, again = authorize(world, body, body)
    assert (first.status, again.status) == (200, 200)
    assert first.body == again.body
    assert Reservation.objects.count() == 1


def test_each_call_of_a_batch_holds_as_long_as_its_route_may_take(world: World, settings: Settings) -> None:
    settings.HOLD_SECONDS, settings.HOLD_SECONDS_FOR = 600, {"/v1/messages": 90, "batch": 7_200}
    world.budget("key", kind=ScopeKind.KEY, limit="0.0024")  # so that one of the four does not fit
    found = authorize(
        world,
        question(world, input_bytes=90_000),
        question(world),
        question(world, route="/v1/messages", max_output_tokens=10),
        question(world, route="/v1/messages", context="batch", max_output_tokens=10, input_bytes=10),
    )
    assert [each.status for each in found] == [429, 200, 200, 200]
    held = {row.public_id: row for row in Reservation.objects.all()}
    rows = [held[each.body["reservation"]] for each in found[1:]]
    told = [datetime.fromisoformat(each.body["expires_at"]) for each in found[1:]]
    assert told == [row.expires_at for row in rows]
    assert [(row.expires_at - row.authorized_at).seconds for row in rows] == [600, 90, 7_200]


def test_a_request_twice_in_one_batch_leaves_the_room_of_one_call_to_others(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0024")
    body = question(world)
    found = authorize(world, body, body, question(world))
    assert [each.status for each in found] == [200, 200, 200]
    assert Balance.objects.get().reserved_usd == sum(Reservation.objects.values_list("held_usd", flat=True))


def test_a_request_that_was_asked_before_takes_no_room_from_others(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0024")
    body = question(world)
    before, *found = [*authorize(world, body), *authorize(world, body, question(world))]
    assert [each.status for each in found] == [200, 200]
    assert found[0].body == before.body
    assert Balance.objects.get().reserved_usd == sum(Reservation.objects.values_list("held_usd", flat=True))


def test_a_request_that_was_asked_before_is_answered_when_its_budget_is_used_up(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0012")
    body = question(world)
    (before,) = authorize(world, body)
    again, other = authorize(world, body, question(world))
    assert again.body == before.body
    assert (other.status, other.body["code"]) == (429, "budget_held")


def test_a_request_id_used_twice_in_one_batch_is_a_conflict_for_the_second(world: World) -> None:
    request_id = random.token_hex(12)
    bodies = [question(world, request_id=request_id, input_bytes=size) for size in (1000, 999)]
    first, other = authorize(world, *bodies)
    assert (first.status, other.status) == (200, 409)
    assert other.body["code"] == "request_id_reused"


def test_a_request_that_was_refused_is_decided_anew_in_the_same_batch(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0012")
    request_id = random.token_hex(12)
    bodies = [question(world, request_id=request_id, input_bytes=size) for size in (90_000, 1000)]
    assert [each.status for each in authorize(world, *bodies)] == [429, 200]


@pytest.mark.parametrize(
    "limits", [{"parallel_calls": 2}, {"requests_per_minute": 2}, {"tokens_per_minute": 2_400}]
)
def test_calls_of_a_batch_count_on_the_rates_of_those_behind_them(
    world: World, limits: dict[str, int]
) -> None:
    RateLimit.objects.create(scope_kind=ScopeKind.KEY, scope_id=world.key.pk, **limits)
    found = authorize(world, *(question(world) for _ in range(4)))
    assert [each.status for each in found] == [200, 200, 429, 429]
    assert {each.body["rate_limit"]["limit"] for each in found[2:]} == set(limits)


def test_a_refused_call_does_not_lead_the_others_past_their_budgets(world: World) -> None:
    later = make_model("later", tier=1)
    for unit in ("input", "output"):
        world.price(later, unit, "0.000001")
    world.budget("key", kind=ScopeKind.KEY, limit="0.0001")
    refused, other = authorize(world, question(world, model="large"), question(world, model="later"))
    assert (refused.status, other.status) == (403, 429)
    assert Reservation.objects.count() == 0


def settlement(reservation: str, **changes: Any) -> tuple[str, bytes]:
    """Write one settlement of 200 input and 50 output tokens."""
    usage = {"input_tokens": 200, "output_tokens": 50}
    body = {"reservation": reservation, "usage": usage, "finish": "stop", **changes}
    return SETTLE, json.dumps(body).encode()


def test_the_same_conflict_is_kept_once_wherever_it_stands_in_a_batch(world: World) -> None:
    held = [authorize(world, question(world))[0].body["reservation"] for _ in range(2)]
    world.gus.settle(held[0])
    other = settlement(held[0], cache_hit=True)
    ask_together(world.gus.gateway, [other, settlement(held[1])])
    found = ask_together(world.gus.gateway, [settlement(held[1]), other])
    assert found[1].body["code"] == "settlement_conflict"
    assert Quarantine.objects.count() == 1


def test_of_two_settlements_in_one_batch_the_first_is_booked(world: World) -> None:
    reservation = authorize(world, question(world))[0].body["reservation"]
    names = ("small", "large") if world.small.pk > world.large.pk else ("large", "small")
    first, other = ask_together(
        world.gus.gateway, [settlement(reservation, served_model=name) for name in names]
    )
    assert (first.status, other.status) == (200, 409)
    assert UsageEvent.objects.get().model.name == names[0]


def test_a_settlement_and_a_release_in_one_batch_act_in_their_order(world: World) -> None:
    outcomes = []
    for turn in (1, -1):
        reservation = authorize(world, question(world))[0].body["reservation"]
        release = (RELEASE, json.dumps({"reservation": reservation}).encode())
        found = ask_together(world.gus.gateway, [release, settlement(reservation)][::turn])
        outcomes.append([each.body["status"] for each in found])
    assert outcomes == [["released", "late"], ["settled", 409]]


def test_a_released_call_that_is_released_again_can_still_be_settled_in_the_same_batch(world: World) -> None:
    reservation = authorize(world, question(world))[0].body["reservation"]
    world.gus.release(reservation)
    release = (RELEASE, json.dumps({"reservation": reservation}).encode())
    found = ask_together(world.gus.gateway, [release, settlement(reservation)])
    assert [each.body["status"] for each in found] == ["duplicate", "late"]


def test_good_bad_replayed_and_repeated_calls_of_one_batch_are_each_answered_on_their_own(
    world: World,
) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0036")
    earlier = question(world)
    known = authorize(world, earlier)[0].body["reservation"]
    unpriced = make_model("unpriced", tier=1)
    world.price(unpriced, "input", "0.000001")
    twin = question(world)
    found = authorize(
        world,
        question(world, key=secrets.new_token()),
        question(world, model="large"),
        earlier,
        twin,
        question(world, model="unpriced"),
        twin,
        question(world, model="nothing"),
        question(world, route="/v1/realtime"),
        question(world, project_id="billing"),
        question(world),
        question(world),
    )
    assert [each.body.get("code", each.body.get("reservation") == known) for each in found] == [
        "invalid_api_key",
        "tier_not_granted",
        True,
        False,
        "model_unpriced",
        False,
        "model_unknown",
        "route_not_allowed",
        "project_mismatch",
        False,
        "budget_held",
    ]
    assert found[3].body == found[5].body
    assert Balance.objects.get().reserved_usd == Decimal("0.0036")


def test_a_signature_that_was_used_stops_its_own_call_and_no_other(world: World) -> None:
    credential = credential_of(world.gus.gateway)
    asks = []
    for nonce in ("once-once-once-once", "twice-twice-twice-1", "twice-twice-twice-1"):
        ask = ASKS[AUTHORIZE](question(world), credential=credential, nonce=nonce)
        assert isinstance(ask, Ask)
        asks.append(ask)
    with connection.cursor() as cursor:
        cursor.execute(*statement(Kind.AUTHORIZE, asks))
        statuses = [answer.status for answer in answers(asks, cursor.fetchall())]
    assert statuses == [200, 200, 401]
    assert Reservation.objects.count() == 2


def test_calls_of_an_unpriced_model_are_counted_until_somebody_prices_it(world: World) -> None:
    unpriced = make_model("unpriced", tier=1)
    authorize(world, question(world, model="unpriced"), question(world, model="unpriced"))
    first = UnpricedCall.objects.get()
    authorize(world, question(world, model="unpriced"))
    counted = UnpricedCall.objects.get()
    assert (counted.model, first.calls, counted.calls) == (unpriced, 2, 3)
    assert counted.first_at == first.first_at < counted.last_at
    for unit in ("input", "output"):
        world.price(unpriced, unit, "0.000001")
    assert authorize(world, question(world, model="unpriced"))[0].status == 200
    assert UnpricedCall.objects.get().calls == 3
