"""Leases: money that a node holds to decide by itself, and what becomes of it."""

from __future__ import annotations

import secrets as random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from budgets.models import Balance, Entry, EntryKind, Lease, Mode, RateLimit, Reservation, ScopeKind, Window
from core import clock
from keys.models import ApiKey
from tests.factories import DepartmentFactory
from tests.gateway.conftest import World
from usage.models import ImportCursor, UsageEvent
from usage.services import expire_holds, reclaim_leases

pytestmark = pytest.mark.django_db

COST = Decimal("0.0003")  # 200 tokens in at 1 µ$, 50 out at 2 µ$


def take(world: World, want: str = "1", **changes: Any) -> Any:
    body = {
        "node": "node-1",
        "key": world.token,
        "model": "small",
        "route": "/v1/chat/completions",
        "want_usd": want,
    }
    return world.gus.post("/gateway/v1/leases", body | changes)


def leased(lease: str, *, held: str = "0.0012", **changes: Any) -> dict[str, Any]:
    """Tell of one call that the node decided under a lease."""
    call = {
        "request_id": random.token_hex(12),
        "route": "/v1/chat/completions",
        "input_tokens": 1000,
        "max_output_tokens": 100,
        "held_usd": held,
        "authorized_at": clock.now().isoformat(),
    }
    return {
        "reservation": f"rsv_{random.token_hex(14)}",
        "lease": lease,
        "call": call,
        "usage": {"input_tokens": 200, "output_tokens": 50},
        "finish": "stop",
    } | changes


def stops(world: World, node: str = "node-1") -> list[str]:
    found: list[str] = world.gus.post("/gateway/v1/leases/poll", {"node": node}).json()["stop"]
    return found


def test_a_lease_reserves_its_money_on_the_whole_path(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    world.budget("team", kind=ScopeKind.TEAM, limit="100", window=Window.MONTH)
    answer = take(world)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["added_usd"], body["held_usd"]) == ("1.000000000000", "1.000000000000")
    assert (body["input_usd"], body["output_usd"]) == ("0.000001000000000", "0.000002000000000")
    assert (body["context_window_tokens"], body["max_output_tokens"]) == (100_000, 8_000)
    assert 0 < body["seconds"] <= 30
    assert set(Balance.objects.values_list("reserved_usd", flat=True)) == {Decimal(1)}


def test_a_model_whose_hour_long_cache_has_a_price_is_lent_for_at_its_dearest(world: World) -> None:
    world.price(world.small, "cache_write_1h", "0.000003")
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    answer = take(world)
    assert answer.status_code == 200
    assert answer.json()["input_usd"] == "0.000003000000000"


def test_little_is_shared_between_nodes_and_never_more_than_there_is(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="1")
    first = Decimal(take(world, "10").json()["added_usd"])
    second = Decimal(take(world, "10", node="node-2").json()["added_usd"])
    assert first == Decimal("0.5")  # half of a fair share: alone, half of all
    assert second == Decimal("0.125")  # half of a fair share between two of what is left
    rest = [take(world, "10", node=f"node-{n}") for n in range(3, 40)]
    assert rest[-1].status_code == 429
    assert rest[-1].json()["code"] == "budget_held"
    assert Balance.objects.get().reserved_usd == 1


