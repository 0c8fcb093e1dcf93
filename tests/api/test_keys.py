"""Keys over the API: made for oneself, revealed once, ended for good."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core import clock
from core.models import AuditEvent
from keys import secrets
from keys.models import ApiKey, KeyState
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Caller, World
from tests.cast import Cast


def test_engineer_makes_a_key_and_finds_it_at_its_address(ada: Caller, cast: Cast) -> None:
    response = ada.post("keys/", {"project": cast.ranking.public_id, "name": "laptop"})
    assert response.status_code == 201
    made = response.json()
    assert made["state"] == "awaiting_reveal"
    assert made["tiers"] == [1]
    assert made["owner"] == {"id": cast.ada.public_id, "name": "Ada Moreno"}
    assert made["project"] == {"id": cast.ranking.public_id, "name": "Ranking", "code": "ranking"}
    assert ada.get(response["Location"]).json() == made


def test_key_ends_when_its_maker_says(ada: Caller, cast: Cast) -> None:
    ends_at = (clock.now() + timedelta(days=7)).replace(microsecond=0)
    body = {"project": cast.ranking.public_id, "name": "laptop", "expires_at": ends_at.isoformat()}
    made = ada.post("keys/", body).json()
    assert made["expires_at"] == f"{ends_at:%Y-%m-%dT%H:%M:%S}Z"


@pytest.mark.parametrize("name", ["", "   ", "n" * 81])
def test_name_that_cannot_be_used_is_refused(ada: Caller, cast: Cast, name: str) -> None:
    document = problem(
        ada.post("keys/", {"project": cast.ranking.public_id, "name": name}), 422, "invalid_input"
    )
    assert list(document["errors"]) == ["name"]


@pytest.mark.parametrize("days", [-1, 400, 365 * 700])
def test_end_that_cannot_be_is_refused(ada: Caller, cast: Cast, days: int) -> None:
    ends_at = (clock.now() + timedelta(days=days)).isoformat()
    body = {"project": cast.ranking.public_id, "name": "laptop", "expires_at": ends_at}
    assert list(problem(ada.post("keys/", body), 422, "invalid_input")["errors"]) == ["expires_at"]


@pytest.mark.parametrize("moment", ["tomorrow", "2026-13-01T00:00:00Z", "2026-11-23T12:00:00", 1_800_000_000])
def test_moment_of_another_shape_is_refused(ada: Caller, cast: Cast, moment: object) -> None:
    body = {"project": cast.ranking.public_id, "name": "laptop", "expires_at": moment}
    assert list(problem(ada.post("keys/", body), 400, "invalid_request")["errors"]) == ["expires_at"]


def test_project_of_others_looks_like_none(dan: Caller, cast: Cast) -> None:
    refused = [
        problem(dan.post("keys/", {"project": project, "name": "laptop"}), 422, "invalid_input")
        for project in (cast.ranking.public_id, "prj_" + "a" * 18)
    ]
    assert refused[0] == refused[1]


def test_secret_is_in_one_answer_and_never_again(ada: Caller, world: World) -> None:
    path = f"keys/{world.fresh_key.public_id}/"
    revealed = ada.post(f"{path}reveal/")
    assert revealed.status_code == 200
    assert revealed["Cache-Control"] == "no-store"
    secret = revealed.json()["secret"]
    assert secrets.is_wellformed(secret)
    assert ApiKey.objects.get(pk=world.fresh_key.pk).state is KeyState.LIVE

    again = problem(ada.post(f"{path}reveal/"), 409, "already_revealed")
    assert again["key"] == world.fresh_key.public_id
    for response in (ada.get(path), ada.get("keys/"), ada.post(f"{path}reveal/")):
        assert secret not in response.content.decode()


def test_ended_key_is_not_revealed(ada: Caller, world: World) -> None:
    path = f"keys/{world.fresh_key.public_id}/"
    assert ada.post(f"{path}revoke/", {"reason": "Not needed."}).json()["state"] == "revoked"
    problem(ada.post(f"{path}reveal/"), 410, "key_ended")


def test_reveal_takes_no_fields(ada: Caller, world: World) -> None:
    response = ada.post(f"keys/{world.fresh_key.public_id}/reveal/", {"secret": "mine"})
    assert list(problem(response, 400, "invalid_request")["errors"]) == ["secret"]
    assert ApiKey.objects.get(pk=world.fresh_key.pk).revealed_at is None


def test_lead_revokes_a_key_with_his_reason(ben: Caller, world: World) -> None:
    path = f"keys/{world.key.public_id}/revoke/"
    ended = ben.post(path, {"reason": "Seen in a log."}).json()
    assert ended["state"] == "revoked"
    assert ended["tiers"] == []
    assert ended["revoked_by"]["name"] == "Ben Okafor"
    assert ended["revoked_reason"] == "Seen in a log."
    again = problem(ben.post(path, {"reason": "Seen in a log."}), 409, "already_done")
    assert again["by"] == "Ben Okafor"


def test_revocation_needs_a_reason(ada: Caller, world: World) -> None:
    response = ada.post(f"keys/{world.key.public_id}/revoke/", {"reason": " "})
    assert list(problem(response, 422, "invalid_input")["errors"]) == ["reason"]


def test_act_over_the_api_is_audited_with_its_origin(ada: Caller, cast: Cast) -> None:
    response = ada.post("keys/", {"project": cast.ranking.public_id, "name": "laptop"})
    event = AuditEvent.objects.get(action="key.issued")
    assert event.actor_id == cast.ada.pk
    assert event.request_id == response["X-Request-Id"]


def test_keys_can_be_listed_by_project_and_owner(ben: Caller, world: World) -> None:
    other = factories.ApiKeyFactory.create(project=world.cast.ranking, owner=world.cast.ben)
    of_ben = ben.get("keys/", owner=world.cast.ben.public_id).json()["results"]
    assert [key["id"] for key in of_ben] == [other.public_id]
    assert ben.get("keys/", project=world.cast.fraud.public_id).json()["results"] == []
    assert len(ben.get("keys/", project=world.cast.ranking.public_id).json()["results"]) == 3


def test_grant_names_its_models_and_its_request(ada: Caller, world: World) -> None:
    grant = ada.get(f"grants/{world.grant.public_id}/").json()
    assert grant["models"] == ["large"]
    assert grant["tier"] == 2
    assert grant["state"] == "active"
    assert grant["monthly_cap_usd"] == "1000.000000000000"
    assert grant["key"] == {"id": world.key.public_id, "name": "prod"}
    assert grant["granted_by"]["name"] == "Ben Okafor"
    assert grant["supersedes"] is None
    assert ada.get(f"requests/{grant['request']}/").json()["status"] == "approved"


def test_a_rotation_by_api_is_asked_revealed_and_ended(ada: Caller, world: World) -> None:
    path = f"keys/{world.key.public_id}/"
    before = ada.get(path).json()["masked"]
    asked = ada.post(f"{path}rotate/", {"overlap_hours": 1}).json()
    assert (asked["masked"], asked["rotation_overlap_hours"], asked["previous_until"]) == (before, 1, None)

    shown = ada.post(f"{path}reveal/", {})

    assert shown.json()["key"]["previous_masked"] == before
    assert ada.post(f"{path}rotate/", {}).json()["code"] == "two_live_secrets"
    ended = ada.post(f"{path}end_previous/", {}).json()
    assert ended["masked"] == shown.json()["key"]["masked"]
    assert ended["rotation_asked_at"] is None


def test_a_grant_shrinks_by_the_names_of_its_models(ada: Caller, world: World) -> None:
    path = f"grants/{world.grant.public_id}/shrink/"
    body = {"models": ["large"], "monthly_cap_usd": "7", "reason": "Enough."}
    assert ada.post(path, body).json()["monthly_cap_usd"] == "7.000000000000"
    unknown = ada.post(path, {**body, "models": ["gone"]})
    assert (unknown.status_code, unknown.json()["errors"]) == (422, {"models": ["There is no model gone."]})
    wider = ada.post(path, {**body, "models": ["large", "larger"]})
    assert (wider.status_code, list(wider.json()["errors"])) == (422, ["models"])
