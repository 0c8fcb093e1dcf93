"""T9: calls cost a tenth of what they hold, and clients come back when Retry-After says so. How much of the
budget do they get to use, and is anybody refused when nothing is held?
"""

import http.client
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from bench.decisions import AUTHORIZE
from bench.environment import Services, portal
from bench.generator import SETTLE_PATH, Signer
from bench.load import Gateway
from bench.results import Result
from bench.sizes import Size
from bench.world import INPUT_BYTES, Group, World, call_usd
from budgets.models import Entry

CLIENTS = 64
CALL_SECONDS = 0.05
OUTPUT_TOKENS = 100
HOLDS_IN_BUDGET = 60
QUIET_CALLS = 20
LONGEST_SECONDS = 90.0


@dataclass(slots=True)
class Tally:
    """What the clients were told."""

    codes: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, code: str) -> None:
        with self.lock:
            self.codes[code] = self.codes.get(code, 0) + 1


def t9_held(running: Services, size: Size) -> Iterator[Result]:
    """Give the used share of the budget, and the refusals while nothing was held."""
    world = World()
    limit = HOLDS_IN_BUDGET * call_usd(OUTPUT_TOKENS)
    group = world.add("held", teams=1, projects=1, keys=1, limit=limit)
    gateway = world.load_gateway(group.tokens)
    crowd, alone = Tally(), Tally()
    with portal() as port:
        half = Decimal("0.5") * limit
        _together(port, gateway, crowd, until=lambda: _spent(group) >= half)
        _client(port, gateway, alone, calls=QUIET_CALLS)
        _together(port, gateway, crowd, until=lambda: False)
    print(f"  together: {crowd.codes}, alone: {alone.codes}", flush=True)
    refusals = sum(count for code, count in alone.codes.items() if code != "allow")
    used = _spent(group) / limit
    yield Result(name=f"used_share_of_budget clients={CLIENTS}", value=float(used), bar=0.95)
    yield Result(name="refusals_once_holds_settle", value=refusals, bar=0, at_least=False)


def _together(port: int, gateway: Gateway, tally: Tally, *, until: Callable[[], bool]) -> None:
    """Let every client call until the budget is exhausted or `until` says so."""
    stop = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as clients:
        running = [clients.submit(_client, port, gateway, tally, stop=stop) for _ in range(CLIENTS)]
        deadline = time.monotonic() + LONGEST_SECONDS
        while not all(client.done() for client in running):
            if time.monotonic() > deadline:
                stop.set()
                raise TimeoutError(f"clients still called after {LONGEST_SECONDS:.0f} s: {tally.codes}")
            if until():
                stop.set()
            time.sleep(0.05)
        for client in running:
            client.result()


def _client(
    port: int,
    gateway: Gateway,
    tally: Tally,
    *,
    calls: int | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Call, settle a tenth of what was held, and call again; wait as Retry-After says after a refusal."""
    signer = Signer(gateway)
    stop = stop or threading.Event()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    made = 0
    while not stop.is_set() and made != calls:
        made += 1
        question = {
            "request_id": secrets.token_hex(12),
            "key": gateway.keys[0],
            "model": "large",
            "route": "/v1/chat/completions",
            "input_bytes": INPUT_BYTES,
            "max_output_tokens": OUTPUT_TOKENS,
        }
        status, headers, answer = _post(client, signer, AUTHORIZE, question)
        code = "allow" if status == http.client.OK else str(answer["code"])
        tally.add(code)
        if code == "allow":
            time.sleep(CALL_SECONDS)
            _settle(client, signer, answer["reservation"])
        elif code == "budget_held":
            stop.wait(float(headers["Retry-After"]))
        else:
            break
    client.close()


def _settle(client: http.client.HTTPConnection, signer: Signer, reservation: str) -> None:
    usage = {"input_tokens": INPUT_BYTES // 10, "output_tokens": OUTPUT_TOKENS // 10}
    settlement = {"reservation": reservation, "usage": usage, "finish": "stop"}
    status, _, answer = _post(client, signer, SETTLE_PATH, settlement)
    if status != http.client.OK:
        raise RuntimeError(f"a settlement was refused: {answer}")


def _post(
    client: http.client.HTTPConnection, signer: Signer, path: str, value: dict[str, Any]
) -> tuple[int, http.client.HTTPMessage, dict[str, Any]]:
    body = json.dumps(value).encode()
    client.request("POST", path, body, signer.headers(path, body))
    answer = client.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())


def _spent(group: Group) -> Decimal:
    total = Entry.objects.filter(key_id=group.keys[0].pk).aggregate(usd=Sum("amount_usd"))["usd"]
    return Decimal(total or 0)
