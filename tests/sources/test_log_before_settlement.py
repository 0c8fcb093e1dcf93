"""A log may tell of a call before the settlement comes: the settlement's figures are the better ones."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Balance, Entry
from core.models import Outbox
from gateway.models import GatewayLog
from portal import ledger
from tests.fakes.spend_logs import SpendLogs, row
from tests.gateway.conftest import World
from tests.gateway.test_pull import row as journal_row
from tests.sources.logged import allowed, lately, pull
from tests.usage.test_repricing import administrator
from usage.models import GatewayCall, Quarantine, UsageDay
from usage.ports import UnusedCall
from usage.services import follow_settlements, ingest_page
from usage.services.logs import book_log_rows
from usage.tasks import reconcile_recent_days


@pytest.fixture
def logged(world: World, litellm: SpendLogs, spend: GatewayLog) -> str:
    """Return a call of 200 tokens in and 50 out that a log settled."""
    administrator("Ann")
    reservation = allowed(world)
    litellm.rows = [row("chatcmpl-1", lately(), reservation=reservation)]
    pull(spend)
    assert UsageDay.objects.get().cost_usd == Decimal("0.0003")
    return reservation


def figures() -> tuple[int, int, int, Decimal]:
    day = UsageDay.objects.get()
    return day.calls, day.input_tokens, day.output_tokens, day.cost_usd


def test_a_later_settlement_with_other_figures_is_booked_by_a_correction(world: World, logged: str) -> None:
    answer = world.gus.settle(logged, input_tokens=300, output_tokens=60, usage={"units": {"second": 2}})
    assert answer.status_code == 409  # what was booked stands for now

    reconcile_recent_days()

    assert figures() == (1, 300, 60, Decimal("0.00042"))
    assert {balance.spent_usd for balance in Balance.objects.all()} == {Decimal("0.00042")}
    assert list(Entry.objects.order_by("pk").values_list("kind", "amount_usd")) == [
        ("settle", Decimal("0.0003")),
        ("correction", Decimal("0.00012")),
    ]
    told = Quarantine.objects.get()
    assert (told.outcome, told.resolved_by) == ("booked", None)
    assert not Outbox.objects.filter(topic="usage.conflict").exists()
    assert ledger.verify().findings == ()


def test_it_is_booked_once_however_often_and_whichever_way_it_comes(world: World, logged: str) -> None:
    for _ in range(2):
        world.gus.settle(logged, input_tokens=300)
        assert follow_settlements() in {0, 1}
    source = world.gus.gateway.public_id
    ingest_page(source=source, rows=[journal_row(logged, usage={"input_tokens": 300, "output_tokens": 50})])
    assert follow_settlements() == 0

    assert figures() == (1, 300, 50, Decimal("0.0004"))
    assert not Quarantine.objects.filter(resolved_at__isnull=True).exists()
    assert Entry.objects.count() == 2


def test_the_same_figures_change_nothing(world: World, logged: str) -> None:
    usage = {"cached_tokens": 40, "reasoning_tokens": 10}
    assert world.gus.settle(logged, usage=usage).status_code == 200
    assert follow_settlements() == 0
    assert not Quarantine.objects.exists()


@pytest.mark.parametrize(
    "other",
    [
        {"served_model": "large"},
        {"cache_hit": True},
        {"finish": "cancelled", "input_tokens": 0, "output_tokens": 0},
    ],
)
def test_more_than_other_figures_is_for_a_person(world: World, logged: str, other: dict[str, Any]) -> None:
    world.gus.settle(logged, **other)
    assert follow_settlements() == 0
    assert figures()[3] == Decimal("0.0003")
    assert Quarantine.objects.get().resolved_at is None


def test_a_third_set_of_figures_is_for_a_person(world: World, logged: str) -> None:
    world.gus.settle(logged, input_tokens=300)
    world.gus.settle(logged, input_tokens=400)
    assert follow_settlements() == 1
    assert figures()[1] == 300
    assert Quarantine.objects.filter(resolved_at__isnull=True).count() == 1


def test_two_settlements_of_a_gateway_are_for_a_person_also_when_its_log_tells_of_the_call(
    world: World, litellm: SpendLogs, spend: GatewayLog
) -> None:
    reservation = allowed(world)
    world.gus.settle(reservation)
    litellm.rows = [row("chatcmpl-1", lately(), reservation=reservation)]
    pull(spend)
    world.gus.settle(reservation, input_tokens=300)
    assert GatewayCall.objects.filter(external_id=reservation).exists()
    assert follow_settlements() == 0
    assert figures()[1] == 200


def test_two_settlements_of_a_call_that_a_log_had_freed_are_for_a_person(world: World) -> None:
    source, reservation = world.gus.gateway.public_id, allowed(world)
    refused = UnusedCall(reservation=reservation, request_id="", at=lately(), model="small")
    assert book_log_rows(gateway=source, rows=[], refused=[], unused=[refused]).freed == 1
    assert world.gus.settle(reservation).json()["status"] == "late"
    world.gus.settle(reservation, input_tokens=300)
    assert follow_settlements() == 0
    assert figures()[1] == 200
