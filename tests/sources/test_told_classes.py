"""What a log tells of a call's service class and units prices it; a class nobody knows is the dearest."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from budgets.models import Entry
from catalog.models import Context, NoticeKind, PriceNotice
from gateway.adapters.parts import context_of, units_of
from gateway.models import GatewayLog
from tests.fakes.spend_logs import SpendLogs, row
from tests.gateway.conftest import World
from tests.gateway.test_otlp import span, trace
from tests.gateway.test_push import CSV, push
from tests.sources.logged import allowed, lately, line, pull
from usage.models import Discrepancy, Quarantine, UsageEvent
from usage.services import check_prices


@pytest.fixture(autouse=True)
def classes(world: World) -> None:
    """Give the cheap model a class at half of its price and one at ten times; audio too."""
    for context, of_standard in ((Context.BATCH, "0.5"), (Context.PRIORITY, "10")):
        for unit, usd in (("input", "0.000001"), ("output", "0.000002")):
            world.price(world.small, unit, str(Decimal(usd) * Decimal(of_standard)), context=context)
    world.price(world.small, "input_audio", "0.00001")


def spent(world: World, name: str, *, tier: str | None = None, **usage: Any) -> dict[str, Any]:
    """Return a spend log of a call on our key that Purser never decided."""
    told = row(name, lately(), prompt_tokens=200, completion_tokens=50)
    told["metadata"] |= {
        "user_api_key_alias": world.key.public_id,
        "usage_object": {"prompt_tokens": 200, "completion_tokens": 50, **usage},
        "cost_breakdown": {"service_tier": tier, "total_cost": 0.0003},
    }
    return told


@pytest.mark.parametrize(
    ("tier", "usd", "estimated"),
    [
        (None, "0.0003", False),
        ("default", "0.0003", False),
        ("batch", "0.00015", False),
        ("priority", "0.003", False),
        ("scale", "0.003", True),
    ],
)
def test_a_spend_log_is_priced_in_the_class_that_it_was_answered_in(
    world: World, litellm: SpendLogs, spend: GatewayLog, *, tier: str | None, usd: str, estimated: bool
) -> None:
    litellm.rows = [spent(world, "one", tier=tier)]
    for _ in range(2):
        pull(spend)
    event = UsageEvent.objects.get()
    assert (event.cost_usd, event.estimated) == (Decimal(usd), estimated)
    assert Entry.objects.get().amount_usd == event.cost_usd
    assert not Discrepancy.objects.exists()


def test_a_class_without_a_price_is_named_at_night(
    world: World, litellm: SpendLogs, spend: GatewayLog
) -> None:
    litellm.rows = [spent(world, "one", tier="scale")]
    pull(spend)
    check_prices()
    assert "scale" in PriceNotice.objects.get(kind=NoticeKind.UNKNOWN_CONTEXT).detail


def test_units_of_a_spend_log_are_priced(world: World, litellm: SpendLogs, spend: GatewayLog) -> None:
    world.price(world.small, "search", "0.01")
    usage: dict[str, Any] = {
        "prompt_tokens_details": {"audio_tokens": 100},
        "server_tool_use": {"web_search_requests": 3},
    }
    litellm.rows = [spent(world, "one", **usage)]
    pull(spend)
    event = UsageEvent.objects.get()
    assert event.units == {"input_audio": 100, "search": 3}
    # 100 in at 1, 100 of audio at 10 and 50 out at 2 millionths of a dollar; three searches at a cent
    assert event.cost_usd == Decimal("0.0012") + Decimal("0.03")


def test_a_lost_settlement_has_the_units_of_the_log(
    world: World, litellm: SpendLogs, spend: GatewayLog
) -> None:
    told = spent(world, "one", prompt_tokens_details={"audio_tokens": 100})
    told["metadata"]["spend_logs_metadata"] = {"purser_reservation": allowed(world)}
    litellm.rows = [told]
    pull(spend)
    assert UsageEvent.objects.get().units == {"input_audio": 100}


@pytest.mark.parametrize(
    ("tier", "usage", "usd"),
    [
        (None, {}, "0.003"),
        ("batch", {}, "0.00015"),
        ("priority", {"service_tier": "standard"}, "0.0003"),
        (None, {"speed": "fast", "service_tier": "standard"}, "0.0006"),
    ],
)
def test_a_lost_settlement_is_priced_in_the_class_that_a_spend_log_tells(
    world: World, litellm: SpendLogs, spend: GatewayLog, *, tier: str | None, usage: dict[str, Any], usd: str
) -> None:
    for unit, price in (("input", "0.000002"), ("output", "0.000004")):
        world.price(world.small, unit, price, context=Context.FAST)
    told = spent(world, "one", tier=tier, **usage)
    told["metadata"]["spend_logs_metadata"] = {"purser_reservation": allowed(world, context="priority")}
    litellm.rows = [told]
    for _ in range(2):
        pull(spend)
    assert UsageEvent.objects.get().cost_usd == Decimal(usd)
    assert not Quarantine.objects.exists()


@pytest.mark.parametrize(
    ("tier", "usd"), [("default", "0.0003"), ("auto", "0.003"), ("", "0.003"), ("odd one", "0.003")]
)
def test_a_call_of_ours_is_settled_in_the_class_that_nginx_logs(
    world: World, access: GatewayLog, folder: Path, *, tier: str, usd: str
) -> None:
    reservation = allowed(world, context="priority")
    (folder / "usage.log").write_bytes(line("one", reservation=reservation, service_tier=tier))
    pull(access)
    event = UsageEvent.objects.get(external_id=reservation)
    assert (event.cost_usd, event.estimated) == (Decimal(usd), tier == "odd one")


def test_a_line_of_nginx_is_priced_in_the_class_of_the_answer(
    world: World, access: GatewayLog, folder: Path
) -> None:
    usage = {"prompt_tokens": 200, "completion_tokens": 50, "prompt_tokens_details": {"audio_tokens": 100}}
    told = {"key_id": world.key.public_id, "usage": orjson.dumps(usage).decode()}
    (folder / "usage.log").write_bytes(
        line("plain", **told) + line("dear", service_tier="priority", **told) + line("odd", service_tier="x")
    )
    pull(access)
    assert {event.external_id: event.cost_usd for event in UsageEvent.objects.all()} == {
        "plain": Decimal("0.0012"),
        "dear": Decimal("0.003"),
    }


@pytest.mark.parametrize("name", ["openai.response.service_tier", "gen_ai.openai.response.service_tier"])
def test_a_span_is_priced_in_the_class_of_its_response(world: World, name: str) -> None:
    one = span(1, attributes={"openai.request.service_tier": "auto", name: "priority"})
    push(world.gus, trace(one, **{"purser.key_id": world.key.public_id}))
    # 1,000 in and 120 out at ten times 1 and 2 millionths of a dollar
    assert UsageEvent.objects.get().cost_usd == Decimal("0.0124")


def test_csv_may_tell_class_and_units(world: World) -> None:
    world.price(world.small, "search", "0.01")
    head = "id,at,key_id,model,input_tokens,output_tokens,context,search,second\n"
    body = head + f"one,{lately().isoformat()},{world.key.public_id},small,200,50,batch,2,1.5\n"
    push(world.gus, body.encode(), CSV)
    event = UsageEvent.objects.get()
    assert event.units == {"search": 2, "second": 1.5}
    assert event.cost_usd == Decimal("0.02015")


def test_parts_are_no_more_than_their_totals_and_odd_figures_are_none() -> None:
    tokens = {"input_tokens": 10, "cached_tokens": 4, "cache_write_tokens": 2, "output_tokens": 3}
    usage = {
        "input_tokens_details": {"audio_tokens": 99, "image_tokens": 5},
        "output_tokens_details": None,
        "cache_creation": {"ephemeral_1h_input_tokens": 9},
        "server_tool_use": {"web_search_requests": "many"},
        "prompt_tokens_details": {"audio_length_seconds": Decimal("1.5")},
    }
    assert units_of(usage, tokens) == {"cache_write_1h": 2, "second": 1.5}
    del usage["prompt_tokens_details"]
    assert units_of(usage, tokens) == {"cache_write_1h": 2, "input_audio": 4}
    assert [context_of(name) for name in (None, "AUTO", "standard_only", "Flex", "priority_on_demand")] == [
        "", "", "standard", "flex", "priority",
    ]  # fmt: skip
