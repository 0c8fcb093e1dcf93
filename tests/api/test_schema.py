"""The OpenAPI document: valid, complete, and the same for everybody."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.management import call_command
from drf_spectacular.validation import validate_schema

from core.problems import CONTENT_TYPE
from keys.scopes import PUBLIC, SIGNED_IN_ONLY
from portal.api import openapi_document
from tests.api.routes import routes
from tests.api.world import Caller
from tests.cast import Cast

PROBLEM = {"$ref": "#/components/schemas/ProblemOut"}
NOT_OPERATIONS = {"api-schema", "unknown_address"}
MONEY = re.compile(r"_usd(_|$)")
# Prices for one unit have more decimals than the ledger.
UNIT_PRICE = "usd_per_unit"

EMPTY: list[str] = []


@pytest.fixture
def document() -> dict[str, Any]:
    """Return the document."""
    return openapi_document()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    validate_schema(document)


def test_document_is_made_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null")
    assert capsys.readouterr().err == ""


def test_everybody_gets_the_same_document(cast: Cast, document: dict[str, Any]) -> None:
    for caller in (Caller(None), Caller(cast.ada), Caller(cast.ann)):
        response = caller.get("/api/schema/")
        assert response.status_code == 200
        assert response.json() == document


def test_every_operation_is_documented_under_its_name(document: dict[str, Any]) -> None:
    written = {name: operation["operationId"] for name, operation in operations(document).items()}
    known = {
        f"{route.method} {route.path}": route.operation
        for route in routes()
        if route.operation not in NOT_OPERATIONS
    }
    assert written == known
    assert all(operation["description"] for operation in operations(document).values())


def test_every_refusal_is_the_one_problem_document(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        refusals = {status: each for status, each in operation["responses"].items() if status >= "400"}
        assert {"400", "401", "406"} <= refusals.keys(), name
        for refusal in refusals.values():
            assert refusal["content"] == {CONTENT_TYPE: {"schema": PROBLEM}}, name


def test_writes_need_the_csrf_token_and_reads_do_not(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        needed: dict[str, list[str]] = (
            {"session": []} if name.startswith("GET ") else {"session": [], "csrf": []}
        )
        if operation["operationId"] in PUBLIC:
            assert operation["security"] == [{}], name
            continue
        takes_tokens = operation["operationId"] not in SIGNED_IN_ONLY
        for_tokens = [{"token": EMPTY}] if takes_tokens else []
        assert operation["security"] == [*for_tokens, needed], name


def test_bodies_are_closed(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bodies = {name: schema for name, schema in schemas.items() if name.endswith("In")}
    assert len(bodies) == 80
    assert all(schema["additionalProperties"] is False for schema in bodies.values())


def test_money_is_a_string_with_twelve_decimals(document: dict[str, Any]) -> None:
    amounts = {
        (name, field): schema
        for name, owner in document["components"]["schemas"].items()
        if not name.endswith("In")
        for field, schema in owner.get("properties", {}).items()
        if MONEY.search(field) and field != UNIT_PRICE
    }
    assert len(amounts) >= 15
    for place, schema in amounts.items():
        assert "string" in schema["type"], place
        assert schema["pattern"] == r"^-?[0-9]+\.[0-9]{12}$", place


def test_ids_are_text_everywhere(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, value in schema.get("properties", {}).items():
            if field == "id" or field.endswith("_id"):
                assert value["type"] in ("string", ["string", "null"]), (name, field)
