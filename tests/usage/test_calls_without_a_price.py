"""A call on which two sides differ names the model where no price tells what the difference is worth."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from budgets.models import ScopeKind
from catalog.models import LlmModel, Provider
from core import clock
from tests.gateway.conftest import World, build_world, make_model
from tests.gateway.test_pull import Journal, day_start, yesterday
from tests.usage.test_repricing import administrator
from usage.models import Discrepancy, DiscrepancyClass, GatewayCall, ProviderUsage, UsageEvent
from usage.services import add_account, pull_source, reconcile_day, reconcile_volumes, register_key


@pytest.fixture
def world(db: None) -> World:
    made = build_world()
    made.budget("key", kind=ScopeKind.KEY, limit="10")
    return made


def noon() -> datetime:
    return day_start(yesterday()) + timedelta(hours=12)


def booked(world: World, model: LlmModel, *, usd: str, input_tokens: int = 200) -> None:
    UsageEvent.objects.create(
        source=world.gus.gateway.public_id, external_id="rsv_one", at=noon(), recorded_at=noon(),
        key_id=world.key.pk, owner=world.ada, project=world.project, team=world.team,
        department=world.team.department, model=model, tier=model.tier, cost_usd=Decimal(usd),
        input_tokens=input_tokens, output_tokens=50, finish="stop",
    )  # fmt: skip


def told(world: World, model: LlmModel, *, usd: str | None = None) -> None:
    GatewayCall.objects.create(
        source=world.gus.gateway.public_id, external_id="rsv_one", at=noon(), pulled_at=clock.now(),
        model_name=model.name, finish="stop", input_tokens=200, output_tokens=50,
        cost_usd=None if usd is None else Decimal(usd),
    )  # fmt: skip


def found(world: World) -> tuple[str, Decimal, tuple[str, ...]]:
    source = world.gus.gateway.public_id
    pull_source(source=Journal(source))
    one: Discrepancy = reconcile_day(source=source, day=yesterday()).discrepancies.get()
    return one.kind, one.amount_usd, one.unpriced


@pytest.mark.parametrize(("has_price", "names"), [(False, ("unheard",)), (True, ())])
def test_other_tokens(world: World, has_price: bool, names: tuple[str, ...]) -> None:
    model = make_model("unheard", tier=1)
    if has_price:
        world.price(model, "input", "0.001")
        world.price(model, "output", "0.002")
    booked(world, model, usd="0.5", input_tokens=100)
    told(world, model)
    assert found(world) == (DiscrepancyClass.TOKEN_MISMATCH, Decimal("0.1") if has_price else 0, names)


@pytest.mark.parametrize(("name", "usd", "names"), [("unheard", "0", ("unheard",)), ("small", "0.0003", ())])
def test_a_call_that_cost_nothing(world: World, name: str, usd: str, names: tuple[str, ...]) -> None:
    model = world.small if name == "small" else make_model(name, tier=1)
    booked(world, model, usd="0")
    told(world, model)
    assert found(world) == (DiscrepancyClass.ZERO_COST, Decimal(usd), names)


@pytest.mark.parametrize(("usd", "names"), [(None, ("small",)), ("0.0003", ())])
def test_a_call_that_the_ledger_lacks(world: World, usd: str | None, names: tuple[str, ...]) -> None:
    told(world, world.small, usd=usd)
    assert found(world) == (DiscrepancyClass.MISSING_AT_PORTAL, Decimal(usd or 0), names)


def test_more_than_was_counted_here_on_a_key_of_ours(world: World) -> None:
    ann = administrator("Ann")
    account = add_account(actor=ann, provider=Provider.OPENAI, name="org-1")
    held_by = world.gus.gateway.public_id
    register_key(actor=ann, account=account, external_id="key_ours", label="ours", held_by=held_by)
    booked(world, make_model("unheard", tier=1), usd="0")
    ProviderUsage.objects.create(
        account=account, day=yesterday(), upstream_key="key_ours", model_name="unheard", requests=90,
        input_tokens=90_000, read_at=clock.now(), final=True,
    )  # fmt: skip
    one = reconcile_volumes(account=account, day=yesterday()).discrepancies.get()
    assert (one.kind, one.amount_usd, one.unpriced) == (DiscrepancyClass.BYPASS_SHARED_KEY, 0, ("unheard",))
