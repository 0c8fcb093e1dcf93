"""Callers that never give up, as a gateway does: what is not answered is sent again, with the same id."""

from __future__ import annotations

import http.client
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from core import clock
from gateway.auth import Credential, signed_headers

GIVE_UP_SECONDS = 60.0
PAUSE_SECONDS = 0.05
LEAVE_OPEN_EVERY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """One call as its caller was told; `charged_usd` is None where it was left open."""

    request_id: str
    reservation: str
    held_usd: Decimal
    charged_usd: Decimal | None


@dataclass
class Load:
    """Threads that authorise and settle until they are told to stop, and everything they were told."""

    port: int
    credential: Credential
    token: str
    acknowledged: list[Acknowledged] = field(default_factory=list)
    unavailable: list[str | None] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    lost_connections: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self, *, threads: int = 2) -> Iterator[None]:
        """Call from so many threads inside the block; at its end each finishes the call it is at."""
        workers = [threading.Thread(target=self._call_on, daemon=True) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            self._stop.set()
            for worker in workers:
                worker.join(GIVE_UP_SECONDS)
        assert not any(worker.is_alive() for worker in workers)

    def _call_on(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            self._call(settle=number % LEAVE_OPEN_EVERY != 0)

    def _call(self, *, settle: bool) -> None:
        request_id = secrets.token_hex(12)
        allowed = self._post_until_answered(
            "/gateway/v1/authorize",
            {
                "request_id": request_id,
                "key": self.token,
                "model": "small",
                "route": "/v1/chat/completions",
                "project_id": None,
                "input_bytes": 1000,
                "max_output_tokens": 100,
            },
        )
        if allowed is None:
            return
        charged = None
        if settle:
            usage = {"input_tokens": 200, "output_tokens": 1 + secrets.randbelow(90)}
            settled = self._post_until_answered(
                "/gateway/v1/settle",
                {"reservation": allowed["reservation"], "usage": usage, "finish": "stop"},
            )
            if settled is None:
                return
            charged = Decimal(settled["charged_usd"])
        self.acknowledged.append(
            Acknowledged(
                request_id=request_id,
                reservation=allowed["reservation"],
                held_usd=Decimal(allowed["held_usd"]),
                charged_usd=charged,
            )
        )

    def _post_until_answered(self, path: str, body: Any) -> Any:
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            try:
                status, retry_after, answer = self._post(path, json.dumps(body).encode())
            except (OSError, http.client.HTTPException):
                self.lost_connections += 1
            else:
                if status == http.client.OK:
                    return answer
                if status != http.client.SERVICE_UNAVAILABLE:
                    self.unexpected.append(f"{path} {status}: {answer}")
                    return None
                self.unavailable.append(retry_after)
            time.sleep(PAUSE_SECONDS)
        self.unexpected.append(f"{path}: not answered in {GIVE_UP_SECONDS} s")
        return None

    def _post(self, path: str, body: bytes) -> tuple[int, str | None, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = signed_headers(
            credential=self.credential,
            method="POST",
            target=path,
            body=body,
            now_seconds=clock.now().timestamp(),
        )
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Retry-After"), json.loads(answer.read())
        finally:
            connection.close()
