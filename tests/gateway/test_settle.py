"""What happens after a call: settle, release, expire, and the charges that arrive late, twice or
contradictory.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection

from budgets.models import Balance, Entry, EntryKind, Reservation, ReservationState, ScopeKind, Window
from core import clock
from gateway.models import Gateway
from tests.gateway.conftest import Gus, World
from usage.models import Quarantine, UsageDay, UsageEvent
from usage.services import expire_holds


@pytest.fixture
def held(world: World) -> str:
    """Return a reservation that holds $0.0012 on a key budget of $5 and a team budget of $100."""
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    world.budget("team", kind=ScopeKind.TEAM, limit="100", window=Window.MONTH)
    reservation: str = world.gus.authorize(world.token).json()["reservation"]
    return reservation


def expire(reservation: str, *, seconds_ago: int = 3_600) -> None:
    """Move a reservation's time into the past, as the database's clock would."""
    end = clock.now() - timedelta(seconds=seconds_ago)
    Reservation.objects.filter(public_id=reservation).update(
        authorized_at=end - timedelta(seconds=600), expires_at=end
    )


def test_settling_moves_what_was_used_to_spent_and_frees_the_rest(world: World, held: str) -> None:
    answer = world.gus.settle(held, input_tokens=200, output_tokens=50)
    assert answer.status_code == 200
    assert answer.json() == {
        "reservation": held,
        "status": "settled",
        "charged_usd": "0.000300000000",
        "held_usd": "0.001200000000",
    }
    assert set(Balance.objects.values_list("spent_usd", "reserved_usd")) == {(Decimal("0.0003"), Decimal(0))}
    entry = Entry.objects.get()
    assert (entry.kind, entry.amount_usd, entry.overrun_usd) == (EntryKind.SETTLE, Decimal("0.0003"), 0)
    assert len(entry.price_ids) == 2


def test_an_event_and_its_day_are_written_with_the_attribution_of_the_call(world: World, held: str) -> None:
    world.gus.settle(held)
    event, day = UsageEvent.objects.get(), UsageDay.objects.get()
    assert (event.source, event.external_id, event.cost_usd) == (
        world.gus.gateway.public_id,
        held,
        Decimal("0.0003"),
    )
    assert (day.calls, day.cost_usd, day.input_tokens, day.output_tokens) == (1, Decimal("0.0003"), 200, 50)
    assert (day.key_id, day.project_id, day.team_id, day.owner_id, day.tier_id) == (
        world.key.pk,
        world.project.pk,
        world.team.pk,
        world.ada.pk,
        1,
    )


def test_the_same_settlement_again_changes_nothing(world: World, held: str) -> None:
    world.gus.settle(held)
    again = world.gus.settle(held)
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    assert again.json()["charged_usd"] == "0.000300000000"
    assert Entry.objects.count() == UsageEvent.objects.count() == 1


def test_other_figures_the_second_time_are_a_conflict_that_a_person_sees(world: World, held: str) -> None:
    world.gus.settle(held)
    other = world.gus.settle(held, output_tokens=51)
    assert (other.status_code, other.json()["code"]) == (409, "settlement_conflict")
    world.gus.settle(held, output_tokens=51)
    assert Quarantine.objects.get().external_id == held
    assert Balance.objects.filter(spent_usd=Decimal("0.0003")).count() == 2


def test_cached_and_reasoning_tokens_cost_what_they_cost(world: World, held: str) -> None:
    world.price(world.small, "cached", "0.0000001")
    world.price(world.small, "reasoning", "0.000004")
    answer = world.gus.settle(
        held, input_tokens=100, output_tokens=20, usage={"cached_tokens": 40, "reasoning_tokens": 5}
    )
    assert answer.json()["charged_usd"] == "0.000114000000"  # 60 + 40/10 + 15*2 + 5*4 = 114 µ$


def test_a_cost_is_rounded_once_half_to_even(world: World, held: str) -> None:
    world.price(world.small, "cached", "0.0000000000005")
    costs = [
        world.gus.settle(reservation, input_tokens=n, output_tokens=0, usage={"cached_tokens": n}).json()[
            "charged_usd"
        ]
        for n, reservation in ((1, held), (3, world.gus.authorize(world.token).json()["reservation"]))
    ]
    assert costs == ["0.000000000000", "0.000000000002"]


def test_what_was_served_is_priced_not_what_was_asked(world: World, held: str) -> None:
    answer = world.gus.settle(held, served_model="large", input_tokens=10, output_tokens=10)
    assert answer.json()["charged_usd"] == "0.000500000000"
    assert UsageEvent.objects.get().tier_id == 2


def test_more_than_was_held_settles_in_full_as_an_overrun(world: World, held: str) -> None:
    world.gus.settle(held, input_tokens=2_000, output_tokens=100)
    entry = Entry.objects.get()
    assert (entry.amount_usd, entry.overrun_usd) == (Decimal("0.0022"), Decimal("0.0010"))


def test_an_answer_from_the_gateways_cache_costs_nothing(world: World, held: str) -> None:
    assert world.gus.settle(held, cache_hit=True).json()["charged_usd"] == "0.000000000000"
    assert UsageEvent.objects.get().input_tokens == 200


def test_a_cancelled_call_costs_at_least_its_input(world: World, held: str) -> None:
    assert (
        world.gus.settle(held, input_tokens=200, output_tokens=0, finish="cancelled").json()["charged_usd"]
        == "0.000200000000"
    )
    blind = world.gus.authorize(world.token).json()["reservation"]
    assert (
        world.gus.settle(blind, input_tokens=0, output_tokens=0, finish="cancelled").json()["charged_usd"]
        == "0.001000000000"
    )


def test_a_cancelled_call_whose_input_was_not_counted_costs_its_bound_and_its_output(
    world: World, held: str
) -> None:
    world.price(world.small, "reasoning", "0.000003")
    usage = {"input_tokens": 0, "output_tokens": 50, "reasoning_tokens": 20}
    told = {"reservation": held, "usage": usage, "finish": "cancelled"}
    charged = world.gus.post("/gateway/v1/settle", told).json()["charged_usd"]
    assert charged == "0.001120000000"  # 1,000 bytes at 1 µ$, 30 tokens at 2 and 20 at 3
    assert world.gus.post("/gateway/v1/settle", told).json()["status"] == "duplicate"


def test_a_release_frees_the_hold_and_charges_nothing(world: World, held: str) -> None:
    assert world.gus.release(held).json() == {"reservation": held, "status": "released"}
    assert world.gus.release(held).json()["status"] == "duplicate"
    assert set(Balance.objects.values_list("spent_usd", "reserved_usd")) == {(Decimal(0), Decimal(0))}
    assert Entry.objects.count() == 0


def test_a_settled_call_cannot_be_released(world: World, held: str) -> None:
    world.gus.settle(held)
    answer = world.gus.release(held)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_settled")


def test_usage_of_a_released_call_still_posts_because_money_was_spent(world: World, held: str) -> None:
    world.gus.release(held)
    assert world.gus.settle(held).json()["status"] == "late"
    assert Entry.objects.get().kind == EntryKind.LATE


def test_a_settlement_after_its_time_posts_once_flagged_late(world: World, held: str) -> None:
    expire(held, seconds_ago=1)
    assert world.gus.settle(held).json()["status"] == "late"
    assert world.gus.settle(held).json()["status"] == "duplicate"
    assert UsageEvent.objects.get().late


def test_a_call_that_never_settles_is_charged_its_input_bound_once(world: World, held: str) -> None:
    assert expire_holds() == 0
    expire(held)
    assert expire_holds() == 1
    assert expire_holds() == 0
    reservation = Reservation.objects.get()
    assert reservation.state == ReservationState.UNSETTLED
    assert Entry.objects.get().amount_usd == Decimal("0.001")
    assert set(Balance.objects.values_list("spent_usd", "reserved_usd")) == {(Decimal("0.001"), Decimal(0))}


def test_the_truth_about_an_unsettled_call_takes_the_charge_back(world: World, held: str) -> None:
    expire(held)
    expire_holds()
    assert world.gus.settle(held).json() == {
        "reservation": held,
        "status": "late",
        "charged_usd": "0.000300000000",
        "held_usd": "0.001200000000",
    }
    correction = Entry.objects.get(kind=EntryKind.CORRECTION)
    assert correction.corrects is not None
    assert correction.corrects.kind == EntryKind.UNSETTLED
    assert set(Balance.objects.values_list("spent_usd", flat=True)) == {Decimal("0.0003")}
    day = UsageDay.objects.get()
    assert (day.calls, day.cost_usd, day.input_tokens) == (1, Decimal("0.0003"), 200)


def test_a_release_of_an_unsettled_call_takes_the_charge_back(world: World, held: str) -> None:
    expire(held)
    expire_holds()
    assert world.gus.release(held).json()["status"] == "released"
    assert set(Balance.objects.values_list("spent_usd", flat=True)) == {Decimal(0)}


def test_a_settlement_counts_in_the_window_of_its_authorisation(world: World, held: str) -> None:
    start = Balance.objects.get(budget=world.budgets["key"]).window_start
    yesterday = start - timedelta(days=1)
    Reservation.objects.filter(public_id=held).update(authorized_at=yesterday)
    world.gus.settle(held)
    assert Balance.objects.get(budget=world.budgets["key"]).spent_usd == Decimal("0.0003")
    assert UsageDay.objects.get().day == yesterday.date()


def test_another_gateway_cannot_settle_or_release_the_call(world: World, held: str) -> None:
    stranger = Gus(Gateway.objects.create(name="other", live_versions=[1]))
    assert stranger.settle(held).status_code == 404
    assert stranger.release(held).status_code == 404
    assert Reservation.objects.get().state == ReservationState.OPEN


def test_an_unknown_reservation_is_a_404(world: World) -> None:
    answer = world.gus.settle("rsv_nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "reservation_unknown")


def test_a_batch_answers_each_item_in_order_and_one_bad_item_stops_nothing(world: World, held: str) -> None:
    second = world.gus.authorize(world.token).json()["reservation"]
    good = {"usage": {"input_tokens": 1, "output_tokens": 1}, "finish": "stop"}
    items = [
        {"reservation": second, **good},
        {"reservation": "rsv_nothing", **good},
        {"reservation": held, "usage": {"input_tokens": -1}, "finish": "stop"},
        {"reservation": held, **good},
        {"reservation": held, **good},
    ]
    answer = world.gus.post("/gateway/v1/settle", {"items": items})
    assert answer.status_code == 200
    assert [result["status"] for result in answer.json()["results"]] == [
        "settled",
        "unknown",
        "invalid",
        "settled",
        "duplicate",
    ]
    assert answer.json()["results"][2]["code"] == "usage_invalid"


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": -1},
        {"input_tokens": 10, "cached_tokens": -5},
        {"input_tokens": 10, "cached_tokens": 5, "cache_write_tokens": -5},
        {"output_tokens": 3, "reasoning_tokens": -1},
        {"input_tokens": 10**12},
        {"input_tokens": 1.5},
        {"input_tokens": True},
        {"input_tokens": "12"},
        {"input_tokens": 1, "cached_tokens": 2},
        {"input_tokens": 5, "cached_tokens": 3, "cache_write_tokens": 3},
        {"output_tokens": 1, "reasoning_tokens": 2},
    ],
)
def test_impossible_usage_is_refused_and_nothing_is_booked(
    world: World, held: str, usage: dict[str, object]
) -> None:
    answer = world.gus.post("/gateway/v1/settle", {"reservation": held, "usage": usage, "finish": "stop"})
    assert (answer.status_code, answer.json()["code"]) == (422, "usage_invalid")
    assert Entry.objects.count() == 0
    assert Reservation.objects.get().state == ReservationState.OPEN


def test_a_month_whose_table_nobody_made_is_made_by_its_first_settlement(world: World, held: str) -> None:
    """The job makes them three months ahead: it has not run for that long."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE usage_call_{clock.now():%Y_%m}")
    assert world.gus.settle(held).json()["status"] == "settled"
    assert UsageEvent.objects.get().cost_usd == Decimal("0.0003")


def test_a_settlement_that_is_told_again_after_its_month_was_retired_changes_nothing(
    world: World, held: str
) -> None:
    world.gus.settle(held)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM usage_call")  # as retiring a month leaves it
    again = world.gus.settle(held, input_tokens=199)
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    assert again.json()["charged_usd"] == "0.000300000000"
    assert not Quarantine.objects.exists()
