"""A call that a worker decides holds exactly what the portal would have held for it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgets.models import ScopeKind
from catalog.models import Mode
from gateway.plugins.litellm.purser_plugin.terms import Terms, read_grant
from tests.gateway.conftest import World, make_model

pytestmark = pytest.mark.django_db

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def terms(world: World, model: str, route: str = "/v1/chat/completions") -> Terms:
    """Return the terms of a lease, as the portal tells them."""
    wish = {"node": "node-1", "key": world.token, "model": model, "route": route, "want_usd": "1"}
    return read_grant(world.gus.post("/gateway/v1/leases", wish).json()).terms


@pytest.fixture
def lent(world: World) -> dict[str, Terms]:
    """Return the terms of two models; the prices of "odd" have more decimals than the ledger."""
    model = make_model("odd", tier=1)
    world.price(model, "input", "0.000000033333333")
    world.price(model, "output", "0.000000077777777")
    return {name: terms(world, name) for name in ("small", "odd")}


@EXAMPLES
@given(
    size=st.integers(0, 250_000),
    asked=st.none() | st.integers(1, 20_000),
    choices=st.integers(1, 5),
    model=st.sampled_from(["small", "odd"]),
)
def test_the_hold_is_the_portals_own(
    world: World, lent: dict[str, Terms], *, size: int, asked: int | None, choices: int, model: str
) -> None:
    changes: dict[str, Any] = {"input_bytes": size, "max_output_tokens": asked, "n": choices}
    theirs = world.gus.authorize(world.token, model=model, **changes).json()
    ours = lent[model].decide(bound=size, asked=asked, choices=choices, left_usd=Decimal(1_000), clamp=False)
    assert ours is not None
    assert (f"{ours.held_usd:.12f}", ours.output_tokens) == (theirs["held_usd"], theirs["max_output_tokens"])


@EXAMPLES
@given(
    left=st.integers(1, 20_000_000_000),
    asked=st.none() | st.integers(1, 9_000),
    choices=st.integers(1, 3),
    model=st.sampled_from(["small", "odd"]),
)
def test_a_call_is_cut_to_the_money_as_the_portal_would(
    world: World, lent: dict[str, Terms], *, left: int, asked: int | None, choices: int, model: str
) -> None:
    money = Decimal(left).scaleb(-12)
    if "key" in world.budgets:
        world.limit(world.budgets["key"], f"{money:.12f}")
    else:
        world.budget("key", kind=ScopeKind.KEY, limit=f"{money:.12f}")
    answer = world.gus.authorize(world.token, model=model, max_output_tokens=asked, n=choices)
    ours = lent[model].decide(bound=1_000, asked=asked, choices=choices, left_usd=money, clamp=True)
    if ours is None:
        assert answer.status_code == 429
        return
    theirs = answer.json()
    assert (f"{ours.held_usd:.12f}", ours.output_tokens) == (theirs["held_usd"], theirs["max_output_tokens"])
    world.gus.release(theirs["reservation"])


def test_a_model_that_writes_nothing_holds_its_input_alone(world: World) -> None:
    model = make_model("embed", tier=1, mode=Mode.EMBEDDING, max_output_tokens=None)
    world.price(model, "input", "0.00000002")
    route = "/v1/embeddings"
    changes = {"model": "embed", "route": route, "input_bytes": 333, "max_output_tokens": None}
    theirs = world.gus.authorize(world.token, **changes).json()
    ours = terms(world, "embed", route).decide(
        bound=333, asked=None, choices=1, left_usd=Decimal(1), clamp=True
    )
    assert ours is not None
    assert theirs["max_output_tokens"] is None
    assert (f"{ours.held_usd:.12f}", ours.output_tokens) == (theirs["held_usd"], 0)
