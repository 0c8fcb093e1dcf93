"""What the API refuses before it asks anybody: always a problem document, never a page, never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import OperationalError, connection
from rest_framework.test import APIClient

from core.problems import CONTENT_TYPE
from keys.models import ApiKey
from tests.api.world import Answer, Caller, World
from tests.cast import Cast

NUL = "\0"
LONE_SURROGATE = b'{"project": "\\ud800", "name": "laptop"}'
HUGE_NUMBERS = [b'{"name": 1e999}', b'{"name": 123456789012345678901234567890}', b'{"name": -1e308}']


def problem(response: Answer, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a problem document with this status and code, and return it."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == CONTENT_TYPE
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:purser:problem:{code}"
    assert document["title"]
    assert document["detail"]
    return document


def raw(caller: Caller, body: bytes, content_type: str = "application/json") -> Answer:
    return caller.client.post("/api/v1/keys/", body, content_type=content_type)


def test_stranger_is_asked_to_sign_in(cast: Cast) -> None:
    response = Caller(None).get("keys/")
    document = problem(response, 401, "not_authenticated")
    assert "Sign in at /accounts/login/" in document["detail"]
    assert response["WWW-Authenticate"] == 'Session realm="purser", Bearer realm="purser"'


def test_somebody_who_left_is_a_stranger(cast: Cast) -> None:
    ada = Caller(cast.ada)
    cast.ada.is_active = False
    cast.ada.save()
    problem(ada.get("keys/"), 401, "not_authenticated")


def test_write_without_csrf_token_is_refused(cast: Cast) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(cast.ada)
    body = {"project": cast.ranking.public_id, "name": "laptop"}
    document = problem(client.post("/api/v1/keys/", body, format="json"), 403, "csrf_failed")
    assert "X-CSRFToken" in document["detail"]

    client.cookies["csrftoken"] = token = "t" * 32
    made = client.post("/api/v1/keys/", body, format="json", headers={"X-CSRFToken": token})
    assert made.status_code == 201


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/api/", "/api/v1/", "/api/v1/key/", "/api/v1/keys", "/api/v2/keys/"])
def test_unknown_address_is_a_problem(db: None, method: str, path: str) -> None:
    document = problem(APIClient(enforce_csrf_checks=True).generic(method, path), 404, "not_found")
    assert "/api/schema/" in document["detail"]


@pytest.mark.parametrize("id", ["1", "key_short", "req_" + "a" * 18, "key_" + "a" * 17 + "%00"])
def test_id_of_another_shape_is_unknown(ada: Caller, id: str) -> None:  # noqa: A002  the name in the address
    problem(ada.get(f"keys/{id}/"), 404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_method_is_refused_with_the_known_ones(ada: Caller, world: World, method: str) -> None:
    response = ada.client.generic(method, f"/api/v1/keys/{world.key.public_id}/")
    problem(response, 405, "method_not_allowed")
    assert set(response["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_document_can_only_be_read(db: None, method: str) -> None:
    response = APIClient(enforce_csrf_checks=True).generic(method, "/api/schema/")
    problem(response, 405, "method_not_allowed")


def test_body_that_is_not_json_is_refused(ada: Caller) -> None:
    document = problem(raw(ada, b'{"project": '), 400, "invalid_request")
    assert "not JSON" in document["detail"]


@pytest.mark.parametrize("body", [b'{"name": NaN}', b'{"name": "\xff"}', LONE_SURROGATE])
def test_what_json_does_not_know_is_refused(ada: Caller, body: bytes) -> None:
    problem(raw(ada, body), 400, "invalid_request")


def test_form_is_refused(ada: Caller) -> None:
    response = raw(ada, b"name=laptop", "application/x-www-form-urlencoded")
    problem(response, 415, "unsupported_media_type")


def test_other_answer_than_json_is_refused(ada: Caller) -> None:
    response = ada.client.get("/api/v1/keys/", headers={"Accept": "text/csv"})
    problem(response, 406, "not_acceptable")


def test_large_body_is_refused(ada: Caller) -> None:
    problem(raw(ada, json.dumps({"name": "a" * 65_536}).encode()), 413, "body_too_large")


@pytest.mark.parametrize("levels", [17, 500, 30_000])
def test_deep_body_is_refused(ada: Caller, levels: int) -> None:
    problem(raw(ada, b"[" * levels + b"]" * levels), 400, "invalid_request")


@pytest.mark.parametrize("body", ["text", 7, True, ["project"]])
def test_body_that_is_no_object_is_refused(ada: Caller, body: object) -> None:
    document = problem(ada.post("keys/", body), 400, "invalid_request")
    assert document["errors"] == {"body": ["Send a JSON object."]}


@pytest.mark.parametrize("name", ["owner", "tier", "models", "revealed_at", "id", "proejct"])
def test_unknown_field_is_refused_by_its_name(ada: Caller, cast: Cast, name: str) -> None:
    body = {"project": cast.ranking.public_id, "name": "laptop", name: cast.ben.public_id}
    document = problem(ada.post("keys/", body), 400, "invalid_request")
    assert list(document["errors"]) == [name]
    assert not ApiKey.objects.exists()


def test_missing_fields_are_named(ada: Caller) -> None:
    document = problem(ada.post("requests/", {}), 400, "invalid_request")
    assert set(document["errors"]) == {"project", "tier", "reason", "expected_monthly_usd"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("project", 7),
        ("project", "prj_short"),
        ("tier", "2"),
        ("tier", True),
        ("tier", 10**18),
        ("tier", 2.5),
        ("models", "large"),
        ("models.0", [7]),
        ("models.0", [f"a{NUL}b"]),
        ("reason", None),
        ("reason", f"Because{NUL}."),
        ("reason", "a" * 2_001),
        ("expected_monthly_usd", 100),
        ("expected_monthly_usd", "1e3"),
        ("expected_monthly_usd", "-1"),
        ("expected_monthly_usd", "NaN"),
        ("expected_monthly_usd", "0.0000000000001"),
        ("duration_days", 0),
    ],
)
def test_value_of_another_shape_is_refused_by_its_name(
    ada: Caller, cast: Cast, name: str, value: object
) -> None:
    body = {
        "project": cast.ranking.public_id,
        "tier": 2,
        "reason": "The small models miss one answer in three.",
        "expected_monthly_usd": "100",
        name.partition(".")[0]: value,
    }
    document = problem(ada.post("requests/", body), 400, "invalid_request")
    assert list(document["errors"]) == [name]


@pytest.mark.parametrize("body", HUGE_NUMBERS)
def test_number_beyond_reason_is_refused(ada: Caller, body: bytes) -> None:
    problem(raw(ada, body), 400, "invalid_request")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"stauts": "pending"}, "stauts"),
        ({"status": "open"}, "status"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": "9" * 40}, "limit"),
        ({"project": "ranking"}, "project"),
        ({"tier": "x"}, "tier"),
        ({"cursor": f"req_{NUL}"}, "cursor"),
        ({"format": "json"}, "format"),
    ],
)
def test_parameter_that_cannot_be_used_is_refused_by_its_name(
    ada: Caller, query: dict[str, str], name: str
) -> None:
    document = problem(ada.get("requests/", **query), 400, "invalid_request")
    assert list(document["errors"]) == [name]


def test_object_takes_no_parameters(ada: Caller, world: World) -> None:
    document = problem(ada.get(f"keys/{world.key.public_id}/", limit="5"), 400, "invalid_request")
    assert list(document["errors"]) == ["limit"]


def test_answers_are_not_stored(ada: Caller, world: World) -> None:
    assert ada.get("keys/")["Cache-Control"] == "no-store"


def test_thousand_parameters_are_refused(ada: Caller) -> None:
    problem(ada.get("keys/?" + "&".join(f"p{number}=1" for number in range(1_001))), 400, "invalid_request")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(OperationalError("away"), 503, "unavailable"), (ZeroDivisionError("a bug"), 500, "internal_error")],
)
def test_failure_is_a_problem_too(ada: Caller, error: Exception, status: int, code: str) -> None:
    def fail(*arguments: object) -> object:
        raise error

    ada.client.raise_request_exception = False
    with connection.execute_wrapper(fail):
        response = ada.get("keys/")
    problem(response, status, code)
    assert response.has_header("Retry-After") == (status == 503)
    assert response["X-Request-Id"]
