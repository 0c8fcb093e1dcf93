"""T8: PostgreSQL is killed with SIGKILL while authorisations and settlements pour in. Whatever was answered
with 200 has to be there afterwards, and every balance has to be the sum of its entries and holds.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from django.db import OperationalError, connection, transaction

from bench.decisions import AUTHORIZE
from bench.environment import Services, portal
from bench.load import Gateway, Job, Seen, run, start
from bench.results import Result
from bench.sizes import Size
from bench.world import World
from budgets.models import Entry, Reservation
from budgets.selectors import unbalanced_balances

CLIENTS = 64
LOAD_SECONDS = 5.0
KILL_AFTER_SECONDS = 1.5
KILL_AFTER_SETTLEMENTS = 100
MOST_CALLS = 40_000
START_SECONDS = 20.0
BACK_WITHIN_SECONDS = 10.0


def t8_crash(running: Services, size: Size) -> Iterator[Result]:
    """Give what was lost of the acknowledged, and how many scopes do not add up."""
    world = World()
    gateway = world.load_gateway(world.add("hot", teams=1, projects=10, keys=100).tokens)
    allowed: set[str] = set()
    settled: set[str] = set()
    kills = 2 if size.judged else 1
    with portal() as port:
        for _ in range(kills):
            seen = _killed_under_load(running, _job(port, gateway))
            allowed.update(seen.allowed)
            settled.update(seen.settled)
            _wait_until_decisions_are_back(port, gateway)
    name = f"acknowledged_and_lost kills={kills} holds={len(allowed)} settlements={len(settled)}"
    yield Result(name=name, value=_lost(allowed, settled), bar=0, at_least=False)
    yield Result(name="scopes_inconsistent", value=len(unbalanced_balances()), bar=0, at_least=False)


def _job(port: int, gateway: Gateway) -> Job:
    return Job(
        port=port,
        path=AUTHORIZE,
        kind="pairs",
        connections=CLIENTS,
        seconds=LOAD_SECONDS,
        most=MOST_CALLS,
        gateway=gateway,
        records=True,
    )


def _killed_under_load(running: Services, job: Job) -> Seen:
    """Kill every process of PostgreSQL while the load goes on, and start it again at once."""
    settled_before = Entry.objects.count()
    load = start(job)
    deadline = time.monotonic() + START_SECONDS
    while Entry.objects.count() < settled_before + KILL_AFTER_SETTLEMENTS:
        if time.monotonic() > deadline:
            raise TimeoutError("nothing is settled")
        time.sleep(0.05)
    time.sleep(KILL_AFTER_SECONDS)
    server = int((running.local.state / "pg" / "postmaster.pid").read_text().splitlines()[0])
    os.killpg(server, signal.SIGKILL)
    running.local.stop()
    running.local.start()
    _forget_connections()
    seen = load.seen()
    print(f"  {seen.statuses}", flush=True)
    if not seen.settled:
        raise RuntimeError("nothing was acknowledged")
    return seen


def _wait_until_decisions_are_back(port: int, gateway: Gateway) -> None:
    """Raise unless the portal, which nobody restarted, decides again."""
    deadline = time.monotonic() + BACK_WITHIN_SECONDS
    one = replace(_job(port, gateway), connections=1, most=1, records=False)
    while run(one).statuses != {"authorize 200": 1, "settle 200": 1}:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no decisions {BACK_WITHIN_SECONDS:.0f} s after the restart")
        time.sleep(0.2)


def _lost(allowed: set[str], settled: set[str]) -> int:
    """Count what was answered 200 and is not in the tables: holds, and settlements with their entry."""
    held = set(Reservation.objects.values_list("public_id", flat=True))
    posted = set(
        Entry.objects.filter(reservation__state="settled").values_list("reservation__public_id", flat=True)
    )
    return len(allowed - held) + len(settled - posted)


def _forget_connections() -> None:
    """Leave this process's broken connections to the database behind."""
    connection.close()
    with suppress(OperationalError), transaction.atomic():
        Entry.objects.exists()
