"""The short way of a decision through uvicorn: answers and connections are those of HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets as random
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from uvicorn.config import Config
from uvicorn.server import ServerState

from budgets.models import Balance, ScopeKind
from core import clock
from gateway.auth import SignedRequest, credential_of, signed_headers
from gateway.hot.asgi import decisions
from gateway.hot.http import SHORT_BODY_BYTES, DecisionProtocol, read_head
from tests.gateway.conftest import World, build_world
from tests.gateway.swarm import web_processes
from tests.gateway.together import AUTHORIZE
from tests.racing import wait_until, waiting_for_locks

pytestmark = pytest.mark.django_db(transaction=True)

SETTLE = "/gateway/v1/settle"


class Caller:
    """A gateway with one connection of its own, its bytes in plain sight."""

    def __init__(self, world: World, port: int) -> None:
        self.world = world
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def request(
        self, body: Any, *, path: str = AUTHORIZE, method: str = "POST", http: str = "1.1", **headers: str
    ) -> bytes:
        raw = json.dumps(body).encode()
        signed = signed_headers(
            credential=credential_of(self.world.gus.gateway),
            method=method,
            target=path,
            body=raw,
            now_seconds=clock.now().timestamp(),
        )
        lines = [f"{method} {path} HTTP/{http}", "Host: 127.0.0.1", f"Content-Length: {len(raw)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in (signed | headers).items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw

    def question(self, **changes: Any) -> dict[str, Any]:
        return {
            "request_id": random.token_hex(12),
            "key": self.world.token,
            "model": "small",
            "route": "/v1/chat/completions",
            "input_bytes": 1000,
            "max_output_tokens": 100,
        } | changes

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def answers(self, count: int = 1) -> list[tuple[int, dict[str, str], Any]]:
        """Read so many answers, in the order in which they come."""
        found = []
        file = self.socket.makefile("rb")
        for _ in range(count):
            status = int(file.readline().split()[1])
            lines = iter(lambda: file.readline().strip().decode(), "")
            headers = dict(line.split(": ", 1) for line in lines)
            found.append((status, headers, json.loads(file.read(int(headers["content-length"])))))
        return found

    def ask(self, body: Any, **how: Any) -> tuple[int, dict[str, str], Any]:
        self.send(self.request(body, **how))
        return self.answers()[0]

    def is_closed_by_server(self) -> bool:
        return self.socket.recv(1) == b""


@pytest.fixture
def world(transactional_db: None) -> World:
    return build_world()


@pytest.fixture
def caller(world: World) -> Iterator[Caller]:
    with web_processes(1) as served:
        found = Caller(world, served.port)
        assert found.ask(found.question())[0] == 200  # from now on the gateway's credential is at hand
        yield found
        found.socket.close()


PLAIN = (
    b"POST /gateway/v1/authorize HTTP/1.1\r\nHost: portal\r\nUser-Agent: python aiohttp\r\n"
    b"Purser-Gateway: gw_1\r\nContent-Length: 2\r\n\r\n"
)


def test_a_plain_head_is_read() -> None:
    path, headers, length = read_head(PLAIN + b"{}") or ("", {}, 0)
    assert (path, length) == (AUTHORIZE, len(PLAIN))
    assert headers == {
        b"host": b"portal",
        b"user-agent": b"python aiohttp",
        b"purser-gateway": b"gw_1",
        b"content-length": b"2",
    }
    assert read_head(PLAIN.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Host: portal\r\n", b""),
        (b"POST", b"GET"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"/authorize", b"/leases"),
        (b"/authorize", b"/authorize?a=1"),
        (b"/authorize", b"/nothing"),
        (b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nPURSER-GATEWAY: gw_2\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nConnection: keep-alive, upgrade\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX-Unknown: 1\r\n\r\n"),
        (b"gw_1\r\n", b"gw_1 \r\n"),
        (b"gw_1\r\n", b"gw_1\r\n folded\r\n"),
        (b"gw_1\r\n", b"gw_1\n"),
        (b"gw_1\r\n", b"gw\x00_1\r\n"),
        (b"gw_1\r\n", "gw_ä\r\n".encode()),
        (b"Purser-Gateway: ", b"Purser-Gateway : "),
        (b"Purser-Gateway: ", b"Purser-Gateway:\t"),
        (b"\r\n\r\n", b"\r\n"),
    ],
)
def test_whatever_is_not_plain_is_left_to_the_parser(old: bytes, new: bytes) -> None:
    assert old in PLAIN
    assert read_head(PLAIN.replace(old, new, 1)) is None


class Wire(asyncio.Transport):
    """The transport of a connection that nobody is at the other end of."""

    def write(self, data: Any) -> None:
        raise AssertionError(data)

    def is_closing(self) -> bool:
        return False


def test_a_plain_call_is_asked_for_as_soon_as_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SignedRequest] = []

    def decide_soon(request: SignedRequest, _waiter: object) -> bool:
        asked.append(request)
        return True

    monkeypatch.setattr(decisions, "decide_soon", decide_soon)
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "propagate", False)

    async def story() -> None:
        config = Config("portal.asgi:application", log_config=None, lifespan="off")
        config.load()
        protocol = DecisionProtocol(config=config, server_state=ServerState(), app_state={})
        protocol.connection_made(Wire())
        protocol.data_received(PLAIN)
        assert not asked
        protocol.data_received(b"{}")

    asyncio.run(story())
    (request,) = asked
    assert (request.method, request.target, request.body) == ("POST", AUTHORIZE, b"{}")
    assert request.headers["purser-gateway"] == "gw_1"


def held() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM budgets_reservation WHERE state = 'open'")
        return int(cursor.fetchone()[0])


def test_one_connection_carries_one_call_after_the_other(caller: Caller) -> None:
    status, headers, allowed = caller.ask(caller.question())
    assert (status, headers["content-type"], headers["cache-control"]) == (
        200,
        "application/json",
        "no-store",
    )
    settlement = {
        "reservation": allowed["reservation"],
        "usage": {"input_tokens": 10, "output_tokens": 1},
        "finish": "stop",
    }
    assert caller.ask(settlement, path=SETTLE)[2]["status"] == "settled"
    status, headers, refused = caller.ask(caller.question(model="nothing"))
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    assert refused["code"] == "model_unknown"


def test_calls_sent_at_once_are_answered_in_their_order(caller: Caller) -> None:
    wrong = caller.request(caller.question(), Purser_Signature="v1=" + 64 * "0")
    good = [caller.request(caller.question()) for _ in range(3)]
    caller.send(b"".join([good[0], wrong, good[1], good[2]]))
    assert [status for status, _, _ in caller.answers(4)] == [200, 401, 200, 200]
    assert held() == 4


def test_a_call_that_is_sent_before_the_last_one_is_answered_waits_for_it(caller: Caller) -> None:
    caller.world.budget("key", kind=ScopeKind.KEY, limit="10")
    assert caller.ask(caller.question())[0] == 200
    with transaction.atomic():
        list(Balance.objects.select_for_update().all())
        caller.send(caller.request(caller.question()))
        wait_until(lambda: waiting_for_locks() == 1)
        caller.send(caller.request(caller.question(), Purser_Signature="v1=" + 64 * "0"))
        time.sleep(0.2)
    assert [status for status, _, _ in caller.answers(2)] == [200, 401]
    assert caller.ask(caller.question())[0] == 200


@pytest.mark.parametrize("where", ["in the head", "after the head", "in the body"])
def test_a_call_that_comes_in_pieces_is_one_call(caller: Caller, where: str) -> None:
    whole = caller.request(caller.question())
    head = whole.index(b"\r\n\r\n") + 4
    at = {"in the head": 20, "after the head": head, "in the body": head + 7}[where]
    caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for part in (whole[:at], whole[at:-30], whole[-30:-1], whole[-1:]):
        caller.send(part)
        time.sleep(0.05)
    assert caller.answers()[0][0] == 200
    assert caller.ask(caller.question())[0] == 200
    assert held() == 3


def test_a_body_above_the_short_limit_takes_the_long_way(caller: Caller) -> None:
    items = [
        {"reservation": f"rsv_{number}", "usage": {"input_tokens": 1, "output_tokens": 1}, "finish": "stop"}
        for number in range(1_000)
    ]
    assert len(json.dumps(items)) > 2 * SHORT_BODY_BYTES
    status, _, body = caller.ask({"items": items}, path=SETTLE)
    assert (status, {one["status"] for one in body["results"]}) == (200, {"unknown"})
    assert caller.ask(caller.question())[0] == 200


def test_a_client_that_expects_a_word_before_its_body_gets_it(caller: Caller) -> None:
    head, _, body = caller.request(caller.question(), Expect="100-continue").partition(b"\r\n\r\n")
    caller.send(head + b"\r\n\r\n")
    assert caller.socket.recv(100).startswith(b"HTTP/1.1 100 ")
    caller.send(body)
    assert caller.answers()[0][0] == 200


@pytest.mark.parametrize("how", [{"http": "1.0"}, {"Connection": "close"}])
def test_a_connection_that_is_not_kept_is_closed_after_its_answer(
    caller: Caller, how: dict[str, str]
) -> None:
    status, headers, _ = caller.ask(caller.question(), **how)
    assert (status, headers["connection"]) == (200, "close")
    assert caller.is_closed_by_server()


def test_an_unknown_gateway_and_a_wrong_path_and_method_are_answered(caller: Caller) -> None:
    assert caller.ask(caller.question(), Purser_Gateway="gw_nobody")[2]["code"] == "gateway_unknown"
    assert caller.ask(caller.question(), path="/gateway/v1/nothing")[0] == 404
    assert caller.ask({}, method="PUT")[0] == 405
    assert caller.ask(caller.question())[0] == 200


def test_a_client_that_left_hurts_nobody(caller: Caller) -> None:
    port = caller.socket.getpeername()[1]
    others = [Caller(caller.world, port) for _ in range(8)]
    for other in others:
        other.send(other.request(other.question()))
    for other in others[::2]:
        other.socket.close()
    assert [other.answers()[0][0] for other in others[1::2]] == [200] * 4
    for other in others[1::2]:
        other.socket.close()
    assert caller.ask(caller.question())[0] == 200


def test_a_stop_waits_for_the_decision_under_way(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    with web_processes(1) as served:
        caller = Caller(world, served.port)
        assert caller.ask(caller.question())[0] == 200
        with transaction.atomic():
            list(Balance.objects.select_for_update().all())
            caller.send(caller.request(caller.question()))
            wait_until(lambda: waiting_for_locks() == 1)
            served.processes[0].send_signal(signal.SIGTERM)
        assert caller.answers()[0][0] == 200
        assert caller.is_closed_by_server()
        served.processes[0].wait(20)
        caller.socket.close()
