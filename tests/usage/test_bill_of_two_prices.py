"""A bill over a change of price is held against each day's price."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest

from catalog.models import Provider
from core import clock
from tests.gateway.conftest import World, build_world, make_model
from tests.usage.test_repricing import administrator
from usage.models import Invoice, InvoiceLine, ProviderAccount, ProviderUsage, RunState, UsageEvent
from usage.services import add_account, reconcile_invoice, register_key

MILLION = 1_000_000


def day(back: int) -> date:
    return clock.now().astimezone(UTC).date() - timedelta(days=back)


def start(back: int) -> datetime:
    return datetime.combine(day(back), time.min, tzinfo=UTC)


@pytest.fixture
def world(db: None) -> World:
    """Let a token of a model cost one millionth until 20 days ago, and twice as much from then on."""
    made = build_world()
    model = make_model("moving", tier=1)
    for usd, fields in (
        ("0.000001", {"valid_until": start(20)}),
        ("0.000002", {"valid_from": start(20)}),
    ):
        made.price(model, "input", usd, **fields)
        made.price(model, "output", usd, **fields)
    made.small = model
    return made


@pytest.fixture
def account(world: World) -> ProviderAccount:
    ann, held_by = administrator("Ann"), world.gus.gateway.public_id
    made = add_account(actor=ann, provider=Provider.OPENAI, name="org-1")
    register_key(actor=ann, account=made, external_id="key_ours", label="ours", held_by=held_by)
    return made


def used(world: World, account: ProviderAccount, back: int, *, ours: int, theirs: int, usd: str) -> None:
    """Let the ledger have a call of so many tokens on a day, and the provider have counted others."""
    UsageEvent.objects.create(
        source=world.gus.gateway.public_id, external_id=f"rsv_{back}", at=start(back),
        recorded_at=start(back),
        key_id=world.key.pk, owner=world.ada, project=world.project, team=world.team,
        department=world.team.department, model=world.small, tier=world.small.tier, cost_usd=Decimal(usd),
        input_tokens=ours, finish="stop",
    )  # fmt: skip
    ProviderUsage.objects.create(
        account=account, day=day(back), upstream_key="key_ours", model_name=world.small.name, requests=1,
        input_tokens=theirs, read_at=clock.now(), final=True,
    )  # fmt: skip


def bill(account: ProviderAccount, usd: str, *, model: str) -> Invoice:
    made = Invoice.objects.create(
        account=account, number="INV-1", period_start=day(30), period_end=day(10), total_usd=Decimal(usd),
        document_hash="x",
    )  # fmt: skip
    InvoiceLine.objects.create(invoice=made, description="Usage", model_name=model, amount_usd=Decimal(usd))
    return made


@pytest.mark.parametrize("model", ["moving", ""], ids=["by model", "in one sum"])
def test_volume_is_worth_what_it_cost_on_its_day(world: World, account: ProviderAccount, model: str) -> None:
    used(world, account, 25, ours=MILLION, theirs=MILLION, usd="1")
    used(world, account, 15, ours=MILLION, theirs=3 * MILLION, usd="2")

    run = reconcile_invoice(invoice=bill(account, "7", model=model))

    # two million tokens more at the second price, and nothing at another price than ours
    assert (run.volume_usd, run.price_usd, run.drift_usd) == (4, 0, 4)
    assert not run.discrepancies.exists()


def test_another_price_is_what_is_left(world: World, account: ProviderAccount) -> None:
    used(world, account, 25, ours=MILLION, theirs=2 * MILLION, usd="1")
    used(world, account, 15, ours=MILLION, theirs=MILLION, usd="2")

    run = reconcile_invoice(invoice=bill(account, "4.5", model="moving"))

    assert (run.volume_usd, run.price_usd) == (1, Decimal("0.5"))
    assert run.state == RunState.DIFFERENT
    assert run.discrepancies.get().amount_usd == Decimal("0.5")


def test_model_that_was_priced_within_the_period_has_its_difference(
    world: World, account: ProviderAccount
) -> None:
    """The first day of the bill has no price of it, as a model has that came in the middle of a month."""
    model = make_model("released", tier=1)
    for unit in ("input", "output"):
        world.price(model, unit, "0.000002", valid_from=start(20))
    world.small = model
    used(world, account, 15, ours=MILLION, theirs=MILLION, usd="2")

    run = reconcile_invoice(invoice=bill(account, "3", model="released"))

    assert (run.volume_usd, run.price_usd, run.state) == (0, 1, RunState.DIFFERENT)
    assert run.discrepancies.get().amount_usd == 1
