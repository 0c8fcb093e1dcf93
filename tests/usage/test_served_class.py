"""What is reckoned of a call later is reckoned in the service class that it was served in."""

from __future__ import annotations

from decimal import Decimal

import pytest

from budgets.models import ScopeKind
from catalog.models import Context, NoticeKind, PriceNotice
from tests.gateway.conftest import World, build_world
from tests.gateway.test_pull import Journal, allowed, yesterday
from tests.gateway.test_pull import row as journal_row
from tests.sources.logged import lately
from tests.usage.test_priced_in import differing
from tests.usage.test_repricing import administrator, contract, propose, run
from usage import services
from usage.models import DiscrepancyClass, Quarantine, UsageDay, UsageEvent
from usage.services import check_prices, pull_source, reconcile_day
from usage.services.quarantine import AssignedCall, assign_quarantined


@pytest.fixture
def world(db: None) -> World:
    """Give the cheap model a class at half of its price and one at ten times."""
    made = build_world()
    made.budget("key", kind=ScopeKind.KEY, limit="10")
    for context, of_standard in ((Context.BATCH, "0.5"), (Context.PRIORITY, "10")):
        for unit, usd in (("input", "0.000001"), ("output", "0.000002")):
            made.price(made.small, unit, str(Decimal(usd) * Decimal(of_standard)), context=context)
    return made


def test_a_call_is_priced_again_in_the_class_that_served_it(world: World) -> None:
    for served in ("batch", "standard", None):
        world.gus.settle(allowed(world, context="priority"), served_context=served)
    contract(world, "0.00000025", context="batch")

    mine = propose(world, administrator("Ann"))

    # 200 tokens in at 0.25 in place of 0.5 millionths of a dollar, of the one that batch served
    assert (mine.calls, mine.old_usd - mine.new_usd) == (1, Decimal("0.00005"))
    services.approve_repricing(actor=administrator("Bea"), repricing=mine)
    assert run() == 1
    assert UsageDay.objects.get().cost_usd == Decimal("0.0001") + Decimal("0.0003") + Decimal("0.003")


def test_other_tokens_are_worth_what_the_class_costs_that_served(world: World) -> None:
    journal = Journal(world.gus.gateway.public_id)
    reservation = allowed(world, days_ago=1, context="priority")
    world.gus.settle(reservation, served_context="batch")
    pull_source(source=journal)
    differing(world, reservation, input_tokens=300)

    found = reconcile_day(source=journal.name, day=yesterday()).discrepancies.get()

    assert (found.kind, found.amount_usd) == (DiscrepancyClass.TOKEN_MISMATCH, Decimal("0.00005"))


@pytest.mark.parametrize(
    ("asked", "served", "named"),
    [
        ("unknown", "standard", None),
        ("unknown", None, "unknown"),
        ("flex", "batch", None),
        ("priority", "scale", "scale"),
    ],
)
def test_the_class_that_served_is_what_the_nightly_look_asks_a_price_for(
    world: World, *, asked: str, served: str | None, named: str | None
) -> None:
    world.gus.settle(allowed(world, context=asked), served_context=served)
    check_prices(published=lambda _provider, _name: [])
    found = PriceNotice.objects.filter(kind=NoticeKind.UNKNOWN_CONTEXT).first()
    assert (f"no price is for: {named}." in found.detail if found else None) == (named and True)


def test_a_line_of_a_journal_that_a_person_books_keeps_the_class_that_served(world: World) -> None:
    journal = Journal(world.gus.gateway.public_id)
    journal.rows = [journal_row("rsv_never_seen", served_context="batch")]
    pull_source(source=journal)
    entry = Quarantine.objects.get()
    call = AssignedCall(
        external_id="rsv_never_seen", at=lately(), key=world.key.public_id, model="small", finish="stop",
        tokens={"input_tokens": 200, "output_tokens": 50},
    )  # fmt: skip
    assign_quarantined(actor=administrator("Ann"), entry=entry, call=call, reason="The node died.")
    assert UsageEvent.objects.get().cost_usd == Decimal("0.00015")