def test_a_lease_that_a_spent_budget_refuses_says_so_and_when_it_opens(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0012")
    world.budget("project", kind=ScopeKind.PROJECT, limit="5", window=Window.LIFETIME)
    reservation = world.gus.authorize(world.token).json()["reservation"]
    assert take(world).json()["code"] == "budget_held"

    world.gus.settle(reservation, input_tokens=1_000, output_tokens=100)

    answer = take(world)
    assert (answer.status_code, answer.json()["code"]) == (429, "budget_exhausted")
    assert answer["x-should-retry"] == "false"
    resets_in = datetime.fromisoformat(answer.json()["budget"]["resets_at"]) - clock.now()
    assert abs(int(answer["retry-after"]) - resets_in.total_seconds()) < 5


def test_a_call_decided_by_the_node_is_booked_like_any_other(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lease = take(world).json()["lease"]
    item = leased(lease)
    assert world.gus.post("/gateway/v1/settle", {"items": [item]}).json()["results"][0]["status"] == "settled"
    again = world.gus.post("/gateway/v1/settle", {"items": [item]}).json()["results"][0]
    assert (again["status"], again["charged_usd"]) == ("duplicate", "0.000300000000")
    balance = Balance.objects.get()
    assert balance.spent_usd == COST
    assert balance.reserved_usd == 1 - Decimal("0.0012") == Lease.objects.get().held_usd
    event = UsageEvent.objects.get()
    assert (event.cost_usd, event.project, event.late) == (COST, world.project, False)


def test_one_batch_draws_many_calls_and_settles_asked_ones_too(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lease = take(world).json()["lease"]
    asked = world.gus.authorize(world.token).json()["reservation"]
    items = [leased(lease) for _ in range(5)]
    items.append(
        {"reservation": asked, "usage": {"input_tokens": 200, "output_tokens": 50}, "finish": "stop"}
    )
    results = world.gus.post("/gateway/v1/settle", {"items": items}).json()["results"]
    assert [result["status"] for result in results] == ["settled"] * 6
    assert Balance.objects.get().spent_usd == 6 * COST
    assert Lease.objects.get().held_usd == 1 - 5 * Decimal("0.0012")


def test_a_lease_never_hands_out_more_than_it_holds(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lease = take(world, "0.05").json()["lease"]
    item = leased(lease, held="0.2", usage={"input_tokens": 100_000, "output_tokens": 8_000})
    result = world.gus.post("/gateway/v1/settle", {"items": [item]}).json()["results"][0]
    assert result["charged_usd"] == "0.116000000000"
    entry = Entry.objects.get()
    assert (entry.amount_usd, entry.overrun_usd) == (Decimal("0.116"), Decimal("0.066"))
    assert Lease.objects.get().held_usd == 0
    assert Balance.objects.get().reserved_usd == 0


def test_topping_up_prolongs_the_same_lease(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lease = take(world).json()["lease"]
    more = take(world, "0.5", lease=lease).json()
    assert (more["lease"], more["added_usd"], more["held_usd"]) == (lease, "0.500000000000", "1.500000000000")
    assert Lease.objects.count() == 1


def test_a_wish_that_was_left_without_an_answer_finds_the_lease_that_it_opened(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lost = take(world, lease="wish_1").json()
    again = take(world, lease="wish_1").json()
    assert (again["lease"], again["added_usd"], again["held_usd"]) == (
        lost["lease"], "1.000000000000", "1.000000000000",
    )  # fmt: skip
    assert Balance.objects.get().reserved_usd == 1
    other = take(world, lease="wish_2").json()
    assert other["lease"] != lost["lease"]
    assert take(world, lease="wish_1", node="node-2").json()["lease"] not in (lost["lease"], other["lease"])
    assert take(world, "0.5", lease=lost["lease"]).json()["held_usd"] == "1.500000000000"


def test_a_wish_is_found_again_after_its_lease_has_ended(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lost = take(world, lease="wish_1").json()
    ago = clock.now() - timedelta(minutes=5)
    Lease.objects.update(opened_at=ago, expires_at=ago + timedelta(seconds=30))
    again = take(world, lease="wish_1").json()
    assert again["lease"] == lost["lease"]
    assert again["seconds"] > 29
    assert Balance.objects.get().reserved_usd == 1


def test_a_lease_is_reclaimed_after_the_longest_call_that_it_can_have_let_through(
    world: World, settings: Settings
) -> None:
    settings.HOLD_SECONDS = 600
    settings.HOLD_SECONDS_FOR = {"/v1/responses": 1_800, "/v1/embeddings": 60, "/v1/audio/speech": 7_200}
    take(world)
    lease = Lease.objects.get()
    assert (lease.reclaim_at - lease.expires_at).seconds == 1_800


@pytest.mark.parametrize("change", ["refused", "another path"])
def test_a_wish_that_nobody_will_come_for_is_reclaimed_at_once(world: World, change: str) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    take(world, lease="wish_1")
    if change == "refused":
        ApiKey.objects.update(suspended_at=clock.now(), suspended_reason="runaway")
        assert take(world, lease="wish_1").status_code == 403
    else:
        world.budget("team", kind=ScopeKind.TEAM, limit="5")
        assert take(world, lease="wish_1").json()["added_usd"] == "1.000000000000"
    first = Lease.objects.earliest("pk")
    assert first.wish is None
    assert first.reclaim_at <= clock.now()
    Lease.objects.filter(pk=first.pk).update(
        opened_at=first.opened_at - timedelta(hours=1),
        expires_at=first.opened_at - timedelta(minutes=59),
        reclaim_at=first.opened_at - timedelta(minutes=59) + (first.reclaim_at - first.expires_at),
    )
    assert reclaim_leases() == 1
    assert Lease.objects.get(pk=first.pk).unheard_usd == 0  # its node never knew of it
    assert Balance.objects.earliest("pk").reserved_usd == sum(
        Lease.objects.filter(closed_at=None).values_list("held_usd", flat=True)
    )


def test_a_lost_answer_to_a_lease_that_had_to_be_another_one_is_found_too(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    first = take(world, lease="wish_1").json()["lease"]
    world.budget("team", kind=ScopeKind.TEAM, limit="5")
    lost = take(world, lease=first).json()["lease"]
    assert lost != first
    assert take(world, lease=first).json()["lease"] == lost
    assert Lease.objects.count() == 2


def test_what_a_node_gives_back_is_free_at_once(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lease = take(world).json()["lease"]
    answer = world.gus.post("/gateway/v1/leases/return", {"lease": lease, "keep_usd": "0.2"})
    assert answer.json()["status"] == "returned"
    assert Balance.objects.get().reserved_usd == Decimal("0.2")
    answer = world.gus.post("/gateway/v1/leases/return", {"lease": lease, "keep_usd": "0"})
    assert answer.json()["status"] == "closed"
    assert Balance.objects.get().reserved_usd == 0
    assert world.gus.post("/gateway/v1/leases/return", {"lease": "lse_x", "keep_usd": "0"}).status_code == 404


def test_a_dead_nodes_lease_is_reclaimed_and_its_late_call_is_charged_all_the_same(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lease = take(world).json()["lease"]
    assert reclaim_leases() == 0
    ago = clock.now() - timedelta(hours=1)
    Lease.objects.update(
        opened_at=ago, expires_at=ago + timedelta(seconds=30), reclaim_at=ago + timedelta(seconds=60)
    )
    assert reclaim_leases() == 1
    assert Balance.objects.get().reserved_usd == 0
    result = world.gus.post("/gateway/v1/settle", {"items": [leased(lease)]}).json()["results"][0]
    assert (result["status"], result["charged_usd"]) == ("late", "0.000300000000")
    entry = Entry.objects.get()
    assert (entry.kind, entry.overrun_usd) == (EntryKind.LATE, COST)
    assert Reservation.objects.get().authorized_at == ago + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("read_at", "doubted"), [(None, True), (-1, True), (31, False)], ids=["never", "before", "since"]
)
def test_what_a_lost_node_never_gave_back_is_in_doubt_until_its_journal_is_read(
    world: World, caplog: pytest.LogCaptureFixture, read_at: int | None, doubted: bool
) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lease = take(world).json()["lease"]
    world.gus.post("/gateway/v1/settle", {"items": [leased(lease)]})
    world.gus.post("/gateway/v1/leases/return", {"lease": lease, "keep_usd": "0.4"})
    ago = clock.now() - timedelta(hours=1)
    end = ago + timedelta(seconds=30)
    Lease.objects.update(opened_at=ago, expires_at=end, reclaim_at=end + timedelta(seconds=30))
    if read_at is not None:
        ImportCursor.objects.create(
            source=world.gus.gateway.public_id, last_success_at=ago + timedelta(seconds=read_at)
        )

    assert reclaim_leases() == 1

    assert Lease.objects.get().unheard_usd == Decimal("0.4")
    said: list[Any] = [record.msg for record in caplog.records if "lease.ended_unheard" in str(record.msg)]
    assert [(line["lease"], line["in_doubt_usd"]) for line in said] == [(lease, "0.400000000000")] * doubted


def test_a_lease_that_its_node_gave_back_leaves_no_doubt(world: World) -> None:
    lease = take(world).json()["lease"]
    world.gus.post("/gateway/v1/leases/return", {"lease": lease, "keep_usd": "0"})
    assert Lease.objects.get().unheard_usd == 0


def test_a_lease_that_ended_is_kept_while_a_call_of_it_may_go_on(world: World) -> None:
    take(world)
    ago = clock.now() - timedelta(hours=1)
    Lease.objects.update(
        opened_at=ago, expires_at=ago + timedelta(seconds=30), reclaim_at=clock.now() + timedelta(seconds=5)
    )
    assert reclaim_leases() == 0


def test_nothing_is_recalled_while_nothing_changes(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    take(world)
    assert stops(world) == []
    assert stops(world, "node-2") == []


@pytest.mark.parametrize(
    "change", ["revoked", "suspended", "limit", "rate", "budget", "archived", "moved", "left", "grant"]
)
def test_a_change_that_matters_recalls_the_lease(world: World, change: str) -> None:
    budget = world.budget("key", kind=ScopeKind.KEY, limit="5")
    grant = world.grant(tier=2)
    lease = take(world, model="large").json()["lease"]
    match change:
        case "revoked":
            ApiKey.objects.update(revoked_at=clock.now(), revoked_reason="leaked")
        case "suspended":
            ApiKey.objects.update(suspended_at=clock.now(), suspended_reason="runaway")
        case "limit":
            Lease.objects.update(opened_at=clock.now() - timedelta(minutes=1))
            world.limit(budget, "4")
        case "rate":
            RateLimit.objects.create(scope_kind="team", scope_id=world.team.pk, parallel_calls=3)
        case "budget":
            world.budget("team", kind=ScopeKind.TEAM, limit="5")
        case "archived":
            type(world.project).objects.update(archived_at=clock.now())
        case "moved":
            world.team.department = DepartmentFactory.create()
            world.team.save()
        case "left":
            type(world.ada).objects.update(is_active=False)
        case _:
            type(grant).objects.update(revoked_at=clock.now(), revoked_reason="ended")
    assert stops(world) == [lease]
    assert Lease.objects.get().recalled_at is not None


@pytest.mark.parametrize(("change", "stopped"), [("hard", True), ("soft", False), ("overrun", True)])
def test_a_hard_budget_that_gave_out_more_than_it_has_recalls_its_leases(
    world: World, change: str, stopped: bool
) -> None:
    budget = world.budget("key", kind=ScopeKind.KEY, limit="0.5", mode=Mode.SOFT)
    call = world.gus.authorize(world.token).json()["reservation"]
    lease = take(world, want="0.4" if change == "overrun" else "1").json()["lease"]
    type(budget).objects.update(mode=Mode.SOFT if change == "soft" else Mode.HARD)
    if change == "overrun":
        assert stops(world) == []
        world.gus.settle(call, output_tokens=60_000)
    assert stops(world) == [lease] * stopped


def test_a_rate_limited_key_is_decided_call_by_call(world: World) -> None:
    RateLimit.objects.create(scope_kind="key", scope_id=world.key.pk, requests_per_minute=60)
    answer = take(world)
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_not_offered")


def test_a_model_that_is_priced_by_more_than_tokens_is_decided_call_by_call(world: World) -> None:
    world.price(world.small, "search", "0.01")
    answer = take(world)
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_not_offered")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"key": "psr_live_typo"}, 401, "invalid_api_key"),
        ({"model": "nothing"}, 404, "model_unknown"),
        ({"model": "large"}, 403, "tier_not_granted"),
        ({"route": "/v1/realtime"}, 403, "route_not_allowed"),
        ({"want_usd": "1e9"}, 400, "invalid_request"),
        ({"want_usd": 1.5}, 400, "invalid_request"),
        ({"surprise": 1}, 400, "invalid_request"),
    ],
)
def test_a_lease_is_refused_like_a_call(
    world: World, changes: dict[str, Any], status: int, code: str
) -> None:
    answer = take(world, **changes)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert Lease.objects.count() == 0


def test_a_lease_ends_with_the_window_that_it_was_taken_in(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    world.gus.release(world.gus.authorize(world.token).json()["reservation"])
    soon = clock.now() + timedelta(seconds=5)
    Balance.objects.update(window_end=soon)
    take(world)
    assert Lease.objects.get().expires_at == soon


@pytest.mark.parametrize(
    "damage",
    [
        {"reservation": "rsv_UPPER"},
        {"call": None},
        {"call": {"request_id": "abcdefgh"}},
    ],
)
def test_a_leased_call_that_cannot_be_read_books_nothing(world: World, damage: dict[str, Any]) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lease = take(world).json()["lease"]
    result = world.gus.post("/gateway/v1/settle", {"items": [leased(lease, **damage)]}).json()["results"][0]
    assert result["status"] == "invalid"
    assert Entry.objects.count() == 0


def in_flight(lease: str, **changes: Any) -> dict[str, Any]:
    """Tell of one call that the node allowed and that has not ended."""
    call = leased(lease, **changes)
    return {name: call[name] for name in ("reservation", "lease", "call")}


def tell(world: World, *calls: Any, node: str = "node-1") -> list[str]:
    """Poll with calls in flight; return what must stop."""
    answer = world.gus.post("/gateway/v1/leases/poll", {"node": node, "allowed": list(calls)})
    assert answer.status_code == 200
    found: list[str] = answer.json()["stop"]
    return found


def lose_the_host() -> None:
    """Let an hour pass in which nothing is heard of any node."""
    ago = clock.now() - timedelta(hours=1)
    Reservation.objects.update(authorized_at=ago, expires_at=ago + timedelta(seconds=9))
    Lease.objects.update(
        opened_at=ago, expires_at=ago + timedelta(seconds=5), reclaim_at=ago + timedelta(seconds=9)
    )
    expire_holds()
    reclaim_leases()


def test_call_in_flight_of_a_host_that_is_lost_is_charged_its_input_bound(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    call = in_flight(take(world).json()["lease"])

    assert tell(world, call) == tell(world, call) == []
    assert Balance.objects.get().reserved_usd == 1
    lose_the_host()

    entry = Entry.objects.get()
    assert (entry.kind, entry.amount_usd) == ("unsettled", Decimal("0.001"))
    assert (Balance.objects.get().spent_usd, Balance.objects.get().reserved_usd) == (Decimal("0.001"), 0)


def test_truth_about_a_call_of_a_lost_host_takes_the_charge_back(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    call = leased(take(world).json()["lease"])
    tell(world, {name: call[name] for name in ("reservation", "lease", "call")})
    lose_the_host()

    assert world.gus.post("/gateway/v1/settle", call).json()["status"] == "late"

    assert sum(Entry.objects.values_list("amount_usd", flat=True)) == Decimal("0.0003")
    assert Balance.objects.get().spent_usd == Decimal("0.0003")


def test_call_that_was_told_and_consumed_nothing_is_released(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    call = in_flight(take(world).json()["lease"])
    tell(world, call)

    released = world.gus.post("/gateway/v1/release", {"reservation": call["reservation"]})
    lose_the_host()

    assert released.json()["status"] == "released"
    assert not Entry.objects.exists()
    assert Balance.objects.get().reserved_usd == 0


def test_call_in_flight_that_cannot_be_read_stops_no_other_and_no_recall(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lease = take(world).json()["lease"]
    good = in_flight(lease)
    ApiKey.objects.update(revoked_at=clock.now(), revoked_reason="lost")

    assert tell(world, "nothing", {}, {"lease": lease}, {**good, "call": {"n": 0}}, good) == [lease]
    assert [each.public_id for each in Reservation.objects.all()] == [good["reservation"]]


def test_list_that_is_too_long_or_none_is_refused(world: World) -> None:
    lists: tuple[Any, ...] = ({}, [{}] * 1_001)
    for allowed in lists:
        answer = world.gus.post("/gateway/v1/leases/poll", {"node": "node-1", "allowed": allowed})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "allowed")


def test_another_gateway_tells_of_no_call_under_this_ones_lease(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    lease = take(world).json()["lease"]
    Lease.objects.update(source="gw_another")

    tell(world, in_flight(lease))

    assert not Reservation.objects.exists()
