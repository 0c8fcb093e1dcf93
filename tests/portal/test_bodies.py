"""Bodies that are too large are cut at the door: not read, not kept, and refused before anybody is asked who
he is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.rest.parsing import MAX_BODY_BYTES
from portal.asgi import application
from portal.bodies import LARGEST_BODY_BYTES

KIB_64 = b"x" * 65_536


class Sender:
    """Sends a body in pieces, and counts those that were asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.taken = 0

    async def __call__(self) -> dict[str, Any]:
        self.taken += 1
        return {"type": "http.request", "body": next(self.pieces), "more_body": True}


def post(path: str, sender: Sender, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Post to the whole application, as the server does; nobody is signed in."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "client": ("192.0.2.9", 40_000),
        "server": ("127.0.0.1", 8_000),
        "headers": [(b"host", b"127.0.0.1"), *((n.encode(), v.encode()) for n, v in headers.items())],
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application(scope, sender, send))
    answered = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, b"".join(part.get("body", b"") for part in sent[1:])


def endless() -> Iterator[bytes]:
    while True:
        yield KIB_64


@pytest.mark.parametrize("path", ["/api/v1/keys/", "/api/v1/leaks/"])
def test_an_announced_body_is_refused_unread(path: str) -> None:
    sender = Sender(endless())

    status, headers, body = post(path, sender, {"content-length": str(MAX_BODY_BYTES + 1)})

    assert (status, json.loads(body)["code"]) == (413, "body_too_large")
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert sender.taken == 0


@pytest.mark.parametrize(
    ("path", "most"), [("/api/v1/keys/", 1), ("/gateway/v1/usage", 128), ("/scim/v2/Users", 128)]
)
def test_an_endless_body_is_read_up_to_its_limit(path: str, most: int) -> None:
    sender = Sender(endless())

    status, _, body = post(path, sender, {"transfer-encoding": "chunked"})

    assert (status, json.loads(body)["code"]) == (413, "body_too_large")
    assert sender.taken == most + 1


def test_a_person_reads_what_is_too_large_under_the_usual_policy() -> None:
    status, headers, body = post(
        "/invoices/upload/", Sender(endless()), {"content-length": str(LARGEST_BODY_BYTES + 1)}
    )

    assert status == 413
    assert b"At most 8 MiB are read at once" in body
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.django_db
def test_control_a_body_within_its_limit_is_asked_who_sends_it() -> None:
    body = b'{"name": "' + b"x" * (MAX_BODY_BYTES - 20) + b'"}'

    class Once(Sender):
        async def __call__(self) -> dict[str, Any]:
            self.taken += 1
            if self.taken > 1:  # the client stays
                await asyncio.get_running_loop().create_future()
            return {"type": "http.request", "body": body, "more_body": False}

    status, _, _ = post("/api/v1/keys/", Once(endless()), {"content-type": "application/json"})

    assert status in {401, 403}
