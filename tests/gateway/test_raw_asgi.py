"""The raw application answers what the plain Django view answers, and says 503 instead of hanging."""

from __future__ import annotations

import asyncio
import json
import secrets as random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import override_settings

from budgets.models import Balance, Reservation, ScopeKind
from budgets.selectors import unbalanced_balances
from core import clock
from gateway.hot.asgi import DecisionApplication
from tests.gateway.conftest import World, build_world
from tests.gateway.raw import call_raw

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    built = build_world()
    yield built
    assert unbalanced_balances() == []


Calls = list[tuple[str, bytes]]


def through_asgi(
    world: World, calls: Calls, *, method: str = "POST"
) -> list[tuple[int, dict[str, str], Any]]:
    """Send the calls one after the other through one application, each signed."""

    async def run() -> list[tuple[int, dict[str, str], Any]]:
        application = DecisionApplication()
        try:
            return [
                await call_raw(application, world.gus.gateway, path, body, method=method)
                for path, body in calls
            ]
        finally:
            await application.close()

    return asyncio.run(run())


def questions(world: World) -> Calls:
    """Every kind of answer that needs no earlier one."""
    base = {
        "key": world.token,
        "model": "small",
        "route": "/v1/chat/completions",
        "input_bytes": 1000,
        "max_output_tokens": 100,
    }
    changes: list[dict[str, Any]] = [
        {},
        {"key": "psr_live_typo"},
        {"model": "nothing"},
        {"model": "large"},
        {"project_id": "billing"},
        {"route": "/v1/images"},
        {"input_bytes": -1},
        {"max_output_tokens": 8_000},
        {"n": 100, "max_output_tokens": 8_000},
    ]
    bodies = [
        json.dumps({"request_id": random.token_hex(8), **base, **change}).encode() for change in changes
    ]
    settlements = [b'{"reservation": "rsv_none", "usage": {}, "finish": "stop"}', b'{"reservation": 1}', b"{"]
    return (
        [("/gateway/v1/authorize", body) for body in bodies]
        + [("/gateway/v1/settle", body) for body in settlements]
        + [("/gateway/v1/release", b'{"reservation": "rsv_none"}')]
    )


def test_both_faces_decide_the_same(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.02")
    raw = through_asgi(world, questions(world))
    Reservation.objects.update(source="gw_earlier")  # the twin starts from the same balances
    Reservation.objects.update(state="released", resolved_at=clock.now())
    Balance.objects.update(reserved_usd=0)
    plain = [world.gus.post(path, body) for path, body in questions(world)]
    assert [answer[0] for answer in raw] == [answer.status_code for answer in plain]
    assert [scrub(answer[2]) for answer in raw] == [scrub(answer.json()) for answer in plain]
    assert [answer[1].get("x-should-retry") for answer in raw] == [
        answer.headers.get("x-should-retry") for answer in plain
    ]
    assert {answer[0] for answer in raw} == {200, 400, 401, 403, 404, 429}


def scrub(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out what differs between any two answers."""
    return {
        name: value
        for name, value in body.items()
        if name not in {"reservation", "expires_at", "retry_after_seconds"}
    }


def test_a_call_goes_through_authorize_and_settle(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="1")
    body = questions(world)[0][1]
    status, headers, allowed = through_asgi(world, [("/gateway/v1/authorize", body)])[0]
    assert (status, headers["content-type"], headers["cache-control"]) == (
        200,
        "application/json",
        "no-store",
    )
    settlement = json.dumps(
        {
            "reservation": allowed["reservation"],
            "usage": {"input_tokens": 10, "output_tokens": 5},
            "finish": "stop",
        }
    ).encode()
    answers = through_asgi(world, [("/gateway/v1/settle", settlement), ("/gateway/v1/settle", settlement)])
    assert [answer[2]["status"] for answer in answers] == ["settled", "duplicate"]


def test_other_paths_and_methods_are_refused(world: World) -> None:
    assert through_asgi(world, [("/gateway/v1/nothing", b"{}")])[0][0] == 404
    assert through_asgi(world, [("/gateway/v1/authorize", b"")], method="GET")[0][0] == 405


@pytest.mark.parametrize("face", ["raw", "plain"])
def test_a_locked_budget_is_a_503_within_the_deadline_and_holds_nothing(world: World, face: str) -> None:
    budget = world.budget("key", kind=ScopeKind.KEY, limit="1")
    world.gus.release(world.gus.authorize(world.token).json()["reservation"])
    before = Reservation.objects.count()
    with (
        psycopg.connect(**connection_parameters()) as blocker,
        override_settings(DECISION_DEADLINE_SECONDS=0.5),
    ):
        blocker.execute("SELECT 1 FROM budgets_balance WHERE budget_id = %s FOR UPDATE", [budget.pk])
        if face == "raw":
            status, headers, body = through_asgi(world, questions(world)[:1])[0]
        else:
            answer = world.gus.authorize(world.token)
            status, headers, body = answer.status_code, {"retry-after": answer["Retry-After"]}, answer.json()
        [[waited]] = blocker.execute("SELECT clock_timestamp() - now() < interval '4 seconds'").fetchall()
    assert waited, "lock_timeout of pages is longer"
    assert (status, body["code"], headers["retry-after"]) == (503, "decision_unavailable", "1")
    assert Reservation.objects.count() == before


def test_a_database_that_is_away_is_a_503(world: World) -> None:
    with override_settings(DECISION_DEADLINE_SECONDS=0.5):
        application = DecisionApplication()
        real = connection.settings_dict["NAME"]
        connection.settings_dict["NAME"] = "not_there"
        try:
            status = asyncio.run(_one(application, world))
        finally:
            connection.settings_dict["NAME"] = real
    assert status == 503


async def _one(application: DecisionApplication, world: World) -> int:
    try:
        path, body = questions(world)[0]
        return (await call_raw(application, world.gus.gateway, path, body))[0]
    finally:
        await application.close()


def connection_parameters() -> dict[str, Any]:
    """Return how the test database is reached, for a connection outside Django."""
    wanted = ("dbname", "user", "password", "host", "port")
    return {name: value for name, value in connection.get_connection_params().items() if name in wanted}
