"""API tokens and service accounts over the API: made and revealed by people, revoked by programs too."""

from __future__ import annotations

from datetime import timedelta

import pytest
from rest_framework.test import APIClient

from core import clock
from core.models import AuditEvent, IdempotentCall
from keys.models import ApiToken, ServiceAccount
from keys.secrets import is_wellformed_api_token
from tests.api.acts import service_of
from tests.api.test_errors import problem
from tests.api.world import Caller
from tests.cast import Cast

KEY = {"Idempotency-Key": "a-7c1"}
WHY = {"reason": "It was in a log."}
BODY = {"name": "laptop", "scopes": ["tokens:read", "tokens:write"]}


def sender(secret: str) -> Caller:
    caller = Caller(None)
    caller.client = APIClient(enforce_csrf_checks=True)
    caller.client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return caller


def test_a_token_is_made_and_shown_once_then_revokes_itself(ada: Caller, cast: Cast) -> None:
    made = ada.post("api-tokens/", BODY, headers=KEY)
    assert (made.status_code, made.json()["state"]) == (201, "awaiting_reveal")
    assert made.json() == ada.get(made["Location"]).json()
    path = f"api-tokens/{made.json()['id']}/"

    shown = ada.post(f"{path}reveal/", {}, headers={"Idempotency-Key": "b"})

    assert shown["Cache-Control"] == "no-store"
    secret = shown.json()["secret"]
    assert is_wellformed_api_token(secret)
    problem(ada.post(f"{path}reveal/", {}, headers={"Idempotency-Key": "b"}), 409, "already_revealed")
    assert all(secret not in kept.body for kept in IdempotentCall.objects.all())
    program = sender(secret)
    assert [row["id"] for row in program.get("api-tokens/").json()["results"]] == [made.json()["id"]]
    problem(program.post("api-tokens/", BODY), 403, "person_needed")
    problem(program.post(f"{path}revoke/", {"reason": " "}), 422, "invalid_input")
    ended = program.post(f"{path}revoke/", WHY).json()
    assert (ended["state"], ended["revoked_reason"]) == ("revoked", WHY["reason"])
    problem(program.get("api-tokens/"), 401, "invalid_token")
    problem(ada.post(f"{path}revoke/", WHY), 409, "already_done")
    problem(ada.post(f"{path}reveal/", {}), 410, "key_ended")
    event = AuditEvent.objects.get(action="token.revoked")
    assert (event.actor_label, event.api_token) == (cast.ada.label, made.json()["id"])


@pytest.mark.parametrize(
    ("fields", "status", "name"),
    [
        ({"name": " "}, 422, "name"),
        ({"scopes": []}, 400, "scopes"),
        ({"scopes": ["everything"]}, 400, "scopes.0"),
        ({"expires_at": "2000-01-01T00:00:00Z"}, 422, "expires_at"),
        ({"owner": "ben"}, 422, "owner"),
    ],
)
def test_a_token_that_cannot_be_is_refused_by_the_field(
    ada: Caller, cast: Cast, fields: dict[str, object], status: int, name: str
) -> None:
    sent = {**BODY, **fields}
    if name == "owner":
        sent["owner"] = cast.ben.public_id
    answer = ada.post("api-tokens/", sent)
    assert (answer.status_code, list(answer.json()["errors"])) == (status, [name])
    assert not ApiToken.objects.exists()


def test_a_service_is_opened_given_tokens_and_handed_over(ada: Caller, ann: Caller, cast: Cast) -> None:
    opened = ann.post("service-accounts/", {"name": "Batch", "responsible": " Ada@Example.com "}, headers=KEY)
    assert opened.status_code == 201
    service = opened.json()
    assert (service["name"], service["responsible"]["name"], service["live_tokens"]) == (
        "Batch",
        "Ada Moreno",
        0,
    )
    assert service == ada.get(opened["Location"]).json()
    problem(
        ann.post("service-accounts/", {"name": "Batch", "responsible": cast.ben.email}), 422, "invalid_input"
    )
    until = clock.now() + timedelta(days=5)
    body = {**BODY, "owner": service["id"], "expires_at": until.isoformat()}
    made = ada.post("api-tokens/", body).json()
    assert made["owner"]["name"] == "Batch"
    path = f"service-accounts/{service['id']}/"
    assert ada.get(path).json()["live_tokens"] == 1

    handed = ada.post(f"{path}hand-over/", {"responsible": cast.ben.email}, headers=KEY).json()

    assert (handed["responsible"]["name"], handed["live_tokens"]) == ("Ben Okafor", 0)
    assert ada.post(f"{path}hand-over/", {"responsible": cast.ben.email}, headers=KEY).json() == handed
    problem(ada.get(path), 404, "not_found")
    assert ApiToken.objects.get(public_id=made["id"]).revoked_at is not None
    assert Caller(cast.ben).get(f"api-tokens/{made['id']}/").json()["state"] == "revoked"


def test_nobody_unknown_and_no_service_answers_for_a_service(ann: Caller, cast: Cast) -> None:
    service = service_of(cast.ada)
    for responsible in ("nobody@example.com", service.user.email):
        for path in ("service-accounts/", f"service-accounts/{service.user.public_id}/hand-over/"):
            sent = {"responsible": responsible}
            answer = ann.post(path, {**sent, "name": "Nightly"} if path == "service-accounts/" else sent)
            assert list(problem(answer, 422, "invalid_input")["errors"]) == ["responsible"]
    assert ServiceAccount.objects.get().responsible == cast.ada
