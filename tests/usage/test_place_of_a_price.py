"""A price that a provider was found to charge is entered in the class and step that its figures tell."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest

from catalog.models import Context, Price, PriceSource, Provider
from core import clock
from teams.models import User
from tests.browsing import Visitor
from tests.gateway.conftest import World, build_world, make_model
from tests.usage.test_repricing import administrator
from usage.models import (
    Discrepancy,
    DiscrepancyClass,
    ProviderAccount,
    ProviderCost,
    ProviderUsage,
    UsageEvent,
)
from usage.services import add_account, confirm_price, reconcile_costs, register_key

MILLION = 1_000_000
WHY = "The provider's cost report says so."


def yesterday() -> date:
    return clock.now().astimezone(UTC).date() - timedelta(days=1)


def midnight() -> datetime:
    return datetime.combine(yesterday(), time.min, tzinfo=UTC)


@pytest.fixture
def ann(db: None) -> User:
    return administrator("Ann")


@pytest.fixture
def world(db: None) -> World:
    """Price a model's standard and batch class, each with a step at 200,000 tokens of input."""
    made = build_world()
    made.small = make_model("moving", tier=1)
    for context, of_standard in ((Context.STANDARD, 1), (Context.BATCH, Decimal("0.5"))):
        for step, times in ((0, 1), (200_000, 2)):
            for unit in ("input", "output"):
                usd = Decimal("0.000001") * of_standard * times
                made.price(made.small, unit, str(usd), context=context, tier_start=step)
    return made


@pytest.fixture
def account(world: World, ann: User) -> ProviderAccount:
    held_by = world.gus.gateway.public_id
    made = add_account(actor=ann, provider=Provider.OPENAI, name="org-1")
    register_key(actor=ann, account=made, external_id="key_ours", label="ours", held_by=held_by)
    return made


def told(account: ProviderAccount, context: str, tokens: int) -> None:
    ProviderUsage.objects.create(
        account=account, day=yesterday(), upstream_key="key_ours", model_name="moving", requests=1,
        context=context, input_tokens=tokens, read_at=clock.now(), final=True,
    )  # fmt: skip


def changed(world: World, account: ProviderAccount, *, calls: int, ours_usd: str) -> Discrepancy:
    """Let the ledger have calls of a million tokens in sum, for which the provider charged a tenth more."""
    for number in range(calls):
        UsageEvent.objects.create(
            source=world.gus.gateway.public_id, external_id=f"rsv_{number}", at=midnight(), finish="stop",
            recorded_at=midnight(), key_id=world.key.pk, owner=world.ada, project=world.project,
            team=world.team, department=world.team.department, model=world.small, tier=world.small.tier,
            cost_usd=Decimal(ours_usd) / calls, input_tokens=MILLION // calls,
        )  # fmt: skip
    ProviderCost.objects.create(
        account=account, day=yesterday(), upstream_key="key_ours", line_item="moving, input",
        amount_usd=Decimal(ours_usd) * Decimal("1.1"), read_at=clock.now(), final=True,
    )  # fmt: skip
    run = reconcile_costs(account=account, day=yesterday())
    return run.discrepancies.get(kind=DiscrepancyClass.PRICE_CHANGE)


def entered() -> list[tuple[str, str, int, Decimal]]:
    rows = Price.objects.filter(source=PriceSource.CONTRACT).order_by("pk")
    return list(rows.values_list("unit", "context", "tier_start", "usd_per_unit"))


def test_a_change_of_batch_prices_is_entered_for_batch_alone(
    world: World, account: ProviderAccount, ann: User
) -> None:
    told(account, Context.BATCH, MILLION)
    change = changed(world, account, calls=10, ours_usd="0.5")

    page = Visitor(ann).get(f"/reconciliation/differences/{change.public_id}/")
    confirm_price(actor=ann, discrepancy=change, reason=WHY)

    assert "entered in the service class batch." in page.words
    assert "Calls of 200,000 input tokens and more keep their own price." in page.words
    assert entered() == [
        ("input", "batch", 200_000, Decimal("0.000001")),
        ("input", "batch", 0, Decimal("0.00000055")),
    ]


def test_a_change_of_long_calls_is_entered_from_their_step_on(
    world: World, account: ProviderAccount, ann: User
) -> None:
    told(account, Context.STANDARD, MILLION)
    change = changed(world, account, calls=2, ours_usd="2")

    page = Visitor(ann).get(f"/reconciliation/differences/{change.public_id}/")
    confirm_price(actor=ann, discrepancy=change, reason=WHY)

    assert "in the service class standard, for calls of 200,000 input tokens and more." in page.words
    assert entered() == [("input", "standard", 200_000, Decimal("0.0000022"))]


def test_where_the_money_does_not_tell_classes_apart_the_page_says_which_one_it_is(
    world: World, account: ProviderAccount, ann: User
) -> None:
    told(account, Context.STANDARD, MILLION * 9 // 10)
    told(account, Context.BATCH, MILLION // 10)
    change = changed(world, account, calls=10, ours_usd="1")

    page = Visitor(ann).get(f"/reconciliation/differences/{change.public_id}/")
    confirm_price(actor=ann, discrepancy=change, reason=WHY)

    assert "entered in the service class standard. The model was used in the batch class too" in page.words
    assert {row[1] for row in entered()} == {"standard"}
