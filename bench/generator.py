"""The client side of a load, as a program: a job on standard input, what it saw on standard output.

One thread, one selector, raw sockets: what the client spends is missing from the servers beside it. Requests
are bytes that are ready before the clock starts; a settlement is signed when its reservation is known, which
costs some microseconds. The signature is that of docs/gateway-api.md, written here a second time on purpose.
"""

import gc
import hashlib
import hmac
import json
import re
import secrets
import selectors
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import cycle

from bench.connections import ANSWER_SECONDS, Connection, Host
from bench.load import FILL_SHARE, Gateway, Job, Seen

CONNECT_PAUSE_SECONDS = 0.0005  # a burst would be accepted by whichever server process wakes up first
SETTLE_PATH = "/gateway/v1/settle"
RESERVATION = re.compile(rb'"reservation" ?: ?"([^"]+)"')
KEPT_SAMPLES = 3
LOOK_SECONDS = 0.01  # whether a host has to deliver


class Signer:
    """Signs as one gateway does, with nonces that no other run has."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway.public_id
        self._secret = gateway.secret.encode()
        self.run = secrets.token_hex(8)
        self._count = 0

    def headers(self, path: str, body: bytes) -> dict[str, str]:
        """Return the headers that sign one body."""
        self._count += 1
        nonce, timestamp = f"{self.run}-{self._count:09d}", str(int(time.time()))
        message = f"v1\nPOST\n{path}\n{timestamp}\n{nonce}\n{hashlib.sha256(body).hexdigest()}"
        return {
            "Purser-Gateway": self._gateway,
            "Purser-Timestamp": timestamp,
            "Purser-Nonce": nonce,
            "Purser-Signature": "v1=" + hmac.digest(self._secret, message.encode(), "sha256").hex(),
            "Content-Type": "application/json",
        }

    def request(self, path: str, body: bytes) -> bytes:
        """Return the bytes of one signed request."""
        signed = "".join(f"{name}: {value}\r\n" for name, value in self.headers(path, body).items())
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{signed}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def settlement(self, reservation: str) -> bytes:
        """Return the bytes that settle a tenth of a call of 1,000 input bytes and 100 output tokens."""
        return self.request(SETTLE_PATH, _settlement(reservation).encode())

    def settlements(self, reservations: Sequence[str]) -> bytes:
        """Return the bytes that settle all of them so."""
        items = ",".join(map(_settlement, reservations))
        return self.request(SETTLE_PATH, f'{{"items":[{items}]}}'.encode())


class Load:
    """Drives the connections of one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.signer = Signer(job.gateway) if job.gateway else None
        self.requests = iter(list(_requests(job, self.signer)))
        self.statuses: Counter[str] = Counter()
        self.samples: list[str] = []
        self.latencies: list[float] = []
        self.allowed: list[str] = []
        self.settled: list[str] = []
        self.done = self.begun = 0
        self.hosts: list[Host] = []

    def run(self) -> Seen:
        """Send until the time is over, then wait for the answers that are still due, which do not count."""
        selector = selectors.DefaultSelector()
        for number in range(self.job.connections):
            connection = Connection(self.job.port)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            time.sleep(CONNECT_PAUSE_SECONDS)
            if len(self.hosts) * self.job.connections < number * self.job.hosts:
                self.hosts.append(Host(self.job.port))  # among the others, so that each server gets some
        self.next_host = cycle(self.hosts)
        gc.collect()
        gc.disable()
        cpu, started = time.process_time(), time.perf_counter()
        in_flight = self._send_first(selector)
        for host in self.hosts:
            selector.register(host.socket, selectors.EVENT_READ, host)
        filled = started + FILL_SHARE * self.job.seconds
        in_flight = self._drive(selector, in_flight, until=filled, answer=self._next)
        if in_flight:
            self.done = self.begun = 0
            self.latencies.clear()
            cpu, started = time.process_time(), time.perf_counter()
            in_flight = self._drive(selector, in_flight, until=started + self.job.seconds, answer=self._next)
        seen = self._seen(time.perf_counter() - started, time.process_time() - cpu)
        for host in self.hosts:
            host.waiting.clear()
        last = time.perf_counter() + ANSWER_SECONDS
        if self._drive(selector, in_flight, until=last, answer=self._last):
            raise TimeoutError(f"calls had no answer after {ANSWER_SECONDS} s")
        return seen

    def _seen(self, seconds: float, cpu_seconds: float) -> Seen:
        return Seen(
            seconds=seconds,
            done=min(self.done, self.begun) if self.hosts else self.done,  # not what gathered before
            statuses=dict(self.statuses),
            median_seconds=statistics.median(self.latencies) if self.latencies else 0.0,
            cpu_share=cpu_seconds / seconds,
            samples=self.samples,
            allowed=self.allowed,
            settled=self.settled,
        )

    def _send_first(self, selector: selectors.BaseSelector) -> int:
        sent = 0
        for key in list(selector.get_map().values()):
            request = next(self.requests, None)
            if request is None:
                break
            key.data.send(request)
            sent += 1
        return sent

    def _drive(
        self,
        selector: selectors.BaseSelector,
        in_flight: int,
        *,
        until: float,
        answer: Callable[[Connection, bytes], bytes | None],
    ) -> int:
        """Read answers and send what `answer` says is next; return how many calls are still in flight."""
        while (in_flight or any(host.under_way for host in self.hosts)) and (
            left := until - time.perf_counter()
        ) > 0:
            self._deliver()
            for key, _ in selector.select(min(left, LOOK_SECONDS) if self.hosts else left):
                connection: Connection = key.data
                data = connection.socket.recv(65_536)
                if not data:
                    raise ConnectionError(f"the server closed a connection: {connection.received[:200]!r}")
                data = connection.received + data
                if not _is_whole(data):
                    connection.received = data
                    continue
                connection.received = b""
                if isinstance(connection, Host):
                    self._delivered(connection, data)
                    continue
                request = answer(connection, data)
                if request is None:
                    in_flight -= 1
                else:
                    connection.send(request)
        return in_flight

    def _next(self, connection: Connection, answer: bytes) -> bytes | None:
        """Count an answer and return what the connection sends next."""
        self.latencies.append(time.perf_counter() - connection.sent_at)
        is_ok = answer[9:12] == b"200"
        if self.job.kind == "delivered":
            self._count("authorize", answer, is_ok=is_ok)
            if is_ok:
                self.begun += 1
                next(self.next_host).add(_reservation(answer))
            return next(self.requests, None)
        if self.job.kind != "pairs":
            self._count(self.job.kind, answer, is_ok=is_ok)
            self.done += is_ok
            if self.job.records and is_ok:
                self.allowed.append(_reservation(answer))
            return next(self.requests, None)
        if connection.settles:
            self._count("settle", answer, is_ok=is_ok)
            self.done += is_ok
            if self.job.records and is_ok:
                self.settled.append(connection.settles)
            connection.settles = ""
            return next(self.requests, None)
        self._count("authorize", answer, is_ok=is_ok)
        if not is_ok:
            return next(self.requests, None)
        connection.settles = _reservation(answer)
        if self.job.records:
            self.allowed.append(connection.settles)
        assert self.signer is not None
        return self.signer.settlement(connection.settles)

    def _deliver(self) -> None:
        assert self.signer is not None or not self.hosts
        for host in self.hosts:
            items = host.next_items()
            if items and self.signer:
                host.send(self.signer.settlements(items))

    def _delivered(self, host: Host, answer: bytes) -> None:
        items = host.answered()
        settled = answer.count(b'"status":"settled"')
        self.statuses["settle 200"] += settled
        self.done += settled
        if settled != len(items):
            self.statuses["settle refused"] += len(items) - settled
            self.samples.append(answer.decode(errors="replace")[-600:])
        if self.job.records:
            self.settled += items

    def _last(self, connection: Connection, answer: bytes) -> None:
        """Keep what was acknowledged after the time was over."""
        if self.job.records and answer[9:12] == b"200":
            (self.settled if connection.settles else self.allowed).append(
                connection.settles or _reservation(answer)
            )

    def _count(self, call: str, answer: bytes, *, is_ok: bool) -> None:
        self.statuses[f"{call} {answer[9:12].decode()}"] += 1
        if not is_ok and len(self.samples) < KEPT_SAMPLES:
            self.samples.append(answer.decode(errors="replace")[-600:])


