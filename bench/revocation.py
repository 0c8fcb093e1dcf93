"""K1: a key is revoked, with Celery and Valkey stopped. How long after the commit is a call still allowed, at
the portal and by a gateway's worker that holds a lease?
"""

import asyncio
import http.client
import json
import math
import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.db import connection

from bench.decisions import AUTHORIZE
from bench.environment import Services, free_port, portal
from bench.generator import Signer
from bench.load import Gateway
from bench.results import Result
from bench.sizes import Size
from bench.world import INPUT_BYTES, Group, World
from budgets.models import RateLimit
from gateway.plugins.litellm.purser_plugin.answers import Answer
from gateway.plugins.litellm.purser_plugin.bodies import Question
from gateway.plugins.litellm.purser_plugin.calls import Exchange
from gateway.plugins.litellm.purser_plugin.journal import Position
from gateway.plugins.litellm.purser_plugin.leases import Leases
from keys.models import ApiKey
from keys.services import revoke

BAR_MILLISECONDS = 1_000
KEYS_A_ROUND = 15
PATH = "/v1/chat/completions"
LEASE = "/gateway/v1/leases"
RELEASE = "/gateway/v1/release"
WANT_USD = Decimal(100)
LOOK_SECONDS = 0.01
LONGEST_SECONDS = 10.0
BUSY_CALLS = 3


def k1_revocation(running: Services, size: Size) -> Iterator[Result]:
    """Give the median and the 99th percentile at the portal and under a lease, in milliseconds."""
    world = World()
    count = KEYS_A_ROUND * size.rounds
    here = world.add("here", teams=1, projects=1, keys=count)
    leased = world.add("leased", teams=1, projects=1, keys=count)
    RateLimit.objects.all().delete()  # a key with one is decided call by call, without a lease
    gateway = world.load_gateway(here.tokens + leased.tokens)
    # Nobody listens there, no worker and no beat was started: what is measured needs none of them.
    gone = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    with portal(environment=gone) as port:
        lender = Lender(port, gateway)
        found = {
            "portal": [_at_the_portal(lender, key, token) for key, token in _pairs(here)],
            "lease": asyncio.run(_under_leases(lender, _pairs(leased))),
        }
    for place, milliseconds in found.items():
        middle = _percentile(milliseconds, 0.50)
        print(f"  {place}: {len(milliseconds)} keys, p50 {middle:.1f} ms, most {max(milliseconds):.1f} ms")
        yield Result(
            name=f"revocation_ms_p99 {place}",
            value=_percentile(milliseconds, 0.99),
            bar=BAR_MILLISECONDS,
            at_least=False,
            judged=size.judged,
        )


class Lender:
    """The portal as a gateway sees it, over one connection for each call."""

    def __init__(self, port: int, gateway: Gateway) -> None:
        self._port = port
        self._signer = Signer(gateway)

    def authorize(self, token: str) -> int:
        """Ask for one decision and return its status."""
        question = {
            "request_id": secrets.token_hex(12),
            "key": token,
            "model": "large",
            "route": PATH,
            "input_bytes": INPUT_BYTES,
            "max_output_tokens": 100,
        }
        return self._post(AUTHORIZE, question).status

    async def lease(self, body: Mapping[str, object]) -> Answer:
        return await asyncio.to_thread(self._post, LEASE, body)

    async def poll_leases(self, node: str, *, allowed: Sequence[Mapping[str, object]]) -> Collection[str]:
        body = {"node": node, "allowed": allowed}
        answer = await asyncio.to_thread(self._post, f"{LEASE}/poll", body)
        stop = answer.document["stop"]
        assert isinstance(stop, list)
        return frozenset(stop)

    async def release(self, body: Mapping[str, object]) -> str:
        answer = await asyncio.to_thread(self._post, RELEASE, body)
        return str(answer.document.get("status"))

    async def return_lease(self, lease: str, *, keep: str) -> bool:
        answer = await asyncio.to_thread(self._post, f"{LEASE}/return", {"lease": lease, "keep_usd": keep})
        return answer.document.get("status") == "closed"

    def _post(self, path: str, value: Mapping[str, object]) -> Answer:
        body = json.dumps(value).encode()
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            client.request("POST", path, body, self._signer.headers(path, body))
            answer = client.getresponse()
            document: dict[str, Any] = json.loads(answer.read() or b"{}")
        finally:
            client.close()
        return Answer(status=answer.status, headers={}, document=document)


def _pairs(group: Group) -> list[tuple[ApiKey, str]]:
    return list(zip(group.keys, group.tokens, strict=True))


def _at_the_portal(lender: Lender, key: ApiKey, token: str) -> float:
    """Return how many milliseconds after the commit the first refusal had come."""
    if lender.authorize(token) != http.client.OK:
        raise RuntimeError(f"{key} is refused before it is revoked")
    revoke(actor=key.owner, key=key, reason="Measured.")
    committed = time.perf_counter()
    while lender.authorize(token) == http.client.OK:
        _check(committed)
    return (time.perf_counter() - committed) * 1_000


async def _under_leases(lender: Lender, pairs: Sequence[tuple[ApiKey, str]]) -> list[float]:
    """Revoke keys whose calls one worker decides by itself, and return how long it went on with each."""
    leases = Leases(lender, want_usd=WANT_USD, delivered=Position)
    looking = asyncio.create_task(leases.run_forever())
    found = [await _under_a_lease(leases, key, token) for key, token in pairs]
    looking.cancel()
    return found


async def _under_a_lease(leases: Leases, key: ApiKey, token: str) -> float:
    exchange = Exchange(path=PATH, method="POST", key=token, fingerprint=key.public_id, project_id=None)
    question = Question(
        model="large",
        n=1,
        max_output_tokens=100,
        context="standard",
        stream=False,
        bound={"input_bytes": INPUT_BYTES},
    )
    for _ in range(BUSY_CALLS):
        leases.allowed(exchange, question)
    asked = time.perf_counter()
    while leases.decide(exchange, question, {}) is None:
        _check(asked)
        await asyncio.sleep(LOOK_SECONDS)
    await asyncio.to_thread(_revoked, key)
    committed = time.perf_counter()
    while leases.decide(exchange, question, {}) is not None:
        _check(committed)
        await asyncio.sleep(LOOK_SECONDS)
    return (time.perf_counter() - committed) * 1_000


def _revoked(key: ApiKey) -> None:
    """Revoke on a thread of the loop, which leaves no connection behind."""
    try:
        revoke(actor=key.owner, key=key, reason="Measured.")
    finally:
        connection.close()


def _check(since: float) -> None:
    if time.perf_counter() - since > LONGEST_SECONDS:
        raise TimeoutError(f"nothing changed within {LONGEST_SECONDS:.0f} s")


def _percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest rank: the smallest value that so large a share is not above."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
