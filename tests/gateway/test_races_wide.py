"""Many clients and two processes against budgets of a few calls: nothing is overspent, by nobody."""

from __future__ import annotations

import secrets as random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Balance, Reservation, ScopeKind, Window
from budgets.selectors import unbalanced_balances
from catalog.models import Tier
from tests import factories
from tests.gateway.conftest import World, build_world
from tests.gateway.swarm import Told, swarm, web_processes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race, pytest.mark.timeout(300)]

KEYS = 8
BUDGETS = [("0.00012", 0), ("0.0012", 1), ("0.0042", 3), ("0.0126", 10)]  # of calls that hold $0.0012
TOKENS: list[dict[str, Any]] = [{"max_output_tokens": 100}, {}]


@pytest.fixture(scope="module")
def port(django_db_setup: None, django_db_blocker: Any) -> Iterator[int]:
    with django_db_blocker.unblock(), web_processes() as served:
        yield served.port


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    built = build_world()
    Tier.objects.update(default_max_output_tokens=100, floor_max_output_tokens=100)
    yield built
    assert unbalanced_balances() == []


def tokens_of(world: World, *, apart: bool) -> list[tuple[str, int]]:
    """Return keys, of one team or of a team each, with the ids of their teams."""
    found = []
    for _ in range(KEYS):
        project = factories.ProjectFactory.create(**({} if apart else {"team": world.team}))
        key = factories.ApiKeyFactory.create(project=project)
        found.append((factories.revealed(key), project.team_id))
    return found


def budget_team(world: World, team_id: int, limit: str) -> None:
    team = factories.TeamFactory._meta.model.objects.get(pk=team_id)
    made = factories.BudgetFactory.create(
        scope_kind=ScopeKind.TEAM, scope_id=team_id, department=team.department, window=Window.MONTH
    )
    world.limit(made, limit)


def rush(world: World, port: int, keys: list[str], *, size: tuple[int, int], fields: Any) -> list[Told]:
    """Let each key ask for so many calls, every one of them twice at about the same time."""
    bodies: list[dict[str, Any]] = []
    clients, calls = size
    for number in range(calls * len(keys)):
        body = {
            "request_id": random.token_hex(12),
            "key": keys[number % len(keys)],
            "model": "small",
            "route": "/v1/chat/completions",
            "input_bytes": 1000,
            **fields,
        }
        bodies += [body, body]
    return swarm(port=port, gateway=world.gus.gateway, bodies=bodies, clients=clients)


def check(told: list[Told], *, fits: int) -> None:
    """Exactly what fits is let in, each request once; a call may be told to wait before it is let in."""
    by_request: dict[str, set[str]] = {}
    for each in told:
        by_request.setdefault(each.request_id, set()).add(each.body.get("reservation") or each.body["code"])
    assert {each.status for each in told} <= {200, 429}
    assert all(len(answers - {"budget_held"}) <= 1 for answers in by_request.values())
    allowed = {each.body["reservation"] for each in told if each.status == 200}
    assert len(allowed) == Reservation.objects.count() == fits


SIZES = [(16, 4), pytest.param((64, 20), marks=pytest.mark.full)]  # clients, and calls of each key


@pytest.mark.parametrize("size", SIZES, ids=["few", "many"])
@pytest.mark.parametrize("fields", TOKENS, ids=["limited", "unlimited"])
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_one_team_is_never_overspent(
    world: World, port: int, budget: tuple[str, int], fields: Any, size: tuple[int, int]
) -> None:
    limit, fits = budget
    budget_team(world, world.team.pk, limit)
    keys = [token for token, _ in tokens_of(world, apart=False)]
    check(rush(world, port, keys, size=size, fields=fields), fits=fits)
    assert Balance.objects.get().reserved_usd <= Decimal(limit)


@pytest.mark.parametrize("size", SIZES, ids=["few", "many"])
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_many_teams_are_never_overspent(
    world: World, port: int, budget: tuple[str, int], size: tuple[int, int]
) -> None:
    limit, fits = budget
    found = tokens_of(world, apart=True)
    for _, team_id in found:
        budget_team(world, team_id, limit)
    told = rush(world, port, [token for token, _ in found], size=size, fields=TOKENS[0])
    check(told, fits=sum(min(fits, size[1]) for _ in found))
    assert all(held <= Decimal(limit) for held in Balance.objects.values_list("reserved_usd", flat=True))
