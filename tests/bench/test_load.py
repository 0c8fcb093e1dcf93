"""The load generator before a small server that checks signatures as the portal does."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench import connections
from bench.load import Gateway, Job, run
from gateway.auth import Credential, SignedRequest, verify
from gateway.plugins.litellm.purser_plugin import delivery

SECRET = "gws_" + "5d" * 32
CREDENTIAL = Credential(gateway_id=1, public_id="gw_bench", secrets=(SECRET,))
GATEWAY = Gateway(public_id="gw_bench", secret=SECRET, keys=("psr_live_a", "psr_live_b"))


@dataclass
class Portal:
    """What the server was asked, and how it answers authorisations."""

    port: int
    statuses: list[int] = field(default_factory=lambda: [200])
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    settles_as: str = "settled"
    nonces: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for asked, body in self.asked if asked == path]


class Handler(BaseHTTPRequestHandler):
    """Answers like the portal; GET /chunked in chunks, GET /rude by hanging up."""

    protocol_version = "HTTP/1.1"
    portal: Portal

    def do_GET(self) -> None:
        if self.path == "/rude":
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        signed = SignedRequest(method="POST", target=self.path, headers=headers, body=raw)
        nonce = verify(signed, credential=CREDENTIAL, now_seconds=time.time())
        with self.portal.lock:
            self.portal.nonces.append(nonce)
            self.portal.asked.append((self.path, json.loads(raw)))
            number = len(self.portal.bodies("/authorize"))
        status = (
            self.portal.statuses[number % len(self.portal.statuses)] if self.path == "/authorize" else 200
        )
        answer = f'{{"decision":"allow","reservation":"rsv_{number}_{nonce[-4:]}"}}'.encode()
        if "items" in (body := json.loads(raw)):
            answer = json.dumps(
                {"results": [{"status": self.portal.settles_as} for _ in body["items"]]},
                separators=(",", ":"),
            ).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  the name is the base class's
        pass


class Server(ThreadingHTTPServer):
    """Takes it quietly that clients end with calls in flight."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@pytest.fixture
def portal() -> Iterator[Portal]:
    """Run the server."""
    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Handler.portal = Portal(port=server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Handler.portal
    server.shutdown()
    thread.join()
    server.server_close()


def job(portal: Portal, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "port": portal.port,
        "path": "/authorize",
        "kind": "authorize",
        "connections": 4,
        "seconds": 30.0,
        "most": 20,
        "gateway": GATEWAY,
        "records": True,
    }
    return Job(**fields | changes)


def test_authorisations_are_signed_and_all_different(portal: Portal) -> None:
    seen = run(job(portal))
    assert (seen.done, seen.statuses) == (20, {"authorize 200": 20})
    assert len(set(portal.nonces)) == 20
    asked = portal.bodies("/authorize")
    assert len({body["request_id"] for body in asked}) == 20
    assert {body["key"] for body in asked} == set(GATEWAY.keys)
    assert len(set(seen.allowed)) == 20


def test_pairs_settle_each_reservation_once(portal: Portal) -> None:
    seen = run(job(portal, kind="pairs"))
    assert (seen.done, seen.statuses) == (20, {"authorize 200": 20, "settle 200": 20})
    settled = [body["reservation"] for body in portal.bodies("/gateway/v1/settle")]
    assert sorted(settled) == sorted(seen.allowed) == sorted(seen.settled)


def test_refusals_are_counted_and_not_settled(portal: Portal) -> None:
    portal.statuses = [200, 429]
    seen = run(job(portal, kind="pairs"))
    assert (seen.done, seen.statuses) == (10, {"authorize 200": 10, "authorize 429": 10, "settle 200": 10})
    with pytest.raises(RuntimeError, match="unexpected answers"):
        seen.expect_only("authorize 200", "settle 200")


def test_hosts_deliver_what_gathered_and_each_reservation_once(portal: Portal) -> None:
    seen = run(job(portal, kind="delivered", hosts=2, seconds=2.0, most=50_000))
    batches = [body["items"] for body in portal.bodies("/gateway/v1/settle")]
    settled = [item["reservation"] for items in batches for item in items]
    assert 1 < len(batches) < len(settled)
    assert max(map(len, batches)) <= 500
    assert sorted(settled) == sorted(set(settled)) == sorted(seen.settled)
    assert 0 < seen.done <= seen.statuses["settle 200"] <= seen.statuses["authorize 200"]


def test_hosts_deliver_as_the_plugin_does() -> None:
    assert (connections.BATCH, connections.LINGER_SECONDS) == (delivery.BATCH, delivery.LINGER_SECONDS)


def test_a_settlement_of_a_delivery_that_is_refused_fails_the_measurement(portal: Portal) -> None:
    portal.settles_as = "unknown"
    seen = run(job(portal, kind="delivered", hosts=1, seconds=1.0, most=50_000))
    assert seen.done == 0
    with pytest.raises(RuntimeError, match="unexpected answers"):
        seen.expect_only("authorize 200", "settle 200")


def test_copies_repeat_a_body_with_a_signature_of_their_own(portal: Portal) -> None:
    run(job(portal, copies=2))
    asked = [body["request_id"] for body in portal.bodies("/authorize")]
    assert len(asked) == len(set(portal.nonces)) == 40
    assert all(asked.count(request_id) == 2 for request_id in asked)


def test_answers_before_the_queues_are_full_and_after_the_time_do_not_count(portal: Portal) -> None:
    seen = run(job(portal, seconds=0.3, most=50_000))
    answered = seen.statuses["authorize 200"]
    assert 0 < seen.done < answered < 50_000
    assert answered < len(portal.asked) <= answered + 4
    assert len(seen.allowed) == len(portal.asked)


def test_chunked_answers_are_read_to_their_end(portal: Portal) -> None:
    seen = run(job(portal, path="/chunked", kind="get", gateway=None, records=False))
    assert seen.statuses == {"get 200": 20}


def test_server_that_hangs_up_fails_the_load(portal: Portal) -> None:
    with pytest.raises(RuntimeError, match="failed with status 1"):
        run(job(portal, path="/rude", kind="get", gateway=None, records=False))
