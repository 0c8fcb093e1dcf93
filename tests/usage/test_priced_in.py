"""A call is compared and priced again in the service class, and with the parts, it was priced in at first."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from budgets.models import ScopeKind
from catalog.models import Context
from core import clock
from tests.gateway.conftest import World, build_world
from tests.gateway.test_pull import Journal, allowed, row, yesterday
from tests.gateway.test_push import push
from tests.gateway.test_push import row as pushed_row
from tests.usage.test_repricing import administrator, contract, propose, run
from usage import services
from usage.models import DiscrepancyClass, GatewayCall, UsageEvent
from usage.services import pull_source, reconcile_day


@pytest.fixture
def world(db: None) -> World:
    made = build_world()
    made.budget("key", kind=ScopeKind.KEY, limit="10")
    return made


def differing(world: World, reservation: str, **counts: int) -> None:
    """Let the gateway's own record tell other figures of a call."""
    event = UsageEvent.objects.get(external_id=reservation)
    GatewayCall.objects.filter(external_id=reservation).delete()
    GatewayCall.objects.create(
        source=world.gus.gateway.public_id, external_id=reservation, at=event.at, pulled_at=clock.now(),
        model_name="small", finish="stop", **{"input_tokens": 200, "output_tokens": 50} | counts,
    )  # fmt: skip


def test_usage_that_a_gateway_told_is_priced_again_in_its_own_class(world: World) -> None:
    world.price(world.small, "input", "0.0000005", context=Context.BATCH)
    world.price(world.small, "output", "0.000001", context=Context.BATCH)
    push(world.gus, [pushed_row(world, "batch", context="batch"), pushed_row(world, "plain")])
    assert UsageEvent.objects.get(external_id="batch").cost_usd == Decimal("0.0006")
    contract(world, "0.00000025", context="batch")

    mine = propose(world, administrator("Ann"))

    assert (mine.calls, mine.old_usd, mine.new_usd) == (1, Decimal("0.0006"), Decimal("0.00035"))
    services.approve_repricing(actor=administrator("Bea"), repricing=mine)
    assert run() == 1
    assert UsageEvent.objects.get(calls=0).external_id.startswith("batch:")


def test_one_call_told_in_another_class_is_a_conflict(world: World) -> None:
    at = clock.now().isoformat()
    push(world.gus, [pushed_row(world, "one", context="batch", at=at)])
    again = push(world.gus, [pushed_row(world, "one", context="batch", at=at)]).json()
    other = push(world.gus, [pushed_row(world, "one", context="priority", at=at)]).json()
    assert (again["known"], other["known"], other["quarantined"]) == (1, 0, 1)


def test_other_tokens_are_worth_what_the_call_was_priced_in(world: World) -> None:
    world.price(world.small, "input", "0.00001", context=Context.PRIORITY)
    world.price(world.small, "output", "0.00002", context=Context.PRIORITY)
    journal = Journal(world.gus.gateway.public_id)
    reservation = allowed(world, days_ago=1, context="priority")
    world.gus.settle(reservation)
    pull_source(source=journal)
    differing(world, reservation, input_tokens=300)

    found = reconcile_day(source=journal.name, day=yesterday()).discrepancies.get()

    assert (found.kind, found.amount_usd) == (DiscrepancyClass.TOKEN_MISMATCH, Decimal("0.001"))


def test_other_tokens_are_worth_the_step_of_their_own_input(world: World) -> None:
    world.price(world.small, "input", "0.000004", tier_start=1_000)
    journal = Journal(world.gus.gateway.public_id)
    reservation = allowed(world, days_ago=1)
    world.gus.settle(reservation)
    pull_source(source=journal)
    differing(world, reservation, input_tokens=2_000)

    found = reconcile_day(source=journal.name, day=yesterday()).discrepancies.get()

    # 2,000 in at 4 and 50 out at 2, less 200 in at 1 and 50 out at 2 millionths of a dollar
    assert found.amount_usd == Decimal("0.0078")


def test_a_call_without_cost_is_worth_what_its_class_and_units_cost(world: World) -> None:
    world.price(world.small, "input", "0.00001", context=Context.PRIORITY)
    world.price(world.small, "second", "0.001")
    journal = Journal(world.gus.gateway.public_id)
    at = (clock.now() - timedelta(days=1)).isoformat()
    free = pushed_row(world, "free", at=at, context="priority", usage={"units": {"second": 2}})
    push(world.gus, [free])
    UsageEvent.objects.filter(external_id="free").update(cost_usd=0)
    pull_source(source=journal)

    found = reconcile_day(source=journal.name, day=yesterday()).discrepancies.get()

    # 1,000 in at ten and 100 out at two millionths of a dollar; two seconds at a tenth of a cent
    assert (found.kind, found.amount_usd) == (DiscrepancyClass.ZERO_COST, Decimal("0.0122"))


@pytest.mark.parametrize(
    ("price", "told", "amount"),
    [("0.000010", 30, "0.00024"), ("0.000010", 0, None), (None, 30, None)],
    ids=["dearer", "not told apart", "at the price of output"],
)
def test_reasoning_counts_where_it_has_a_price_of_its_own(
    world: World, price: str | None, told: int, amount: str | None
) -> None:
    if price:
        world.price(world.small, "reasoning", price)
    journal = Journal(world.gus.gateway.public_id)
    same, other = allowed(world, days_ago=1), allowed(world, days_ago=1)
    for reservation in (same, other):
        world.gus.settle(reservation, usage={"reasoning_tokens": 0 if told else 20})
        journal.rows.append(row(reservation))
    pull_source(source=journal)
    differing(world, other, reasoning_tokens=told)

    found = reconcile_day(source=journal.name, day=yesterday()).discrepancies

    kinds = [(DiscrepancyClass.TOKEN_MISMATCH, Decimal(amount))] if amount else []
    assert list(found.values_list("kind", "amount_usd")) == kinds
