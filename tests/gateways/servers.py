"""Real processes for tests: the portal's web, a gateway, the fake provider.

Each ends with the test process, even when it is killed.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from django.db import connection
from psycopg.conninfo import make_conninfo

from portal.local.processes import ChildProcesses

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.05


class Server:
    """One server process on a port of 127.0.0.1; what it prints goes to `log`."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        port: int,
        health: str,
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.environment = dict(environment)
        self.log = log
        self._command = command
        self._health = health
        self._process: subprocess.Popen[bytes] | None = None
        self._children = ChildProcesses()

    def start(self, *, seconds: float = 60.0) -> None:
        """Start and wait until it answers. Raises AssertionError with its last words."""
        with self.log.open("ab") as output:
            process = self._children.start(
                self._command,
                on_owner_death=signal.SIGKILL,
                output=output,
                environment=self.environment,
                working_directory=ROOT,
            )
        self._process = process
        try:
            eventually(
                lambda: process.poll() is not None or answers(self.port, self._health), seconds=seconds
            )
            assert process.poll() is None, "it ended by itself"
        except AssertionError as error:
            self.stop(signal.SIGKILL)
            raise AssertionError(f"{self._command[0]}: {error}\n{self.output()[-4000:]}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait. A second call does nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._children.close()

    def freeze(self) -> None:
        """Stop it from answering without closing its connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def output(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def portal_server(*, log: Path, **settings: str) -> Server:
    """Return the portal's web process, not started yet, on the test's database."""
    port = free_port()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "DATABASE_URL": database_url_of_tests(),
        "BASE_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        **settings,
    }
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "portal.asgi:application",
        "--port",
        str(port),
        "--no-access-log",
    ]
    return Server(command, port=port, health="/healthz", environment=environment, log=log)


def provider_server(*, log: Path, python: Path | str = sys.executable, key: str) -> Server:
    """Return the fake provider, not started yet."""
    port = free_port()
    command = [python, ROOT / "tests" / "fakes" / "provider.py", str(port)]
    environment = {**os.environ, "FAKE_PROVIDER_KEY": key}
    return Server(command, port=port, health="/_log", environment=environment, log=log)


def database_url_of_tests() -> str:
    """Return the address of the database that this test run uses, for another process."""
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    given = connection.settings_dict
    return make_conninfo(
        "", **{theirs: str(given[ours]) for ours, theirs in names.items() if given.get(ours)}
    )


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def answers(port: int, path: str) -> bool:
    """Whether a server says 200."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        client.request("GET", path)
        return client.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()


def eventually(condition: Callable[[], bool], *, seconds: float = 10.0, what: str = "it") -> None:
    """Return as soon as `condition` holds. Raises AssertionError when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(POLL_SECONDS)
