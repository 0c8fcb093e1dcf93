"""A settlement that comes after the log may tell another service class: the call moves to it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from budgets.models import Balance, Entry
from catalog.models import Context, NoticeKind, PriceNotice
from gateway.models import GatewayLog
from portal import ledger
from tests.fakes.spend_logs import SpendLogs, row
from tests.gateway.conftest import World
from tests.gateway.test_pull import Journal
from tests.gateway.test_pull import row as journal_row
from tests.sources.logged import allowed, lately, pull
from tests.usage.test_priced_in import differing
from tests.usage.test_repricing import administrator, contract, propose
from usage.models import DiscrepancyClass, Quarantine, UsageDay, UsageEvent
from usage.services import check_prices, follow_settlements, pull_source, reconcile_day

USAGE = {"cached_tokens": 40, "reasoning_tokens": 10}


@pytest.fixture
def logged(world: World, litellm: SpendLogs, spend: GatewayLog) -> str:
    """Return a call that was asked for as priority and that a log settled as standard."""
    for context, of_standard in ((Context.BATCH, "0.5"), (Context.PRIORITY, "10")):
        for unit, usd in (("input", "0.000001"), ("output", "0.000002")):
            world.price(world.small, unit, str(Decimal(usd) * Decimal(of_standard)), context=context)
    reservation = allowed(world, context="priority")
    told = row("chatcmpl-1", lately(), reservation=reservation)
    told["metadata"]["cost_breakdown"] = {"service_tier": "standard"}
    litellm.rows = [told]
    pull(spend)
    assert UsageDay.objects.get().cost_usd == Decimal("0.0003")
    return reservation


def test_a_settlement_after_the_log_moves_the_call_to_the_class_that_it_tells(
    world: World, logged: str
) -> None:
    assert world.gus.settle(logged, usage=USAGE, served_context="batch").status_code == 409
    assert follow_settlements() == 1
    assert follow_settlements() == 0

    amounts = [Decimal("0.0003"), Decimal("-0.00015")]
    assert list(Entry.objects.order_by("pk").values_list("amount_usd", flat=True)) == amounts
    assert {UsageDay.objects.get().cost_usd, Balance.objects.get().spent_usd} == {Decimal("0.00015")}
    assert ledger.verify().findings == ()
    contract(world, "0.00000025", context="batch")
    contract(world, "0.0000005", context="standard")
    mine = propose(world, administrator("Ann"))
    assert (mine.calls, mine.old_usd, mine.new_usd) == (1, Decimal("0.00015"), Decimal("0.0001"))


def test_it_is_told_again_in_that_class_and_nothing_changes(world: World, logged: str) -> None:
    world.gus.settle(logged, usage=USAGE, served_context="batch")
    follow_settlements()
    source = Journal(world.gus.gateway.public_id)
    usage = {"input_tokens": 200, "output_tokens": 50, **USAGE}
    source.rows = [journal_row(logged, usage=usage, served_context="batch", provider_id="other")]
    pull_source(source=source)
    assert follow_settlements() == 0
    assert Entry.objects.count() == 2
    assert not Quarantine.objects.filter(resolved_at__isnull=True).exists()


def test_a_settlement_after_the_log_that_tells_no_class_keeps_that_of_the_log(
    world: World, logged: str
) -> None:
    assert world.gus.settle(logged, usage=USAGE).json()["status"] == "duplicate"
    world.gus.settle(logged, input_tokens=300, usage=USAGE)
    assert follow_settlements() == 1
    assert UsageDay.objects.get().cost_usd == Decimal("0.0004")


def test_a_call_that_was_corrected_into_another_class_is_compared_in_it(world: World, logged: str) -> None:
    world.gus.settle(logged, usage=USAGE, served_context="batch")
    follow_settlements()
    at = UsageEvent.objects.get(external_id=logged).at
    differing(world, logged, input_tokens=300, **USAGE)
    found = reconcile_day(source=world.gus.gateway.public_id, day=at.date()).discrepancies.get()
    assert (found.kind, found.amount_usd) == (DiscrepancyClass.TOKEN_MISMATCH, Decimal("0.00005"))


def test_a_class_without_a_price_that_a_call_was_corrected_into_is_named_at_night(
    world: World, logged: str
) -> None:
    world.gus.settle(logged, usage=USAGE, served_context="scale")
    follow_settlements()
    check_prices(published=lambda _provider, _name: [])
    assert "scale." in PriceNotice.objects.get(kind=NoticeKind.UNKNOWN_CONTEXT).detail