def _settlement(reservation: str) -> str:
    usage = '"usage":{"input_tokens":100,"output_tokens":10}'
    return f'{{"reservation":"{reservation}",{usage},"finish":"stop"}}'


def _reservation(answer: bytes) -> str:
    found = RESERVATION.search(answer)
    if found is None:
        raise ValueError(f"an allowed call without its reservation: {answer[-600:]!r}")
    return found[1].decode()


def _requests(job: Job, signer: Signer | None) -> Iterator[bytes]:
    if signer is None or job.gateway is None:
        yield from [f"GET {job.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()] * job.most
        return
    keys = job.gateway.keys
    fixed = json.dumps(
        {
            "model": job.model,
            "route": "/v1/chat/completions",
            "input_bytes": job.input_bytes,
            "max_output_tokens": job.max_output_tokens,
        }
    ).removeprefix("{")
    for number in range(job.most):
        body = (
            f'{{"request_id":"{signer.run}{number:09d}","key":"{keys[number % len(keys)]}",{fixed}'.encode()
        )
        for _ in range(job.copies):
            yield signer.request(job.path, body)


def _is_whole(data: bytes) -> bool:
    """Say whether head and body of one answer have arrived."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = data[:end].lower() + b"\r\n"
    length = head.find(b"\r\ncontent-length:")
    if length >= 0:
        return len(data) >= end + 4 + int(head[length + 17 : head.find(b"\r\n", length + 2)])
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        return data.endswith(b"\r\n0\r\n\r\n")
    raise ValueError(f"an answer of unknown length: {data[:300]!r}")


def main() -> None:
    """Run the job on standard input."""
    given = json.loads(sys.stdin.readline())
    gateway = given.pop("gateway")
    if gateway is not None:
        gateway = Gateway(**{**gateway, "keys": tuple(gateway["keys"])})
    json.dump(asdict(Load(Job(**given, gateway=gateway)).run()), sys.stdout)


if __name__ == "__main__":
    main()
