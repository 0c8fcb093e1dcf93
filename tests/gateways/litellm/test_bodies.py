"""What a body asks for: only known fields pass, and its input is bounded from above."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins.litellm.purser_plugin import bodies

ATTACHED = 200_000
CONTROLS = (
    "api_base", "api_key", "base_url", "mock_response", "litellm_call_id", "input_cost_per_token", "no-log",
    "fallbacks", "num_retries", "extra_body", "extra_headers", "metadata", "litellm_metadata", "model_info",
    "custom_llm_provider", "guardrails", "callbacks", "max_retries", "timeout", "deployment_id",
)  # fmt: skip


def chat(content: Any, **more: Any) -> dict[str, Any]:
    """Return the body of a chat completion."""
    return {"model": "small", "messages": [{"role": "user", "content": content}], **more}


def ask(body: dict[str, Any], route: bodies.Route = bodies.CHAT) -> bodies.Question:
    """Return the question that a body becomes."""
    return bodies.question(route, body, attachment_tokens=ATTACHED)


def test_control_fields_of_clients_do_not_pass() -> None:
    controls = dict.fromkeys(CONTROLS, 1)
    body = chat("hi", temperature=0.5, tools=[])
    assert bodies.passing(bodies.CHAT, {**body, **controls}, frozenset()) == body


def test_an_operator_may_let_a_new_field_pass() -> None:
    body = chat("hi", brand_new="yes")
    assert "brand_new" not in bodies.passing(bodies.CHAT, body, frozenset())
    assert bodies.passing(bodies.CHAT, body, frozenset({"brand_new"})) == body


def test_a_client_may_decline_the_cache_but_not_steer_it() -> None:
    steered = {"no-cache": True, "namespace": "somebody-elses", "ttl": 10**9}
    assert bodies.passing(bodies.CHAT, chat("hi", cache=steered), frozenset())["cache"] == {"no-cache": True}
    assert "cache" not in bodies.passing(bodies.CHAT, chat("hi", cache={"ttl": 1}), frozenset())


@given(text=st.text(max_size=400), system=st.text(max_size=100))
def test_the_bound_is_never_below_the_bytes_of_the_text(text: str, system: str) -> None:
    body = chat(text)
    body["messages"].insert(0, {"role": "system", "content": system})
    bytes_of_text = len((text + system).encode("utf-8", "surrogatepass"))
    assert ask(body).bound["input_bytes"] >= bytes_of_text


ANY_JSON = st.recursive(
    st.none() | st.text(max_size=20) | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(ANY_JSON)
def test_any_json_in_a_conversation_is_bounded(content: Any) -> None:
    bound = ask(chat(content)).bound
    assert set(bound) in ({"input_bytes"}, {"input_tokens"})
    assert next(iter(bound.values())) > 0


def test_tools_count_with_what_the_provider_adds_for_them() -> None:
    tool = {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
    }
    plain, with_tools = (
        ask(chat("hi")).bound["input_bytes"],
        ask(chat("hi", tools=[tool])).bound["input_bytes"],
    )
    assert with_tools >= plain + len(json.dumps(tool, separators=(",", ":"))) + bodies.TOOLS_OVERHEAD_BYTES


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "input_file", "file_id": "file-1"},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 5_000},
        },
        {"type": "something_new", "data": "?"},
    ],
)
def test_what_is_not_text_counts_as_the_configured_tokens(part: dict[str, Any]) -> None:
    bound = ask(chat([{"type": "text", "text": "look"}, part])).bound
    assert ATTACHED < bound["input_tokens"] < ATTACHED + 1_000


def test_text_inside_a_document_still_counts() -> None:
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "many words " * 9_000},
    }
    assert ask(chat([document])).bound["input_tokens"] > ATTACHED + 90_000


def test_long_text_beside_a_picture_still_counts() -> None:
    parts = [{"type": "text", "text": "A" * 50_000}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert ask(chat(parts)).bound["input_tokens"] > ATTACHED + 50_000


def test_what_a_tool_was_given_may_use_the_word_type() -> None:
    call = {"type": "tool_use", "id": "1", "name": "file", "input": {"type": "invoice"}}
    assert "input_bytes" in ask(chat([call])).bound


@pytest.mark.parametrize(
    ("route", "changes"),
    [
        (bodies.RESPONSES, {"previous_response_id": "resp_1"}),
        (bodies.RESPONSES, {"prompt": {"id": "pmpt_1"}}),
        (bodies.RESPONSES, {"tools": [{"type": "web_search"}]}),
        (bodies.MESSAGES, {"mcp_servers": [{"url": "https://example.com"}]}),
        (bodies.CHAT, {"web_search_options": {"search_context_size": "high"}}),
    ],
)
def test_input_that_the_provider_fetches_itself_is_bounded_too(
    route: bodies.Route, changes: dict[str, Any]
) -> None:
    assert ask({"model": "small", "input": "hi", **changes}, route).bound["input_tokens"] > ATTACHED


@pytest.mark.parametrize(
    ("body", "route", "choices"),
    [
        (chat("hi"), bodies.CHAT, 1),
        (chat("hi", n=3), bodies.CHAT, 3),
        ({"model": "m", "prompt": ["a", "b"], "n": 2}, bodies.COMPLETION, 4),
        ({"model": "m", "prompt": "a", "n": 2, "best_of": 5}, bodies.COMPLETION, 5),
        ({"model": "m", "prompt": [1, 2, 3]}, bodies.COMPLETION, 1),
        ({"model": "m", "prompt": [[1, 2], [3]]}, bodies.COMPLETION, 2),
    ],
)
def test_every_answer_that_will_be_written_is_counted(
    body: dict[str, Any], route: bodies.Route, choices: int
) -> None:
    assert ask(body, route).n == choices


@pytest.mark.parametrize(
    ("changes", "context"),
    [
        ({}, "standard"),
        ({"service_tier": "priority"}, "priority"),
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": "auto"}, "standard"),
        ({"service_tier": "scale"}, "unknown"),
        ({"speed": "fast"}, "fast"),
    ],
)
def test_the_service_class_is_told(changes: dict[str, Any], context: str) -> None:
    assert ask(chat("hi", **changes)).context == context


@pytest.mark.parametrize(
    "changes",
    [
        {"model": ""},
        {"model": None},
        {"n": 0},
        {"n": True},
        {"max_tokens": "9"},
        {"max_tokens": 1.5},
        {"background": True},
    ],
)
def test_a_body_that_cannot_be_bounded_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(bodies.BadBodyError):
        ask(chat("hi", **changes))


@pytest.mark.parametrize(
    ("route", "given", "written"),
    [
        (bodies.CHAT, {}, {"max_completion_tokens": 70}),
        (bodies.CHAT, {"max_tokens": 500}, {"max_tokens": 70}),
        (bodies.CHAT, {"max_tokens": 500, "max_completion_tokens": 600}, {"max_completion_tokens": 70}),
        (bodies.COMPLETION, {}, {"max_tokens": 70}),
        (bodies.RESPONSES, {"max_output_tokens": None}, {"max_output_tokens": 70}),
        (bodies.MESSAGES, {"max_tokens": 500}, {"max_tokens": 70}),
        (bodies.EMBEDDING, {}, {}),
    ],
)
def test_the_decided_limit_is_written_where_the_route_reads_it(
    route: bodies.Route, given: dict[str, Any], written: dict[str, Any]
) -> None:
    body: dict[str, object] = {"model": "m", **given}
    bodies.set_output_limit(route, body, 70 if route.limit_fields else None)
    assert body == {"model": "m", **written}


def test_the_smaller_of_two_limits_is_asked_for() -> None:
    assert ask(chat("hi", max_tokens=500, max_completion_tokens=60)).max_output_tokens == 60
