"""What LiteLLM may see of a request, and what a refused client sees instead of LiteLLM's answer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.plugins.litellm.purser_plugin import bodies, refusals
from gateway.plugins.litellm.purser_plugin.calls import Call, Exchange
from gateway.plugins.litellm.purser_plugin.edge import FEED_PATH, SCOPE_KEY, Edge
from keys import secrets

TOKEN = secrets.new_token()


@dataclass
class Plugin:
    """What the edge asks of the plugin."""

    admitted: list[dict[str, Any]] = field(default_factory=list)
    ended: list[Exchange] = field(default_factory=list)

    def admit(self, exchange: Exchange, body: dict[str, Any]) -> dict[str, Any]:
        self.admitted.append(body)
        return bodies.passing(bodies.ROUTES[exchange.path], body, frozenset())

    def answered(self, exchange: Exchange) -> None:
        self.ended.append(exchange)

    async def feed(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, object]]:
        return 200, {"target": target, "method": method, "nonce": headers.get("purser-nonce")}


@dataclass
class LiteLlm:
    """The application behind the edge: notes what it sees and answers 200, or refuses like a hook."""

    refusal: refusals.Refusal | None = None
    call: Call | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    called: bool = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.called = True
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.body = (await receive())["body"]
        scope[SCOPE_KEY].refusal, scope[SCOPE_KEY].call = self.refusal, self.call
        await send({"type": "http.response.start", "status": 400 if self.refusal else 200, "headers": []})
        await send({"type": "http.response.body", "body": b"LiteLLM's own words", "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})


@dataclass
class Reply:
    """What the client got."""

    status: int
    headers: dict[str, str]
    body: bytes


def send_through(
    edge: Edge,
    path: str = "/v1/chat/completions",
    body: bytes = b'{"model": "m"}',
    *,
    method: str = "POST",
    query: bytes = b"",
    **headers: str,
) -> Reply:
    """Send one request through the edge."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "method": method, "headers": raw, "query_string": query}
    waiting = [
        {"type": "http.request", "body": body[:5], "more_body": True},
        {"type": "http.request", "body": body[5:]},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(edge(scope, receive, send))
    start, *rest = sent
    return Reply(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message["body"] for message in rest),
    )


@pytest.mark.parametrize(
    "given",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer  {TOKEN}"},
        {"authorization": TOKEN},
        {"x_api_key": TOKEN},
        {"api_key": TOKEN},
        {"x_litellm_api_key": f"Bearer {TOKEN}"},
        {"authorization": "Bearer sk-other", "x_api_key": TOKEN},
    ],
)
def test_litellm_sees_a_fingerprint_in_place_of_the_key(given: dict[str, str]) -> None:
    plugin, application = Plugin(), LiteLlm()
    assert send_through(Edge(application, plugin), **given).status == 200  # type: ignore[arg-type]
    seen = json.dumps(application.headers)
    assert TOKEN not in seen
    assert "sk-other" not in seen
    assert plugin.ended[0].key == TOKEN
    assert plugin.ended[0].well_formed
    assert application.headers["authorization"] == f"Bearer {plugin.ended[0].fingerprint}"
    assert TOKEN not in repr(plugin.ended[0])


def test_control_headers_of_clients_are_dropped_and_the_project_is_kept() -> None:
    plugin, application = Plugin(), LiteLlm()
    send_through(
        Edge(application, plugin),
        authorization=f"Bearer {TOKEN}",
        x_litellm_tags="a",
        x_litellm_model="other",
        litellm_disable_message_redaction="true",
        x_project_id="search-rank",
        user_agent="client",
    )
    assert set(application.headers) == {
        "authorization",
        "content-type",
        "content-length",
        "x-project-id",
        "user-agent",
    }
    assert plugin.ended[0].project_id == "search-rank"


def test_an_administrator_without_a_purser_key_is_left_alone() -> None:
    application = LiteLlm()
    send_through(
        Edge(application, Plugin()),
        "/key/info",
        method="GET",
        authorization="Bearer sk-master",
        x_litellm_tags="a",
    )
    assert application.headers == {"authorization": "Bearer sk-master", "x-litellm-tags": "a"}


def test_a_body_is_cleaned_described_anew_and_otherwise_untouched() -> None:
    application, plugin = LiteLlm(), Plugin()
    dirty = b'{"model": "m", "mock_response": "free", "messages": []}'
    send_through(
        Edge(application, plugin),
        body=dirty,
        authorization=f"Bearer {TOKEN}",
        content_type="multipart/form-data",
    )
    assert json.loads(application.body) == {"model": "m", "messages": []}
    assert application.headers["content-type"] == "application/json"
    assert int(application.headers["content-length"]) == len(application.body)
    clean = b'{ "model":"m" }'
    send_through(Edge(application, plugin), body=clean, authorization=f"Bearer {TOKEN}")
    assert application.body == clean


def test_a_refusal_replaces_whatever_litellm_answers() -> None:
    refusal = refusals.relayed(
        status=429,
        document={"code": "budget_exhausted", "budget": {"id": "bdg_1"}},
        headers={"retry-after": "60", "x-should-retry": "false", "server": "uvicorn"},
    )
    reply = send_through(Edge(LiteLlm(refusal=refusal), Plugin()), authorization=f"Bearer {TOKEN}")
    assert reply.status == 429
    assert json.loads(reply.body) == {"code": "budget_exhausted", "budget": {"id": "bdg_1"}}
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.headers["retry-after"], reply.headers["x-should-retry"]) == ("60", "false")
    assert "server" not in reply.headers


@pytest.mark.parametrize("warnings", ["soft_exceeded bdg_1", ""])
def test_a_client_is_told_of_the_soft_budgets_that_its_call_exceeded(warnings: str) -> None:
    call = Call("rsv_1", "request", "key_1", "m", None, {}, warnings=warnings)
    reply = send_through(Edge(LiteLlm(call=call), Plugin()), authorization=f"Bearer {TOKEN}")
    assert (reply.status, reply.headers.get("x-purser-warnings", "")) == (200, warnings)
    assert reply.body == b"LiteLLM's own words!"


@pytest.mark.parametrize("body", [b"[1]", b"nonsense", b'"text"', b"", b"[" * 200_000])
def test_what_is_no_json_object_never_reaches_litellm(body: bytes) -> None:
    application = LiteLlm()
    reply = send_through(Edge(application, Plugin()), body=body, authorization=f"Bearer {TOKEN}")
    assert (reply.status, json.loads(reply.body)["code"]) == (400, "invalid_request")
    assert not application.called


def test_the_bodies_of_malformed_keys_are_not_even_read() -> None:
    plugin = Plugin()
    send_through(Edge(LiteLlm(), plugin), authorization=f"Bearer {TOKEN[:-1]}")
    assert plugin.admitted == []


def test_the_feed_is_answered_without_litellm() -> None:
    application = LiteLlm()
    reply = send_through(
        Edge(application, Plugin()), FEED_PATH, method="GET", query=b"cursor=&limit=5", purser_nonce="abc"
    )
    assert json.loads(reply.body) == {
        "target": f"{FEED_PATH}?cursor=&limit=5",
        "method": "GET",
        "nonce": "abc",
    }
    assert reply.headers["cache-control"] == "no-store"
    assert not application.called


def test_websockets_are_closed() -> None:
    sent: list[Any] = []

    async def connect() -> None:
        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await Edge(LiteLlm(), Plugin())(
            {"type": "websocket", "path": "/v1/responses", "headers": []}, receive, send
        )

    asyncio.run(connect())
    assert sent[0]["type"] == "websocket.close"
