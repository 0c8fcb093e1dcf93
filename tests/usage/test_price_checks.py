"""The nightly look at prices: what differs from the list, what costs nothing, what nobody prices."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from budgets.models import ScopeKind
from catalog.importer import SINCE, Published, Slot
from catalog.models import NoticeKind, Price, PriceNotice, PriceSource
from catalog.services import PublishedPrices
from core import clock
from core.models import Outbox
from tests.gateway.conftest import World, build_world
from tests.usage.test_repricing import administrator
from usage.models import UsageEvent
from usage.services import check_prices

SMALL = {"input": "0.000001", "output": "0.000002"}


@pytest.fixture
def world(db: None) -> World:
    """Give the cheap model the prices of the list, where the world has prices by hand."""
    made = build_world()
    made.budget("key", kind=ScopeKind.KEY, limit="10")
    for unit, usd in SMALL.items():
        Price.objects.filter(model=made.small, unit=unit).update(valid_until=clock.now())
        Price.objects.create(
            model=made.small, unit=unit, usd_per_unit=Decimal(usd), valid_from=SINCE,
            source=PriceSource.GENAI_PRICES, source_version="x",
        )  # fmt: skip
    return made


def listing(**prices: str) -> PublishedPrices:
    """Return a price list that has the cheap model alone."""
    rows = [
        Published(
            slot=Slot(unit=unit, context="standard", tier_start=0), usd_per_unit=Decimal(usd),
            valid_from=SINCE, valid_until=None,
        )
        for unit, usd in {**SMALL, **prices}.items()
    ]  # fmt: skip
    return lambda _provider, name: rows if name == "small" else []


def check(**prices: str) -> dict[str, int]:
    return {kind: found for kind, found in check_prices(published=listing(**prices)).items() if found}


def test_prices_as_they_should_be_raise_nothing(world: World) -> None:
    assert check() == {}
    assert not PriceNotice.objects.exists()


def test_a_difference_above_half_a_percent_is_told_once_and_closes_by_itself(world: World) -> None:
    ann = administrator("Ann")
    assert check(input="0.000001005") == {}

    assert check(input="0.0000011") == {"differs": 1}
    assert check(input="0.0000011") == {"differs": 1}

    notice = PriceNotice.objects.get()
    assert notice.model == world.small
    assert notice.detail.startswith("standard input: the list has $0.0000011, calls pay $0.000001.")
    [mail] = Outbox.objects.filter(topic="prices.notice")
    assert mail.recipient == ann.email
    assert check() == {}
    notice.refresh_from_db()
    assert notice.closed_at is not None


def test_a_unit_that_the_list_has_and_we_do_not_is_told(world: World) -> None:
    assert check(cache_write_1h="0.000002") == {"differs": 1}


def test_a_price_that_somebody_entered_may_differ(world: World) -> None:
    Price.objects.create(
        model=world.small, unit="input", usd_per_unit=Decimal("0.0000005"),
        valid_from=clock.now() - timedelta(days=1), source=PriceSource.CONTRACT, source_version="x",
    )  # fmt: skip
    assert check(input="0.0000011") == {}


def test_tokens_that_cost_nothing_are_an_alarm(world: World) -> None:
    for unit in SMALL:
        world.price(world.large, unit, "0", valid_from=clock.now() - timedelta(days=1), context="batch")
    world.grant(tier=2)
    for context in ("batch", "standard"):
        reservation = world.gus.authorize(world.token, model="large", context=context).json()["reservation"]
        world.gus.settle(reservation)

    assert check() == {"zero_cost": 1}

    notice = PriceNotice.objects.get(kind=NoticeKind.ZERO_COST)
    assert (notice.model, notice.calls) == (world.large, 1)
    world.large.declared_free = True
    world.large.save()
    assert check() == {}


def test_a_class_that_nothing_prices_is_charged_at_the_dearest_and_flagged(world: World) -> None:
    for context in ("priority", "priority", "unknown"):
        reservation = world.gus.authorize(world.token, context=context).json()["reservation"]
        world.gus.settle(reservation)

    assert check() == {"unknown_context": 1}

    notice = PriceNotice.objects.get()
    assert (notice.calls, "priority, unknown" in notice.detail) == (3, True)


def test_a_class_that_is_priced_is_not_flagged(world: World) -> None:
    world.price(world.small, "input", "0.000009", context="priority")
    world.gus.authorize(world.token, context="priority")
    assert check() == {}


@pytest.mark.parametrize(
    ("units", "finish", "found"),
    [
        ({}, "stop", {"zero_cost": 1}),
        ({"image": 2}, "stop", {"zero_cost": 1}),
        ({"second": 0}, "stop", {}),
        ({"second": 12}, "stop", {}),
        ({}, "error", {}),
    ],
)
def test_a_call_without_the_unit_that_its_model_is_priced_by_is_an_alarm(
    world: World, units: dict[str, int], finish: str, found: dict[str, int]
) -> None:
    world.gus.settle(world.gus.authorize(world.token).json()["reservation"])
    world.price(world.small, "second", "0.0001", valid_from=clock.now() - timedelta(days=1))
    UsageEvent.objects.update(input_tokens=0, output_tokens=0, units=units, finish=finish, cost_usd=0)

    assert check() == found

    assert [
        notice.detail.startswith("Calls did not tell the unit") for notice in PriceNotice.objects.all()
    ] == [True] * len(found)
