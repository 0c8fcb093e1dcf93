"""Calls through a real nginx: decided with their model, bounded, passed on, and booked by its log."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from budgets.models import Balance, Mode, Reservation, ReservationState, ScopeKind
from gateway.tasks import log_of
from tests.gateways.nginx.conftest import SECURE_KEY, Edge
from tests.gateways.servers import eventually
from usage.models import Quarantine, UsageEvent
from usage.services import pull_log

CHAT = "/v1/chat/completions"
pytestmark = [
    pytest.mark.gateway,
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("nginx"),
    pytest.mark.timeout(300),
]


def lines(edge: Edge) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(edge.log.place).read_text(encoding="utf-8").splitlines()]


def booked(edge: Edge, calls: int = 1) -> list[UsageEvent]:
    """Have the log read when it tells of so many calls, and return what is booked."""
    eventually(lambda: len(lines(edge)) >= calls, what="every line of the log")
    pull_log(source=log_of(edge.log))
    return list(UsageEvent.objects.order_by("at"))


def test_a_call_is_served_held_and_charged_by_what_the_log_tells(edge: Edge) -> None:
    edge.world.budget("key", kind=ScopeKind.KEY, limit="10")

    answer = edge.chat("one two three", max_tokens=40)

    assert answer.status_code == 200
    assert answer.json()["usage"]["prompt_tokens"] == 3
    [asked] = edge.asked()
    assert (asked["model"], asked["limit"], asked["key_ok"]) == ("gpt-4.1-mini", 40, True)
    [event] = booked(edge)
    told = answer.json()["usage"]
    assert (event.input_tokens, event.output_tokens) == (told["prompt_tokens"], told["completion_tokens"])
    assert event.cached_tokens == told["prompt_tokens_details"]["cached_tokens"]
    assert event.cost_usd > 0
    assert Reservation.objects.get().state == ReservationState.SETTLED
    assert Balance.objects.get().spent_usd == event.cost_usd


def test_a_model_is_served_by_its_own_provider_with_its_own_key_over_verified_tls(edge: Edge) -> None:
    assert edge.chat("one two three", model="small").status_code == 200
    answer = edge.chat("one two three", model="other", max_tokens=40)

    assert answer.status_code == 200, edge.nginx.log.read_text()[-2_000:]
    [(path, authorization, body)] = edge.secure.asked
    assert (path, authorization) == (CHAT, f"Bearer {SECURE_KEY}")
    assert (body["model"], body["max_tokens"]) == ("claude-1", 40)
    assert [asked["key_ok"] for asked in edge.asked()] == [True]
    first, second = booked(edge, 2)
    assert first.model_id == edge.world.small.pk
    assert (second.input_tokens, second.output_tokens) == (7, 2)


def test_a_provider_that_cannot_prove_who_it_is_hears_of_no_call(edge: Edge) -> None:
    assert edge.chat(model="forged").status_code == 502
    assert edge.forged.asked == []
    assert "SSL certificate verify error" in edge.nginx.log.read_text()


def test_a_route_that_the_models_provider_does_not_have_is_refused(edge: Edge) -> None:
    answer = edge.post("/v1/completions", {"model": "other", "prompt": "Once"})
    assert (answer.status_code, answer.json()["code"]) == (403, "route_not_allowed")
    assert edge.secure.asked == []


def test_a_stream_passes_unchanged_and_its_usage_is_asked_for_and_found(edge: Edge) -> None:
    answer = edge.chat("word " * 30 + "WANT9", stream=True, model="tiny")
    chunks = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert chunks[-1] == "data: [DONE]"
    assert any('"usage"' in chunk and "prompt_tokens" in chunk for chunk in chunks)
    [event] = booked(edge)
    assert (event.input_tokens, event.output_tokens, event.model.name) == (31, 9, "small")


@pytest.mark.parametrize("stream", [False, True])
def test_the_log_has_the_service_class_that_the_answer_tells_and_not_what_is_quoted_in_it(
    edge: Edge, *, stream: bool
) -> None:
    edge.chat('{"service_tier": "priority"}', stream=stream)
    eventually(lambda: bool(lines(edge)), what="the line of the call")
    assert lines(edge)[0]["service_tier"] == "default"


def test_a_call_is_booked_in_the_class_that_served_it(edge: Edge) -> None:
    edge.chat("TIERflex one two three")
    [event] = booked(edge)
    assert event.context == "flex"


def test_a_call_without_a_limit_gets_the_one_that_is_held(edge: Edge) -> None:
    edge.chat("hello")
    [asked] = edge.asked()
    held = Reservation.objects.get()
    assert asked["limit"] == held.max_output_tokens


def test_letters_of_any_kind_pass_unchanged_both_ways(edge: Edge) -> None:
    text = "Grüße, 世界 \U0001f600 " * 200
    answer = edge.chat(text, stream=True)
    assert answer.status_code == 200
    assert edge.asked()[0]["text"] == text
    assert len(booked(edge)) == 1


def test_embeddings_have_no_output_to_limit(edge: Edge) -> None:
    answer = edge.post("/v1/embeddings", {"model": "embed", "input": ["one two", "three"]})
    assert answer.status_code == 200
    [event] = booked(edge)
    assert (event.model.name, event.input_tokens, event.output_tokens) == ("embed", 3, 0)


def test_a_model_of_a_tier_that_the_key_may_not_call_never_reaches_the_provider(edge: Edge) -> None:
    answer = edge.chat(model="large")
    assert (answer.status_code, answer.json()["code"]) == (403, "tier_not_granted")
    assert edge.asked() == []


def test_an_exhausted_budget_is_the_portals_own_429(edge: Edge) -> None:
    edge.world.budget("key", kind=ScopeKind.KEY, limit="0")
    answer = edge.chat()
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["code"] == "budget_exhausted"
    assert edge.asked() == []


def test_a_client_is_told_of_a_soft_budget_that_is_exceeded(edge: Edge) -> None:
    assert "x-purser-warnings" not in edge.chat().headers
    edge.world.budget("notify", kind=ScopeKind.TEAM, limit="0", mode=Mode.NOTIFY)
    budget = edge.world.budget("key", kind=ScopeKind.KEY, limit="0", mode=Mode.SOFT)
    answer = edge.chat(stream=True)
    assert answer.status_code == 200
    assert answer.headers["x-purser-warnings"] == f"soft_exceeded {budget.public_id}"


def test_a_key_that_nobody_has_is_refused(edge: Edge) -> None:
    answer = edge.post(CHAT, {"model": "small", "messages": []}, authorization="Bearer psr_x")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
    assert edge.asked() == []


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (CHAT, {"model": "small", "messages": [], "service_tier": "priority"}, "invalid_request"),
        (CHAT, {"model": "small", "messages": [{"content": [{"type": "image_url"}]}]},
         "invalid_request"),
        (CHAT, {"model": "small", "messages": [], "n": -1}, "invalid_request"),
        (CHAT, {"model": "small", "messages": [], "max_tokens": "many"}, "invalid_request"),
        (CHAT, {"model": "small", "messages": [], "tools": [{"type": "web_search"}]}, "invalid_request"),
        ("/v1/completions", {"model": "small", "prompt": ["one", "two"]}, "invalid_request"),
        (CHAT, {"messages": []}, "invalid_request"),
        (CHAT, [], "invalid_request"),
        (CHAT, {"model": "constructor", "messages": []}, "model_unknown"),
        ("/v1/images/generations", {"model": "small", "prompt": "x"}, "route_not_allowed"),
    ],
)  # fmt: skip
def test_what_cannot_be_bounded_is_refused_before_the_portal_is_asked(
    edge: Edge, path: str, body: Any, code: str
) -> None:
    answer = edge.post(path, body)
    assert (answer.status_code in {400, 403, 404}, answer.json()["code"]) == (True, code)
    assert (edge.asked(), Reservation.objects.count()) == ([], 0)


def test_a_body_that_is_too_large_is_refused(edge: Edge) -> None:
    assert edge.chat("x" * 5_000_000).status_code == 413
    assert edge.asked() == []


def test_the_hold_is_never_below_what_a_body_of_many_bytes_may_cost(edge: Edge) -> None:
    edge.chat("\u4e16" * 1_000, tools=[{"type": "function", "function": {"name": "look_up"}}])
    assert Reservation.objects.get().input_bound_tokens >= 3_000 + 1_024 + 64


def test_without_the_portal_nothing_is_served(edge: Edge) -> None:
    edge.portal.freeze()
    try:
        answer = edge.chat()
    finally:
        edge.portal.thaw()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["code"] == "decision_unavailable"
    assert edge.asked() == []


@pytest.mark.parametrize(("model", "text", "status"), [("small", "ERR500", 500), ("forged", "hello", 502)])
def test_a_provider_that_refuses_or_is_never_reached_frees_the_hold(
    edge: Edge, model: str, text: str, status: int
) -> None:
    assert edge.chat(text, model=model).status_code == status
    assert booked(edge) == []
    assert Reservation.objects.get().state == ReservationState.RELEASED
    assert not Quarantine.objects.exists()
    Path(edge.log.place).write_text(Path(edge.log.place).read_text() * 2)
    assert booked(edge) == []


def test_a_hold_whose_answer_never_arrived_is_freed(edge: Edge) -> None:
    edge.portal.freeze()
    try:
        assert edge.chat().status_code == 503
    finally:
        edge.portal.thaw()
    eventually(Reservation.objects.exists, what="what the portal holds for a question that it read late")
    assert booked(edge) == []
    assert Reservation.objects.get().state == ReservationState.RELEASED
    assert not Quarantine.objects.exists()


def test_a_client_that_leaves_is_logged_and_its_call_ends_by_its_hold(edge: Edge) -> None:
    body = {"model": "small", "messages": [{"role": "user", "content": "SLOW WANT50"}], "stream": True}
    headers = {"authorization": f"Bearer {edge.world.token}"}
    with edge.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        next(answer.iter_bytes())
    eventually(lambda: len(lines(edge)) == 1, what="the line of the call")
    assert lines(edge)[0]["reservation"] == Reservation.objects.get().public_id
    assert booked(edge) == []


def test_what_was_told_agrees_with_the_portals_price_to_the_last_digit(edge: Edge) -> None:
    for number in range(5):
        edge.chat("word " * (number + 1), max_tokens=10 + number)
    events = booked(edge, 5)
    assert len(events) == 5
    rate = {"input": Decimal("0.000001"), "output": Decimal("0.000002")}
    for event in events:
        fresh = event.input_tokens * rate["input"] + event.output_tokens * rate["output"]
        assert event.cost_usd == fresh, "cached tokens have the price of input where none is set for them"
