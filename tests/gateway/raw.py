"""Speaks ASGI to the decision application, without a server."""

from __future__ import annotations

import json
from typing import Any

from core import clock
from gateway.auth import credential_of, signed_headers
from gateway.hot.asgi import DecisionApplication
from gateway.models import Gateway


async def call_raw(
    application: DecisionApplication, gateway: Gateway, path: str, body: bytes, *, method: str = "POST"
) -> tuple[int, dict[str, str], Any]:
    """Send one signed request, its body in two parts; return status, headers and body."""
    headers = signed_headers(
        credential=credential_of(gateway),
        method=method,
        target=path,
        body=body,
        now_seconds=clock.now().timestamp(),
    )
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    half = len(body) // 2
    incoming = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:]},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope, receive, send)
    answer_headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert int(answer_headers["content-length"]) == len(sent[1]["body"])
    return sent[0]["status"], answer_headers, json.loads(sent[1]["body"])
