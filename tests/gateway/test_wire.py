"""Broken, oversize and contradictory requests: a clear error each, and nothing is asked of the database."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from core.errors import DomainError
from gateway.hot import fields, wire

GOOD = {
    "request_id": "r-12345678",
    "key": "k",
    "model": "m",
    "route": "/v1/chat/completions",
    "input_bytes": 10,
}


def parse(**changes: Any) -> wire.AuthorizeCall:
    value = {name: item for name, item in (GOOD | changes).items() if item is not ...}
    return wire.parse_authorize(orjson.dumps(value))


def refused(body: bytes) -> DomainError:
    with pytest.raises(DomainError) as caught:
        wire.parse_authorize(body)
    return caught.value


def test_a_minimal_question_is_understood_with_its_defaults() -> None:
    call = parse()
    assert (call.mode, call.choices, call.context, call.max_output_tokens, call.project) == (
        "chat",
        1,
        "standard",
        None,
        None,
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b"\xff\xfe", b'{"a": NaN}', b'{"a": Infinity}', b"[1]", b'"text"', b"null"],
)
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    error = refused(body)
    assert (error.code, error.status) == ("invalid_request", 400)


def test_an_oversize_body_is_refused_by_its_size() -> None:
    error = refused(b'{"key": "' + b"x" * fields.MAX_BODY_BYTES + b'"}')
    assert (error.code, error.status) == ("body_too_large", 413)


def test_a_deep_body_is_refused_before_it_is_built() -> None:
    assert "levels deep" in refused(b'{"key": ' + b"[" * 200 + b"]" * 200 + b"}").detail


def test_brackets_inside_a_text_are_not_depth() -> None:
    assert parse(model='[[[[[[[[[[[[[[[[[[[[[[{{{{{{{{{{"\\').model.startswith("[[[")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", "short"),
        ("request_id", "x" * 65),
        ("request_id", "has space in it"),
        ("request_id", 12345678),
        ("key", ""),
        ("key", "k" * 201),
        ("key", None),
        ("model", ["m"]),
        ("model", "a\x00b"),
        ("route", ""),
        ("input_bytes", -1),
        ("input_bytes", 10**9),
        ("input_bytes", 1.5),
        ("input_bytes", True),
        ("input_bytes", "10"),
        ("max_output_tokens", 0),
        ("max_output_tokens", 10**9),
        ("n", 0),
        ("n", 1000),
        ("n", None),
        ("context", "turbo"),
        ("stream", "yes"),
        ("project_id", 7),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: object) -> None:
    error = refused(orjson.dumps(GOOD | {field: value}))
    assert error.field == field or field in error.detail


def test_a_missing_or_double_input_bound_is_refused() -> None:
    with pytest.raises(DomainError):
        parse(input_bytes=...)
    with pytest.raises(DomainError):
        parse(input_tokens=5)
    assert parse(input_bytes=..., input_tokens=5).input_bound_tokens == 5


def test_an_unknown_field_is_refused_so_that_a_typo_cannot_lose_a_limit() -> None:
    assert refused(orjson.dumps(GOOD | {"max_tokens": 10})).field == "max_tokens"


def test_the_hash_tells_a_repeat_from_another_body() -> None:
    assert parse().request_hash == parse().request_hash != parse(n=2).request_hash


@pytest.mark.parametrize(
    "body",
    [
        b'{"items": []}',
        b'{"items": {}}',
        b'{"items": [], "x": 1}',
        b'{"reservation": "r", "usage": [], "finish": "stop"}',
        b'{"reservation": "r", "usage": {}, "finish": "gone"}',
        b'{"reservation": "r", "usage": {"tokens": 1}, "finish": "stop"}',
        b'{"reservation": "r", "usage": {}, "finish": "stop", "cache_hit": 1}',
        b'{"reservation": "r", "usage": {}, "finish": "stop", "cost_usd": "0.01"}',
        b'{"reservation": "r", "usage": {}, "finish": "stop", "served_context": "a b"}',
        b'{"reservation": "r", "usage": {}, "finish": "stop", "served_context": 1}',
        b'{"usage": {}, "finish": "stop"}',
    ],
)
def test_a_broken_settlement_is_refused(body: bytes) -> None:
    with pytest.raises(DomainError):
        wire.parse_settlements(body)


def test_too_large_a_batch_is_refused() -> None:
    items = [{"reservation": "r", "usage": {}, "finish": "stop"}] * (wire.MAX_BATCH_ITEMS + 1)
    with pytest.raises(DomainError):
        wire.parse_settlements(orjson.dumps({"items": items}))


def test_a_refusal_is_a_problem_document_and_an_openai_error_in_one() -> None:
    answer = wire.refusal(fields.WireError("Say n.", field="n"), retry_after_seconds=3, should_retry=True)
    body = orjson.loads(answer.encode())
    assert body["type"] == "urn:purser:problem:invalid_request"
    assert body["error"] == {
        "message": "Say n.",
        "type": "invalid_request",
        "param": "n",
        "code": "invalid_request",
    }
    assert answer.headers == (("Retry-After", "3"), ("x-should-retry", "true"))
    assert answer.content_type == "application/problem+json"
