"""OpenTelemetry traces as usage: each span of a call to a model is one call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from core import clock
from gateway.adapters.otlp import read_spans
from gateway.adapters.pushed import PushedRow, UnreadableBodyError
from tests.gateway.conftest import World
from tests.gateway.test_push import counts, push
from usage.models import Quarantine, UsageEvent

TRACE = "5b8efff798038103d269b633813fc60c"


def attribute(key: str, value: Any) -> dict[str, Any]:
    """Return one attribute in its JSON encoding, whole numbers as texts."""
    match value:
        case bool():
            return {"key": key, "value": {"boolValue": value}}
        case int():
            return {"key": key, "value": {"intValue": str(value)}}
        case float():
            return {"key": key, "value": {"doubleValue": value}}
        case list():
            return {"key": key, "value": {"arrayValue": {"values": [{"stringValue": one} for one in value]}}}
        case dict():
            return {"key": key, "value": value}
        case _:
            return {"key": key, "value": {"stringValue": value}}


def span(number: int, at: datetime | None = None, **changes: Any) -> dict[str, Any]:
    """Return the span of one chat: 1,000 tokens in, 400 of them from the cache, 120 out."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small",
        "gen_ai.response.id": f"chatcmpl-{number}",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 1_000,
        "gen_ai.usage.cache_read.input_tokens": 400,
        "gen_ai.usage.output_tokens": 120,
        "gen_ai.usage.reasoning.output_tokens": 20,
        "gen_ai.input.messages": "[a prompt that nobody keeps]",
        **changes.pop("attributes", {}),
    }
    moment = at or clock.now()
    return {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "name": "chat small",
        "kind": 3,
        "startTimeUnixNano": str(int(moment.timestamp() * 1_000_000) * 1_000),
        "endTimeUnixNano": str(int(moment.timestamp() * 1_000_000 + 1_000_000) * 1_000),
        "attributes": [attribute(key, value) for key, value in attributes.items() if value is not None],
        "status": {},
        **changes,
    }


def trace(*spans: dict[str, Any], **resource: Any) -> dict[str, Any]:
    """Return an export request of one resource."""
    attributes = [attribute(key, value) for key, value in {"service.name": "edge", **resource}.items()]
    scope = {"scope": {"name": "gateway", "version": "1"}, "spans": list(spans)}
    return {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [scope]}]}


def read(*spans: dict[str, Any]) -> list[PushedRow | None]:
    return list(read_spans(trace(*spans)))


def only(*spans: dict[str, Any]) -> dict[str, Any]:
    [found] = read(*spans)
    assert found is not None
    assert found.reason is None
    return found.row


def test_a_trace_is_booked_with_the_key_of_its_resource(world: World) -> None:
    body = trace(span(1), span(2), **{"purser.key_id": world.key.public_id})

    answer = push(world.gus, body)

    assert counts(answer) == (2, 0, 0)
    event = UsageEvent.objects.get(external_id=f"{TRACE}-{1:016x}")
    assert (event.input_tokens, event.cached_tokens, event.output_tokens, event.reasoning_tokens) == (
        1_000,
        400,
        120,
        20,
    )
    assert (event.provider_call_id, event.finish, event.key_id) == ("chatcmpl-1", "stop", world.key.pk)
    assert counts(push(world.gus, body)) == (0, 2, 0)


def test_a_spans_own_key_comes_before_that_of_its_resource(world: World) -> None:
    mine = span(1, attributes={"purser.key_id": world.key.public_id})

    answer = push(world.gus, trace(mine, span(2), **{"purser.key_id": "key_nobody"}))

    assert counts(answer) == (1, 0, 1)
    assert answer.json()["errors"][0] == {
        "line": 2,
        "id": f"{TRACE}-{2:016x}",
        "reason": "unknown_key",
        "detail": "No key has this public id.",
    }


def test_spans_that_are_no_calls_are_skipped(world: World) -> None:
    agent = span(2, attributes={"gen_ai.operation.name": "invoke_agent"})
    tool = span(3, attributes={"gen_ai.operation.name": "execute_tool"})
    plain = {"traceId": TRACE, "spanId": f"{4:016x}", "name": "GET /", "attributes": []}

    answer = push(world.gus, trace(span(1), agent, tool, plain, **{"purser.key_id": world.key.public_id}))

    assert counts(answer) == (1, 0, 0)
    assert answer.json()["skipped"] == 3


@pytest.mark.parametrize("number", [{"intValue": "250"}, {"intValue": 250}, {"doubleValue": 250.0}])
def test_numbers_come_as_texts_numbers_or_doubles(number: dict[str, Any]) -> None:
    assert only(span(1, attributes={"gen_ai.usage.output_tokens": number}))["output_tokens"] == 250


@pytest.mark.parametrize("number", [{"doubleValue": 2.5}, {"stringValue": "many"}, {"intValue": "1e3"}])
def test_numbers_that_are_none_stay_as_they_are(number: dict[str, Any]) -> None:
    [told] = number.values()
    assert only(span(1, attributes={"gen_ai.usage.output_tokens": number}))["output_tokens"] == told


def test_older_names_of_the_counts_are_read() -> None:
    gone = dict.fromkeys(("gen_ai.operation.name", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"))
    older = {"gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.completion_tokens": 3}

    row = only(span(1, attributes={**gone, "gen_ai.usage.cache_read.input_tokens": None, **older}))

    assert (row["input_tokens"], row["output_tokens"]) == (7, 3)


@pytest.mark.parametrize(
    ("changes", "finish"),
    [
        ({}, "stop"),
        ({"attributes": {"gen_ai.response.finish_reasons": ["tool_calls"]}}, "stop"),
        ({"attributes": {"gen_ai.response.finish_reasons": ["length"]}}, "length"),
        ({"attributes": {"gen_ai.response.finish_reasons": ["max_tokens"]}}, "length"),
        ({"status": {"code": 2}}, "error"),
        ({"status": {"code": "STATUS_CODE_ERROR"}}, "error"),
        ({"attributes": {"error.type": "timeout"}}, "error"),
    ],
)
def test_how_a_call_ended(changes: dict[str, Any], finish: str) -> None:
    assert only(span(1, **changes))["finish"] == finish


def test_the_start_of_a_span_is_its_moment_to_the_microsecond() -> None:
    row = only(span(1, startTimeUnixNano="1763900000123456789"))

    assert row["at"] == datetime(2025, 11, 23, 12, 13, 20, 123456, tzinfo=UTC).isoformat()
    assert "at" not in only(span(1, startTimeUnixNano="yesterday"))


def test_prompts_are_not_kept_even_of_spans_that_cannot_be_booked(world: World) -> None:
    answer = push(world.gus, trace(span(1), span(2, spanId="short"), **{"purser.key_id": "key_nobody"}))

    assert counts(answer) == (0, 0, 2)
    kept = str(list(Quarantine.objects.values()))
    assert "nobody keeps" not in kept
    assert "spanId 16 hexadecimal" in kept


@pytest.mark.parametrize(
    "document",
    [
        {"resourceSpans": "none"},
        {"resourceSpans": [1]},
        {"resourceSpans": [{"scopeSpans": {}}, 4]},
        {"resourceSpans": [{"scopeSpans": [{"spans": ["one"]}]}]},
    ],
)
def test_what_is_no_trace_is_refused_whole(document: Any) -> None:
    with pytest.raises(UnreadableBodyError, match="must be a list of objects"):
        list(read_spans(document))


def test_a_trace_without_spans_is_no_mistake(world: World) -> None:
    answer = push(world.gus, {"resourceSpans": []})

    assert counts(answer) == (0, 0, 0)
