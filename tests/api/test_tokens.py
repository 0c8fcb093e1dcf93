"""Programs at the API: a token does what its owner may, within its scopes, until it ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, transaction
from rest_framework.test import APIClient

from core import clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError
from core.models import AuditEvent
from keys import secrets
from keys.errors import AlreadyRevealedError
from keys.models import ApiToken
from keys.scopes import CONFIRMED, PUBLIC, SCOPES, SIGNED_IN_ONLY, STEMS, scope_of
from keys.services import make_token, reveal_token, revoke_keys_of, revoke_token
from portal.gates import SENSITIVE, always
from teams.models import User
from tests.api.routes import Route, routes
from tests.api.test_errors import problem
from tests.api.test_matrix import IDS, in_days, noun_of
from tests.api.world import Answer, Caller, World
from tests.browsing import Visitor
from tests.cast import Cast

EVERY = sorted(SCOPES)


def program(owner: User, scopes: list[str]) -> APIClient:
    """Return a client that sends a fresh token, and no cookie."""
    secret = reveal_token(actor=owner, token=make_token(actor=owner, name="ci", scopes=scopes)).secret
    client = APIClient(enforce_csrf_checks=True)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def call(client: APIClient, path: str, body: Any = None) -> Answer:
    address = f"/api/v1/{path}"
    return client.get(address) if body is None else client.post(address, body, format="json")


def test_a_token_reads_what_its_owner_may_see(world: World) -> None:
    mine = call(program(world.cast.ada, ["keys:read"]), "keys/").json()["results"]
    assert {key["id"] for key in mine} == {world.key.public_id, world.fresh_key.public_id}
    assert call(program(world.cast.dan, ["keys:read"]), "keys/").json()["results"] == []


def test_a_token_writes_without_a_csrf_token(world: World) -> None:
    client = program(world.cast.ada, ["keys:read", "keys:write"])
    answer = call(client, f"keys/{world.key.public_id}/rename/", {"name": "batch"})
    assert (answer.status_code, answer.json()["name"]) == (200, "batch")


def test_a_scope_that_is_missing_is_named(world: World) -> None:
    client = program(world.cast.ada, ["usage:read", "keys:read"])
    refused = call(client, f"keys/{world.key.public_id}/rename/", {"name": "batch"})
    assert "keys:write" in problem(refused, 403, "scope_missing")["detail"]


OPERATIONS = [route for route in routes() if "/v1/" in route.path and route.operation not in PUBLIC]


def asked_of(route: Route) -> str | None:
    noun = noun_of(route)
    return scope_of(noun, route.operation.removeprefix(f"{noun}_"), route.method)


@pytest.mark.parametrize("route", OPERATIONS, ids=lambda route: route.operation)
def test_every_operation_asks_a_declared_scope_of_a_token(route: Route, world: World) -> None:
    noun = noun_of(route)
    assert noun in STEMS, f"declare in keys.scopes which scope {route.operation} asks for"
    scope = asked_of(route)
    lacking = program(world.cast.ann, [each for each in EVERY if each != scope])
    path = route.path.removeprefix("/api/v1/").replace("{id}", IDS[noun](world))
    answer = call(lacking, path, None if route.method == "GET" else {})
    problem(answer, 403, "scope_missing" if scope else "person_needed")


def test_what_a_person_confirms_each_time_is_closed_to_tokens_or_takes_a_scope_of_its_own() -> None:
    sensitive = {
        route.operation
        for route in OPERATIONS
        if (condition := SENSITIVE.get(route.view_name)) and (condition is always or route.method != "GET")
    }
    assert sensitive - SIGNED_IN_ONLY == set(CONFIRMED)
    others = [route for route in OPERATIONS if route.operation not in sensitive]
    assert {asked_of(route) for route in others} & set(CONFIRMED.values()) == set()


def test_a_budget_is_raised_with_the_scope_for_it_only(world: World) -> None:
    path = f"budgets/{world.budget.public_id}/top-ups/"
    body = {"amount_usd": "20", "valid_until": in_days(3).isoformat(), "reason": "A launch."}
    everything_else = [scope for scope in EVERY if scope != "budgets:raise"]
    refused = call(program(world.cast.ben, everything_else), path, body)
    assert "budgets:raise" in problem(refused, 403, "scope_missing")["detail"]
    assert call(program(world.cast.ben, ["budgets:raise"]), path, body).status_code == 200


@pytest.mark.parametrize("operation", sorted(SIGNED_IN_ONLY))
def test_no_token_shows_a_secret_or_decides(world: World, operation: str) -> None:
    route = next(each for each in OPERATIONS if each.operation == operation)
    path = route.path.removeprefix("/api/v1/").replace("{id}", IDS[noun_of(route)](world))
    problem(
        call(program(world.cast.ann, EVERY), path, None if route.method == "GET" else {}),
        403,
        "person_needed",
    )


def test_bad_tokens_get_one_answer(world: World) -> None:
    ada = world.cast.ada
    ended, expired = program(ada, ["keys:read"]), program(ada, ["keys:read"])
    revoke_token(actor=ada, token=ApiToken.objects.order_by("pk").first() or fail(), reason="Done.")
    bodies = []
    for client in (
        ended,
        sender(secrets.new_token(secrets.API_PREFIX)),
        sender("psr_api_typo"),
        sender(secrets.new_token()),
        sender(""),
        sender("\xe4"),
    ):
        answer = call(client, "keys/")
        assert answer.status_code == 401
        bodies.append(answer.json())
    with time_machine.travel(clock.now() + timedelta(days=91), tick=False):
        bodies.append(call(expired, "keys/").json())
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["code"] == "invalid_token"


def test_a_bad_token_is_not_saved_by_a_session(world: World) -> None:
    client = sender("psr_api_typo")
    client.force_login(world.cast.ada)
    assert call(client, "keys/").status_code == 401


def test_a_leavers_token_is_refused(world: World) -> None:
    client = program(world.cast.ada, ["keys:read"])
    world.cast.ada.is_active = False
    world.cast.ada.save()
    assert call(client, "keys/").status_code == 401
    revoke_keys_of(actor=None, person=world.cast.ada, reason="Left.")
    assert ApiToken.objects.get().revoked_reason == "Left."


def test_the_last_use_is_known_to_a_minute(world: World) -> None:
    client = program(world.cast.ada, ["keys:read"])
    start = clock.now()
    seen = []
    for seconds in (0, 30, 90):
        with time_machine.travel(start + timedelta(seconds=seconds), tick=False):
            call(client, "keys/")
        seen.append(ApiToken.objects.get().last_used_at)
    assert seen == [start, start, start + timedelta(seconds=90)]


def test_answers_to_a_token_are_stored_nowhere(world: World) -> None:
    assert call(program(world.cast.ada, ["keys:read"]), "keys/")["Cache-Control"] == "no-store"


def test_a_token_is_shown_once_to_its_owner(cast: Cast) -> None:
    token = make_token(actor=cast.ada, name="ci", scopes=["keys:read"])
    assert make_token(actor=cast.ada, name="ci", scopes=["keys:read"]) == token
    with pytest.raises(NotAllowedError):
        reveal_token(actor=cast.ben, token=token)
    secret = reveal_token(actor=cast.ada, token=token).secret
    assert secrets.is_wellformed_api_token(secret)
    assert not secrets.is_wellformed(secret)
    with pytest.raises(AlreadyRevealedError):
        reveal_token(actor=cast.ada, token=token)
    with pytest.raises(NotAllowedError):
        revoke_token(actor=cast.ann, token=token, reason="Because.")
    revoke_token(actor=cast.ada, token=token, reason="Done.")
    with pytest.raises(AlreadyDoneError):
        revoke_token(actor=cast.ada, token=token, reason="Done.")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["keys:read", "everything"]}, "scopes"),
        ({"name": " "}, "name"),
        ({"expires_at": timedelta(days=366)}, "expires_at"),
        ({"expires_at": timedelta(days=-1)}, "expires_at"),
    ],
)
def test_a_token_that_cannot_be_is_refused(cast: Cast, change: dict[str, Any], field: str) -> None:
    given: dict[str, Any] = {"name": "ci", "scopes": ["keys:read"], **change}
    if field == "expires_at":
        given["expires_at"] += clock.now()
    with pytest.raises(InvalidInputError) as refused:
        make_token(actor=cast.ada, **given)
    assert refused.value.field == field


def test_raw_sql_neither_widens_nor_prolongs_a_token(cast: Cast) -> None:
    token = reveal_token(
        actor=cast.ada, token=make_token(actor=cast.ada, name="ci", scopes=["keys:read"])
    ).token
    rows = ApiToken.objects.filter(pk=token.pk)
    changes: list[dict[str, Any]] = [
        {"scopes": ["keys:read", "keys:write"]},
        {"scopes": []},
        {"expires_at": token.expires_at + timedelta(days=1)},
        {"owner_id": cast.ben.pk},
        {"secret_hmac": b"0" * 32},
        {"secret_hmac": None},
    ]
    for change in changes:
        with pytest.raises(IntegrityError), transaction.atomic():
            rows.update(**change)
    with pytest.raises(IntegrityError, match="may only end sooner"), transaction.atomic():
        rows.delete()


def sender(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def fail() -> ApiToken:
    raise AssertionError


def test_the_audit_names_the_token_that_was_used(world: World) -> None:
    client = program(world.cast.ada, ["keys:write", "keys:read"])
    token = ApiToken.objects.get(owner=world.cast.ada)
    assert call(client, f"keys/{world.key.public_id}/rename/", {"name": "batch"}).status_code == 200
    event = AuditEvent.objects.get(action="key.renamed")
    assert event.api_token == token.public_id
    page = Visitor(world.cast.ann).get(f"/audit/{event.public_id}/")
    assert token.public_id in page.words
    Caller(world.cast.ada).post(f"keys/{world.key.public_id}/rename/", {"name": "prod"})
    assert AuditEvent.objects.order_by("-pk")[0].api_token == ""
