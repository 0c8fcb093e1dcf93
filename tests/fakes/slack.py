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
        assert {call.path for call in self.server.calls} <= {"/api/chat.postMessage", "/api/chat.update"}
        return self._told("chat.postMessage")

    @property
    def replaced(self) -> list[dict[str, Any]]:
        """Return what was put in the place of a message."""
        return self._told("chat.update")

    def _told(self, method: str) -> list[dict[str, Any]]:
        calls = [call for call in self.server.calls if call.path == f"/api/{method}"]
        assert all(call.headers["authorization"] == f"Bearer {TOKEN}" for call in calls)
        told = [json.loads(call.body) for call in calls]
        assert [fault for message in told for fault in faults(message["blocks"])] == []
        return told

    def answer(self, **said: Any) -> None:
        """Say this from now on."""
        self.server.body = json.dumps(said).encode()


# The most that Slack takes, in units of UTF-16: docs.slack.dev/reference/block-kit.
MOST_BLOCKS, MOST_ELEMENTS = 50, 25
MOST = {
    "header.text": 150, "section.text": 3_000, "button.text": 75, "button.value": 2_000, "button.url": 3_000,
    "button.action_id": 255, "confirm.title": 100, "confirm.text": 300, "confirm.confirm": 30,
    "confirm.deny": 30,
}  # fmt: skip


def faults(blocks: list[dict[str, Any]]) -> list[str]:
    """Return why Slack would refuse a message."""
    found = [f"{len(blocks)} blocks"] if len(blocks) > MOST_BLOCKS else []
    for block in blocks:
        parts = block.get("elements", [])
        found += [f"{len(parts)} elements"] if len(parts) > MOST_ELEMENTS else []
        for part in (
            block,
            *parts,
            *(each["confirm"] | {"type": "confirm"} for each in parts if "confirm" in each),
        ):
            for name, value in part.items():
                most = MOST.get(f"{part['type']}.{name}")
                text = value["text"] if isinstance(value, dict) and "text" in value else value
                if most and not 1 <= len(text.encode("utf-16-le")) // 2 <= most:
                    found.append(f"{part['type']}.{name} has {len(text)} characters")
    return found


@contextmanager
def slack() -> Iterator[Slack]:
    """Listen on a free port of this machine, and take everything."""
    with receiver(status=200, body=b'{"ok": true}') as server:
        yield Slack(server)


def signature(body: str, timestamp: int, secret: str = SIGNING_SECRET) -> dict[str, str]:
    """Return the headers with which Slack signs a call."""
    made = hmac.new(secret.encode(), f"v0:{timestamp}:{body}".encode(), hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": str(timestamp), "X-Slack-Signature": f"v0={made}"}
