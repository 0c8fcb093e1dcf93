"""A portal that allows every call and books nothing, so that a measurement sees the plugin and not the
database.
"""

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Answer authorize with a reservation, settle and release with a nod, the health check with anything."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    payload = json.dumps(_answer(scope["path"], body)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    )
    await send({"type": "http.response.body", "body": payload})


def _answer(path: str, body: bytes) -> dict[str, Any]:
    if path.endswith("/authorize"):
        asked = json.loads(body)
        limit = asked["max_output_tokens"] or 4_096
        return {"reservation": f"rsv_{secrets.token_hex(9)}", "key_id": "key_1", "max_output_tokens": limit}
    if path.endswith("/settle"):
        return {
            "results": [
                {"reservation": item["reservation"], "status": "settled"}
                for item in json.loads(body)["items"]
            ]
        }
    return {"status": "released"}


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
