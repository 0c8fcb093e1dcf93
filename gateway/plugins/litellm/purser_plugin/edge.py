"""The outermost layer of the gateway: what LiteLLM may see of a request, and what a refused client sees.

LiteLLM loads plugins when its application has already been built, and several of its routes write refusals in
their own words. So this ASGI layer wraps the built application. On the way in it takes the Purser key out of
the headers (LiteLLM only ever sees its fingerprint, so no log of LiteLLM can hold it), drops the control
fields and control headers of clients, and has the portal asked for a decision, which the pre-call hook waits
for and carries out. On the way out it replaces the answer to a refused call by the portal's problem document.
It also serves the usage feed.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from . import bodies
from .calls import Exchange
from .keys import is_well_formed
from .refusals import CONTENT_TYPE, Refusal, invalid_request

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

SCOPE_KEY = "purser.exchange"
FEED_PATH = "/purser/v1/usage"
KEY_PREFIX = "psr_"
MAX_BODY_BYTES = 64 * 1024 * 1024
# Every header that LiteLLM takes a key from, in its order of precedence.
KEY_HEADERS = (
    b"x-litellm-api-key",
    b"authorization",
    b"api-key",
    b"x-api-key",
    b"x-goog-api-key",
    b"ocp-apim-subscription-key",
)
TURNS_TO_SEND = 12  # turns of the event loop that the HTTP client takes to hand a request to the kernel
WARNINGS_HEADER = b"x-purser-warnings"
CONTROL_HEADERS = (b"x-litellm-", b"litellm-", b"litellm_")


class Guard(Protocol):
    """What the edge needs of the plugin."""

    def admit(self, exchange: Exchange, body: dict[str, object]) -> dict[str, object]:
        """Return the fields of a body that may pass, and start asking for a decision. Raises BadBodyError."""

    def answered(self, exchange: Exchange) -> None:
        """The answer is over, complete or not."""

    async def feed(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, object]]:
        """Answer the portal's pull."""


class Edge:
    """The ASGI layer around LiteLLM's application."""

    def __init__(self, app: Application, guard: Guard) -> None:
        self.app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == FEED_PATH:
            await self._serve_feed(scope, send)
        elif scope["type"] == "http":
            await self._serve_client(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "WebSockets are not metered"})
        else:
            await self.app(scope, receive, send)

    async def _serve_client(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(path=scope["path"], method=scope["method"])
        scope[SCOPE_KEY] = exchange
        scope["headers"] = take_key(exchange, list(scope["headers"]))
        if exchange.well_formed and exchange.method == "POST" and exchange.path in bodies.ROUTES:
            try:
                body = self._admit(exchange, await read_body(receive))
            except bodies.BadBodyError as error:
                return await send_refusal(send, invalid_request(str(error)))
            scope["headers"] = describe(scope["headers"], body)
            receive = replay(body, receive)
            # The question leaves; LiteLLM's own work, which holds the event loop for milliseconds, runs while
            # the portal decides.
            for _ in range(TURNS_TO_SEND):
                await asyncio.sleep(0)
        try:
            await self.app(scope, receive, Outgoing(exchange, send))
        finally:
            self._guard.answered(exchange)
        return None

    def _admit(self, exchange: Exchange, body: bytes | None) -> bytes:
        """Return the body that LiteLLM may see.

        Raises BadBodyError when it is too large or no JSON object.
        """
        if body is None:
            raise bodies.BadBodyError(f"The body is larger than {MAX_BODY_BYTES // 1024**2} MiB.")
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise bodies.BadBodyError("The body is not a JSON object.")
        kept = self._guard.admit(exchange, given)
        return body if kept == given else json.dumps(kept).encode()

    async def _serve_feed(self, scope: Scope, send: Send) -> None:
        query = scope.get("query_string", b"")
        target = FEED_PATH + (f"?{query.decode('latin-1')}" if query else "")
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        status, document = await self._guard.feed(scope["method"], target, headers)
        content_type = "application/json" if status == 200 else CONTENT_TYPE
        await send_document(
            send,
            status,
            {"content-type": content_type, "cache-control": "no-store"},
            json.dumps(document).encode(),
        )


class Outgoing:
    """The client's side of `send`: passes the answer through, or the refusal in its place."""

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send
        self._refused = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._exchange.refusal is not None:
            self._refused = True
            await send_refusal(self._send, self._exchange.refusal)
        elif not self._refused:
            await self._send(self._warned(message))

    def _warned(self, message: Message) -> Message:
        """Return the start of an answer with the soft budgets that its call exceeded."""
        call = self._exchange.call
        if message["type"] != "http.response.start" or call is None or not call.warnings:
            return message
        return {**message, "headers": [*message["headers"], (WARNINGS_HEADER, call.warnings.encode())]}


def take_key(exchange: Exchange, headers: Headers) -> Headers:
    """Move the Purser key and the project into `exchange`; return the headers that LiteLLM may see.

    Without a Purser key nothing is changed: an administrator's request keeps its control headers.
    """
    given = {name.lower(): value.decode("latin-1") for name, value in headers}
    key = next((found for name in KEY_HEADERS if (found := _purser_key(given.get(name, "")))), None)
    if key is None:
        return headers
    exchange.key, exchange.well_formed = key, is_well_formed(key)
    exchange.fingerprint = KEY_PREFIX + hashlib.sha256(key.encode()).hexdigest()[:32]
    exchange.project_id = given.get(b"x-project-id") or None
    kept = [
        (n, v)
        for n, v in headers
        if n.lower() not in KEY_HEADERS and not n.lower().startswith(CONTROL_HEADERS)
    ]
    return [*kept, (b"authorization", b"Bearer " + exchange.fingerprint.encode())]


def describe(headers: Headers, body: bytes) -> Headers:
    """Return `headers` for a JSON `body`: whatever the client called it, it is read as JSON or not at all."""
    about_body = (b"content-length", b"content-type", b"transfer-encoding")
    kept = [(name, value) for name, value in headers if name.lower() not in about_body]
    return [*kept, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]


async def read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None when it is too large.

    A client that leaves early has sent what it has sent.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            return None
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives `body` once and then what really comes, such as the client's leaving."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return first.pop() if first else await receive()

    return next_message


async def send_refusal(send: Send, refusal: Refusal) -> None:
    """Answer with a refusal."""
    headers = {"content-type": CONTENT_TYPE, "cache-control": "no-store", **refusal.headers}
    await send_document(send, refusal.status, headers, refusal.body())


async def send_document(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    """Answer with a whole body."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _purser_key(value: str) -> str | None:
    """Return the Purser key of a header value, with or without `Bearer`."""
    scheme, _, rest = value.strip().partition(" ")
    candidate = rest.strip() if scheme.lower() == "bearer" else value.strip()
    return candidate if candidate.startswith(KEY_PREFIX) else None
