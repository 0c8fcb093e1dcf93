"""A settlement is priced in the service class that was served; the hold stays on the one that was asked."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Balance, Entry, Reservation, ScopeKind
from catalog.models import Context
from portal import ledger
from tests.gateway.conftest import World
from tests.gateway.test_leases import leased, take
from tests.gateway.test_pull import Journal, row
from tests.gateway.test_settle import expire
from usage.models import Quarantine, UsageDay, UsageEvent
from usage.services import expire_holds, pull_source

STANDARD, BATCH, PRIORITY = "0.000300000000", "0.000150000000", "0.003000000000"


@pytest.fixture(autouse=True)
def classes(world: World) -> None:
    """Give the cheap model a class at half of its price and one at ten times."""
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    for context, of_standard in ((Context.BATCH, "0.5"), (Context.PRIORITY, "10")):
        for unit, usd in (("input", "0.000001"), ("output", "0.000002")):
            world.price(world.small, unit, str(Decimal(usd) * Decimal(of_standard)), context=context)


def held(world: World, context: str = "standard") -> str:
    reservation: str = world.gus.authorize(world.token, context=context).json()["reservation"]
    return reservation


@pytest.mark.parametrize(
    ("asked", "served", "charged", "is_estimated"),
    [
        ("priority", "standard", STANDARD, False),
        ("priority", "batch", BATCH, False),
        ("standard", "batch", BATCH, False),
        ("standard", "priority", PRIORITY, False),
        ("priority", None, PRIORITY, False),
        ("priority", "priority", PRIORITY, False),
        ("standard", "flex", PRIORITY, False),
        ("batch", "scale", PRIORITY, True),
        ("unknown", "standard", STANDARD, False),
        ("standard", "unknown", PRIORITY, True),
    ],
)
def test_what_was_served_is_priced_in_every_book(
    world: World, *, asked: str, served: str | None, charged: str, is_estimated: bool
) -> None:
    reservation = held(world, asked)
    answer = world.gus.settle(reservation, served_context=served).json()
    assert (answer["status"], answer["charged_usd"]) == ("settled", charged)

    event, entry, day, balance = (
        UsageEvent.objects.get(), Entry.objects.get(), UsageDay.objects.get(), Balance.objects.get(),
    )  # fmt: skip
    assert {event.cost_usd, entry.amount_usd, day.cost_usd, balance.spent_usd} == {Decimal(charged)}
    assert (event.context, event.estimated) == (None if served == asked else served, is_estimated)
    assert Reservation.objects.get().context == asked
    assert balance.reserved_usd == 0
    assert ledger.verify().findings == ()


def test_a_dearer_class_than_was_held_is_an_overrun_and_the_hold_is_that_of_the_asked_one(
    world: World,
) -> None:
    answer = world.gus.settle(held(world), served_context="priority").json()
    assert (answer["held_usd"], answer["charged_usd"]) == ("0.001200000000", PRIORITY)
    assert Entry.objects.get().overrun_usd == Decimal("0.0018")


def test_a_cheaper_class_frees_what_the_asked_one_held(world: World) -> None:
    answer = world.gus.settle(held(world, "priority"), served_context="standard").json()
    assert (answer["held_usd"], answer["charged_usd"]) == ("0.012000000000", STANDARD)
    assert Entry.objects.get().overrun_usd == 0


def test_the_output_of_a_cancelled_call_is_priced_in_the_class_that_wrote_it(world: World) -> None:
    usage = {"input_tokens": 0, "output_tokens": 50}
    answer = world.gus.settle(held(world), **usage, finish="cancelled", served_context="batch")
    assert answer.json()["charged_usd"] == "0.001050000000"  # 1,000 bytes as held at 1 µ$, 50 tokens at 1


def test_a_batch_prices_each_call_in_its_own_class_as_one_by_one(world: World) -> None:
    classes: list[Any] = ["standard", "batch", None, "priority", "scale", 7, "x" * 17, "no spaces", ""]
    usage = {"input_tokens": 200, "output_tokens": 50}
    items = [
        {"reservation": held(world, "batch"), "usage": usage, "finish": "stop", "served_context": told}
        for told in classes
    ]
    results = world.gus.post("/gateway/v1/settle", {"items": items}).json()["results"]
    assert [one.get("charged_usd") for one in results[:5]] == [STANDARD, BATCH, BATCH, PRIORITY, PRIORITY]
    assert {(one["status"], one["code"]) for one in results[5:]} == {("invalid", "invalid_request")}
    for told, item in zip(classes[5:], items[5:], strict=True):
        answer = world.gus.post("/gateway/v1/settle", item)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "served_context"), told
    alone = [world.gus.settle(held(world, "batch"), served_context=told).json() for told in classes[:5]]
    assert [one["charged_usd"] for one in alone] == [one["charged_usd"] for one in results[:5]]


@pytest.mark.parametrize(
    ("asked", "first", "second", "status"),
    [
        ("priority", "standard", "standard", "duplicate"),
        ("priority", "standard", None, "duplicate"),
        ("priority", None, "priority", "duplicate"),
        ("priority", "standard", "priority", "conflict"),
        ("standard", None, "batch", "conflict"),
    ],
)
def test_told_twice_another_class_is_another_figure(
    world: World, *, asked: str, first: str | None, second: str | None, status: str
) -> None:
    reservation = held(world, asked)
    usage = {"input_tokens": 200, "output_tokens": 50}
    charged = world.gus.settle(reservation, served_context=first).json()["charged_usd"]
    item = {"reservation": reservation, "usage": usage, "finish": "stop", "served_context": second}
    [again] = world.gus.post("/gateway/v1/settle", {"items": [item]}).json()["results"]
    assert (again["status"], again["charged_usd"]) == (status, charged)
    assert Quarantine.objects.count() == (status == "conflict")
    assert Entry.objects.count() == 1


def test_a_call_that_was_charged_for_want_of_news_is_priced_in_its_class_after_all(world: World) -> None:
    reservation = held(world, "priority")
    expire(reservation)
    assert expire_holds() == 1
    answer = world.gus.settle(reservation, served_context="standard").json()
    assert (answer["status"], answer["charged_usd"]) == ("late", STANDARD)
    assert Balance.objects.get().spent_usd == Decimal(STANDARD)
    assert ledger.verify().findings == ()


def test_a_call_under_a_lease_is_priced_in_the_class_that_served_it(world: World) -> None:
    item = leased(take(world).json()["lease"], served_context="batch")
    assert world.gus.post("/gateway/v1/settle", item).json()["charged_usd"] == BATCH
    assert UsageEvent.objects.get().context == "batch"


def test_a_journal_tells_the_class_as_a_settlement_does(world: World) -> None:
    journal = Journal(world.gus.gateway.public_id)
    lost, told, bad = (held(world, "priority") for _ in range(3))
    world.gus.settle(told, served_context="standard")
    journal.rows = [
        row(lost, served_context="scale"),
        row(told, served_context="standard"),
        row(bad, served_context="x" * 17),
    ]
    counts = pull_source(source=journal)
    assert (counts.booked, counts.known, counts.quarantined) == (1, 1, 1)
    event = UsageEvent.objects.get(external_id=lost)
    assert (event.cost_usd, event.context, event.estimated) == (Decimal(PRIORITY), "scale", True)
    assert Quarantine.objects.get().reason == "malformed"
