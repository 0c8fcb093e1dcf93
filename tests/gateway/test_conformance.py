"""The raw application and the plain view are one engine: the same conversation, the same answers, the same
books.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from budgets.models import RateLimit, ScopeKind, Window
from budgets.selectors import unbalanced_balances
from core import clock
from gateway.hot.asgi import DecisionApplication
from keys import secrets
from keys.models import ApiKey
from tests import factories
from tests.gateway.conftest import World, build_world, make_model
from tests.gateway.raw import call_raw
from tests.gateway.recorded import CALLS, recorded

pytestmark = pytest.mark.django_db(transaction=True)

# What differs between any two answers to the same question.
TIMES = {"expires_at", "retry_after_seconds"}
NUMBERS = re.compile(r"\d+ s\.")
CODES = {
    "allow",
    "already_settled",
    "budget_exhausted",
    "budget_held",
    "invalid_api_key",
    "invalid_request",
    "key_suspended",
    "model_unknown",
    "model_unpriced",
    "project_mismatch",
    "rate_limited",
    "request_id_reused",
    "reservation_unknown",
    "route_not_allowed",
    "settlement_conflict",
    "tier_not_granted",
    "usage_invalid",
    "use_unbounded",
}
HEADERS = ("x-should-retry", "content-type", "cache-control")
# Table and columns; ids of rows and times are what two conversations cannot share.
BOOKS = {
    "budgets_balance": "budget_id, spent_usd, reserved_usd",
    "budgets_reservation": (
        "request_id, state, held_usd, input_floor_usd, held_tokens, max_output_tokens, units::text, key_id"
    ),
    "budgets_entry": "kind, amount_usd, overrun_usd, tokens::text, price_ids::text, key_id, model_id",
    "usage_event": "calls, cost_usd, units::text, finish, cache_hit, estimated, late, model_id, context",
    "usage_day": "key_id, model_id, calls, cost_usd, input_tokens, cached_tokens, output_tokens",
    "usage_hour": "project_id, model_id, calls, cost_usd, input_tokens, cached_tokens, output_tokens",
    "usage_quarantine": "reason, detail IS NULL",
    "usage_blocked_hour": "key_id, code, budget_id, rate_scope, rate_limit, calls",
    "catalog_unpriced_call": "model_id, calls",
    "budgets_ratelimit": "id, in_flight",
}
Answered = tuple[int, dict[str, str], Any]
Send = Callable[[str, bytes], Answered]


@pytest.fixture
def world(transactional_db: None) -> Iterator[World]:
    built = build_world()
    yield built
    assert unbalanced_balances() == []


@pytest.fixture
def tokens(world: World) -> dict[str, str]:
    """Return the keys of the conversation, in a world with something of everything that refuses."""
    soon = {"owner": world.ada, "project": world.project, "expires_at": clock.now() + timedelta(days=9)}
    made = {name: factories.ApiKeyFactory.create(**soon) for name in ("revoked", "suspended", "busy", "poor")}
    found = {name: factories.revealed(key) for name, key in made.items()}
    at = clock.now()
    ApiKey.objects.filter(pk=made["revoked"].pk).update(revoked_at=at, revoked_reason="lost")
    ApiKey.objects.filter(pk=made["suspended"].pk).update(suspended_at=at, suspended_reason="a loop")
    RateLimit.objects.create(scope_kind="key", scope_id=made["busy"].pk, requests_per_minute=1)
    budget = world.budget("poor", kind=ScopeKind.PROJECT, limit="0.25")
    world.budget("team", kind=ScopeKind.TEAM, limit="0.9", window=Window.MONTH)
    department = world.team.department
    poor = type(budget).objects.create(
        scope_kind="key", scope_id=made["poor"].pk, department=department, window=Window.WEEK
    )
    world.limit(poor, "0.000001")
    world.price(world.small, "input", "0.0000005", context="batch")
    make_model("unpriced", tier=1)
    make_model("free", tier=1, declared_free=True)
    hearing = make_model("hearing", tier=1, mode="transcription", max_output_tokens=None)
    world.price(hearing, "second", "0.0001")
    return {**found, "good": world.token, "unknown": secrets.new_token()}


def test_both_faces_give_the_same_answers_and_keep_the_same_books(
    world: World, tokens: dict[str, str]
) -> None:
    with transaction.atomic():
        plain = converse(plainly(world), tokens)
        plain_books = books()
        transaction.set_rollback(True)
    raw = converse_raw(world, tokens)
    assert len(plain) == len(raw) == CALLS
    for number, (one, other) in enumerate(zip(plain, raw, strict=True)):
        assert one == other, (number, recorded()[number])
    assert plain_books == books()
    assert all(plain_books)


def test_the_conversation_has_every_answer_in_it(world: World, tokens: dict[str, str]) -> None:
    told = converse(plainly(world), tokens)
    assert {body.get("code", body.get("decision", "allow")) for _, _, body in told} >= CODES
    statuses = {
        item["status"] for _, _, body in told for item in body.get("results", [body]) if "status" in item
    }
    assert statuses >= {"settled", "late", "duplicate", "conflict", "unknown", "invalid"}


def converse(send: Send, tokens: dict[str, str]) -> list[Answered]:
    """Play the conversation and return its answers, without what differs between any two."""
    ids: dict[str, str] = {}  # reservation -> the number of its call
    told = []
    for number, (path, raw) in enumerate(recorded()):
        body = raw.decode()
        for name, token in tokens.items():
            body = body.replace(f"<{name}>", token)
        for reservation, place in ids.items():
            body = body.replace(f'"{place}"', f'"{reservation}"')
        status, headers, answer = send(path, body.encode())
        if "decision" in answer:
            ids.setdefault(answer["reservation"], f"<{number}>")
        text = json.dumps(without_times(answer))
        for reservation, place in ids.items():
            text = text.replace(reservation, place)
        kept = {name.lower(): value for name, value in headers.items()}
        told.append((status, {name: kept.get(name, "") for name in HEADERS}, json.loads(text)))
    return told


def plainly(world: World) -> Send:
    """Return what sends a call through the plain view."""

    def send(path: str, body: bytes) -> Answered:
        answer = world.gus.post(path, body)
        return answer.status_code, dict(answer.headers), answer.json()

    return send


def converse_raw(world: World, tokens: dict[str, str]) -> list[Answered]:
    """Play the conversation through one application."""
    application = DecisionApplication()
    with asyncio.Runner() as runner:
        try:
            return converse(
                lambda path, body: runner.run(call_raw(application, world.gus.gateway, path, body)), tokens
            )
        finally:
            runner.run(application.close())


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if name not in TIMES}
    if isinstance(value, list):
        return [without_times(each) for each in value]
    return NUMBERS.sub("some time.", value) if isinstance(value, str) else value


def books() -> list[list[Any]]:
    """Return every book, without ids and times that two conversations cannot share."""
    found = []
    with connection.cursor() as cursor:
        for table, columns in BOOKS.items():
            cursor.execute(f"SELECT {columns} FROM {table}")  # noqa: S608  the text above
            found.append(sorted(cursor.fetchall(), key=repr))
    return found
