"""What is not counted in tokens (seconds, images, characters) is held, settled and compared like tokens."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Balance, Entry, Reservation, ScopeKind
from tests.gateway.conftest import World, make_model
from usage.models import Quarantine, UsageEvent

HEAR = "/v1/audio/transcriptions"


@pytest.fixture
def hearing(world: World) -> World:
    """Price a model by the second, at a tenth of a cent, under a budget of $1."""
    made = make_model("hearing", tier=1, mode="transcription", max_output_tokens=None)
    world.price(made, "second", "0.001")
    world.budget("key", kind=ScopeKind.KEY, limit="1")
    return world


def hear(world: World, **changes: Any) -> Any:
    fields = {"model": "hearing", "route": HEAR, "max_output_tokens": None, "units": {"second": 60.5}}
    return world.gus.authorize(world.token, **fields | changes)


def test_the_bound_that_the_caller_sends_is_held(hearing: World) -> None:
    answer = hear(hearing)
    assert answer.json()["held_usd"] == "0.060500000000"
    assert answer.json()["max_output_tokens"] is None
    assert Balance.objects.get().reserved_usd == Decimal("0.0605")
    assert Reservation.objects.get().units == {"second": 60.5}


def test_without_one_the_model_says_what_a_call_may_use_at_most(world: World) -> None:
    painting = make_model("painting", tier=1, mode="image", max_output_tokens=None, hold_units={"image": 4})
    world.price(painting, "image", "0.02")
    route = "/v1/images/generations"
    bounded = world.gus.authorize(world.token, model="painting", route=route, max_output_tokens=None)
    assert bounded.json()["held_usd"] == "0.080000000000"
    told = {"units": {"image": 1}, "max_output_tokens": None}
    assert world.gus.authorize(world.token, model="painting", route=route, **told).json()["held_usd"] == (
        "0.020000000000"
    )


@pytest.mark.parametrize("units", [None, {}, {"character": 7}])
def test_a_call_that_nothing_bounds_is_refused(hearing: World, units: Any) -> None:
    answer = hear(hearing, units=units)
    assert (answer.status_code, answer.json()["code"]) == (422, "use_unbounded")
    assert "hearing" in answer.json()["detail"]
    assert Reservation.objects.count() == 0


def test_a_unit_that_costs_nothing_needs_no_bound(world: World) -> None:
    speaking = make_model("speaking", tier=1, mode="speech", max_output_tokens=None)
    world.price(speaking, "character", "0")
    answer = world.gus.authorize(
        world.token, model="speaking", route="/v1/audio/speech", max_output_tokens=None
    )
    assert (answer.status_code, answer.json()["held_usd"]) == (200, "0.000000000000")


def test_what_was_used_is_priced_and_booked(hearing: World) -> None:
    reservation = hear(hearing).json()["reservation"]
    usage = {"units": {"second": 12.25}}
    answer = hearing.gus.settle(reservation, input_tokens=0, output_tokens=0, usage=usage)
    assert answer.json()["charged_usd"] == "0.012250000000"
    assert Balance.objects.get().spent_usd == Decimal("0.01225")
    assert (UsageEvent.objects.get().units, Entry.objects.get().tokens["second"]) == (
        {"second": 12.25},
        12.25,
    )


def test_other_units_the_second_time_are_a_conflict(hearing: World) -> None:
    reservation = hear(hearing).json()["reservation"]
    same, other = ({"units": {"second": count}} for count in (12, 13))
    for usage, status in ((same, 200), (same, 200), (other, 409)):
        answer = hearing.gus.settle(reservation, input_tokens=0, output_tokens=0, usage=dict(usage))
        assert answer.status_code == status
    assert Quarantine.objects.count() == Entry.objects.count() == 1


def test_a_call_never_heard_of_again_costs_what_it_was_bounded_by(hearing: World) -> None:
    reservation = hear(hearing).json()["reservation"]
    answer = hearing.gus.settle(reservation, input_tokens=0, output_tokens=0, finish="cancelled")
    assert answer.json()["charged_usd"] == "0.060500000000"


def test_a_unit_without_a_price_costs_nothing(hearing: World) -> None:
    reservation = hear(hearing).json()["reservation"]
    usage = {"units": {"second": 1, "page": 9}}
    answer = hearing.gus.settle(reservation, input_tokens=0, output_tokens=0, usage=usage)
    assert answer.json()["charged_usd"] == "0.001000000000"


@pytest.mark.parametrize("units", [{"second": -1}, {"second": "9"}, {"furlong": 1}, [1], {"second": True}])
def test_impossible_units_are_refused(hearing: World, units: Any) -> None:
    assert hear(hearing, units=units).status_code == 400
    reservation = hear(hearing).json()["reservation"]
    answer = hearing.gus.settle(reservation, usage={"units": units})
    assert (answer.status_code, answer.json()["code"]) == (422, "usage_invalid")
    assert Entry.objects.count() == 0


@pytest.fixture
def keeping(world: World) -> World:
    """Price an hour in the cache of the cheap model at three times its input, audio at four times."""
    world.price(world.small, "cache_write_1h", "0.000003")
    world.price(world.small, "input_audio", "0.000004")
    world.price(world.small, "output_audio", "0.000020")
    world.budget("key", kind=ScopeKind.KEY, limit="1")
    return world


def test_a_hold_covers_the_dearest_kind_of_token_without_being_told(keeping: World) -> None:
    answer = keeping.gus.authorize(keeping.token)  # 1,000 bytes in, 100 tokens out

    assert answer.status_code == 200
    assert Decimal(answer.json()["held_usd"]) == 1_000 * Decimal("0.000004") + 100 * Decimal("0.000020")


def test_tokens_kept_for_an_hour_and_audio_cost_more_than_what_they_are_part_of(keeping: World) -> None:
    reservation = keeping.gus.authorize(keeping.token).json()["reservation"]
    usage = {
        "cache_write_tokens": 60,
        "units": {"cache_write_1h": 50, "input_audio": 40, "output_audio": 10},
    }

    answer = keeping.gus.settle(reservation, input_tokens=200, output_tokens=50, usage=usage)

    # 150 plain, 50 for an hour of the input (140 fresh, 40 of them audio); 40 plain and 10 audio out
    assert Decimal(answer.json()["charged_usd"]) == Decimal("0.00011") + Decimal("0.00015") + Decimal(
        "0.00016"
    ) + Decimal("0.00008") + Decimal("0.0002")
    assert Entry.objects.get().tokens["cache_write_1h"] == 50


@pytest.mark.parametrize(
    "usage",
    [
        {"units": {"cache_write_1h": 1}},
        {"cache_write_tokens": 60, "units": {"cache_write_1h": 61}},
        {"cached_tokens": 150, "units": {"input_audio": 51}},
        {"units": {"input_audio": 101, "input_image": 100}},
        {"reasoning_tokens": 45, "units": {"output_audio": 6}},
        {"units": {"input_audio": 1.5}},
    ],
)
def test_parts_that_their_total_has_no_room_for_are_refused(keeping: World, usage: Any) -> None:
    reservation = keeping.gus.authorize(keeping.token).json()["reservation"]

    answer = keeping.gus.settle(reservation, input_tokens=200, output_tokens=50, usage=usage)

    assert (answer.status_code, answer.json()["code"]) == (422, "usage_invalid")
    assert Entry.objects.count() == 0


def test_a_service_class_that_nobody_knows_is_held_and_charged_at_the_dearest(keeping: World) -> None:
    keeping.price(keeping.small, "output", "0.000009", context="priority")
    reservation = keeping.gus.authorize(keeping.token, context="unknown").json()["reservation"]

    answer = keeping.gus.settle(reservation, input_tokens=0, output_tokens=10)

    assert Decimal(answer.json()["charged_usd"]) == Decimal("0.00009")
