"""Slack as the portal sees it: an API that takes messages, and calls that are signed."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.fakes.receiver import Receiver, receiver

TOKEN, SIGNING_SECRET = "xoxb-of-a-test", "8f742231b10e8888abcd99yyyzzz85a5"


@dataclass
class Slack:
    """Takes messages; `answer` is what it says to each."""

    server: Receiver

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/api"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return what was posted, by the token of the app only."""
        assert all(call.headers["authorization"] == f"Bearer {TOKEN}" for call in self.server.calls)
        assert all(call.path == "/api/chat.postMessage" for call in self.server.calls)
        return [json.loads(call.body) for call in self.server.calls]

    def answer(self, **said: Any) -> None:
        """Say this from now on."""
        self.server.body = json.dumps(said).encode()


@contextmanager
def slack() -> Iterator[Slack]:
    """Listen on a free port of this machine, and take everything."""
    with receiver(status=200, body=b'{"ok": true}') as server:
        yield Slack(server)


def signature(body: str, timestamp: int, secret: str = SIGNING_SECRET) -> dict[str, str]:
    """Return the headers with which Slack signs a call."""
    made = hmac.new(secret.encode(), f"v0:{timestamp}:{body}".encode(), hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": str(timestamp), "X-Slack-Signature": f"v0={made}"}
