"""SIGKILL in the middle of load: what a caller was told is true afterwards, once, and the books are right."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from budgets.models import ScopeKind, Window
from gateway.auth import Credential, credential_of
from gateway.models import Gateway
from tests.gateway.conftest import build_world
from tests.gateway.load import Load
from tests.gateways.servers import Server, eventually, free_port
from tests.installations import APP, Installation, installation

pytestmark = [pytest.mark.race, pytest.mark.timeout(300)]

CALLS_BEFORE_AND_AFTER = 25
KILLS = [pytest.param(1, id="once"), pytest.param(5, id="five-times", marks=pytest.mark.full)]
BUDGETS = tuple(product((ScopeKind.KEY, ScopeKind.PROJECT, ScopeKind.TEAM), (Window.DAY, Window.MONTH)))
MAKE_WORLD = "from tests.gateway.test_crash import tell_world; tell_world()"


def tell_world() -> None:
    """Write a small organisation with hard budgets and print how to call it (runs in manage.py shell)."""
    world = build_world()
    for kind, window in BUDGETS:
        world.budget(f"{kind}-{window}", kind=kind, limit="1000", window=window)
    gateway = world.gus.gateway
    print("\n" + json.dumps({"token": world.token, "id": gateway.pk, "public_id": gateway.public_id}))


@pytest.fixture(scope="module")
def installed() -> Iterator[Installation]:
    """Give servers that may be killed."""
    with installation() as made:
        yield made


@pytest.fixture(scope="module")
def caller(installed: Installation) -> tuple[Credential, str]:
    """Return a gateway's credential and the secret of a key."""
    told = json.loads(installed.manage("shell", "-v", "0", "-c", MAKE_WORLD).stdout.splitlines()[-1])
    gateway = Gateway(pk=told["id"], public_id=told["public_id"], live_versions=[1])
    return credential_of(gateway), told["token"]


@pytest.fixture
def web(installed: Installation, tmp_path: Path) -> Iterator[Server]:
    """Run one web process."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "portal.asgi:application", "--port", str(port)]
    environment = {**installed.environment, "BASE_URL": f"http://127.0.0.1:{port}", "PORT": str(port)}
    server = Server(command, port=port, health="/healthz", environment=environment, log=tmp_path / "web.log")
    server.start()
    yield server
    server.stop(signal.SIGKILL)


def kill_everything(installed: Installation) -> Callable[[], None]:
    """Kill PostgreSQL with all its processes; return how to bring it back."""
    installed.kill_postgres()
    return installed.restart


def kill_one_backend(installed: Installation) -> Callable[[], None]:
    """Kill a process that serves decisions; PostgreSQL then ends all others and recovers by itself."""
    rows = installed.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'purser-decisions'")
    os.kill(rows[0][0], signal.SIGKILL)
    return lambda: None


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize("kill", [kill_everything, kill_one_backend])
def test_killed_database_loses_and_doubles_nothing_and_the_web_recovers(
    installed: Installation,
    caller: tuple[Credential, str],
    web: Server,
    kill: Callable[[Installation], Callable[[], None]],
    kills: int,
) -> None:
    earlier = count_of_reservations(installed)
    load = Load(web.port, *caller)
    with load.running():
        for _ in range(kills):
            more_calls(load)
            refused = len(load.unavailable)
            bring_back = kill(installed)
            eventually(lambda seen=refused: len(load.unavailable) > seen, what="a 503")  # type: ignore[misc]
            bring_back()
        more_calls(load)

    assert load.lost_connections == 0, "the web process always answered"
    assert set(load.unavailable) == {"1"}, "each 503 says when to come back"
    everything_told_is_true(installed, load, earlier=earlier)


@pytest.mark.parametrize("kills", KILLS)
def test_killed_web_process_loses_and_doubles_nothing(
    installed: Installation, caller: tuple[Credential, str], web: Server, kills: int
) -> None:
    earlier = count_of_reservations(installed)
    load = Load(web.port, *caller)
    with load.running():
        for _ in range(kills):
            more_calls(load)
            web.stop(signal.SIGKILL)
            lost = load.lost_connections
            eventually(lambda seen=lost: load.lost_connections > seen, what="a lost connection")  # type: ignore[misc]
            web.start()
        more_calls(load)

    everything_told_is_true(installed, load, earlier=earlier)


@pytest.fixture
def forgetful(installed: Installation) -> Iterator[None]:
    """Let PostgreSQL answer before a commit is on disk, and write it there seconds later."""
    installed.administer(f"ALTER ROLE {APP} SET synchronous_commit = off")
    installed.administer("ALTER SYSTEM SET wal_writer_delay = '10s'")
    installed.administer("SELECT pg_reload_conf()")
    yield
    installed.administer(f"ALTER ROLE {APP} RESET ALL")
    installed.administer("ALTER SYSTEM RESET ALL")
    installed.administer("SELECT pg_reload_conf()")


@pytest.mark.full
@pytest.mark.usefixtures("forgetful")
def test_commits_that_are_not_durable_would_be_caught(
    installed: Installation, caller: tuple[Credential, str], web: Server
) -> None:
    """The control: the same kill, with the guard off, loses what callers were told."""
    earlier = count_of_reservations(installed)
    load = Load(web.port, *caller)
    with load.running():
        more_calls(load)
        installed.kill_postgres()
        installed.restart()

    with pytest.raises(AssertionError):
        everything_told_is_true(installed, load, earlier=earlier)


def count_of_reservations(installed: Installation) -> int:
    """Count the calls of the tests before, which share the database."""
    count: int = installed.query("SELECT count(*) FROM budgets_reservation")[0][0]
    return count


def more_calls(load: Load) -> None:
    """Wait until callers were told the end of some more calls."""
    wanted = len(load.acknowledged) + CALLS_BEFORE_AND_AFTER
    eventually(lambda: len(load.acknowledged) >= wanted or bool(load.unexpected), seconds=60, what="calls")


def everything_told_is_true(installed: Installation, load: Load, *, earlier: int) -> None:
    """Compare what callers were told with the database, call by call and in all."""
    assert load.unexpected == []
    told = {call.request_id: call for call in load.acknowledged}
    assert len(told) == len(load.acknowledged)
    rows = installed.query(
        "SELECT r.request_id, r.public_id, r.state, r.held_usd, count(e.id), sum(e.amount_usd)"
        " FROM budgets_reservation r LEFT JOIN budgets_entry e ON e.reservation_id = r.id GROUP BY r.id"
    )
    found = {row[0]: row[1:] for row in rows if row[0] in told}
    assert {
        request_id: (
            call.reservation,
            "open" if call.charged_usd is None else "settled",
            call.held_usd,
            0 if call.charged_usd is None else 1,
            call.charged_usd,
        )
        for request_id, call in told.items()
    } == found
    [(spent, reservations)] = installed.query(
        "SELECT (SELECT sum(amount_usd) FROM budgets_entry), (SELECT count(*) FROM budgets_reservation)"
    )
    assert reservations - earlier == len(told), "no call was authorised twice"
    balances = installed.query("SELECT spent_usd FROM budgets_balance")
    assert balances == [(spent,)] * len(BUDGETS)
    verified = installed.manage("ledger_verify", check=False)
    assert verified.returncode == 0, verified.stderr
