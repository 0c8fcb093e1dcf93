"""A key holder is told which budget refuses and until when, and of wider scopes no amounts, in no field."""

from __future__ import annotations

import re

import pytest

from budgets.models import ScopeKind
from tests.gateway.conftest import World

WIDER = (ScopeKind.TEAM, ScopeKind.DEPARTMENT, ScopeKind.ORGANISATION)
OWN = (ScopeKind.KEY, ScopeKind.PROJECT)
TOTALS = {"limit_usd", "spent_usd", "held_usd"}
NEEDED = "$0.0011"  # with the least output that is worth a call


@pytest.mark.parametrize("kind", WIDER)
@pytest.mark.parametrize("code", ["budget_exhausted", "budget_held"])
def test_totals_of_a_wider_scope_are_in_no_part_of_the_answer(
    world: World, kind: ScopeKind, code: str
) -> None:
    world.budget("wide", kind=kind, limit="0.0031" if code == "budget_held" else "0.000731")
    if code == "budget_held":
        assert [world.gus.authorize(world.token).status_code for _ in range(2)] == [200, 200]
    answer = world.gus.authorize(world.token)
    body = answer.json()
    assert (body["code"], body["budget"]["scope"]) == (code, kind)
    assert not TOTALS & body["budget"].keys()
    assert set(re.findall(r"\$\d[\d.,]*\d", answer.content.decode())) == {NEEDED}
    assert {"id", "name", "window", "resets_at", "link"} <= body["budget"].keys()


@pytest.mark.parametrize("kind", OWN)
def test_totals_of_the_callers_own_scope_are_told(world: World, kind: ScopeKind) -> None:
    world.budget("own", kind=kind, limit="0.0031")
    world.gus.settle(world.gus.authorize(world.token).json()["reservation"])
    world.gus.authorize(world.token)
    world.gus.authorize(world.token)
    body = world.gus.authorize(world.token).json()
    assert {name: body["budget"][name] for name in TOTALS} == {
        "limit_usd": "0.003100000000",
        "spent_usd": "0.000300000000",
        "held_usd": "0.002400000000",
    }
