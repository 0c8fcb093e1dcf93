"""Starts and stops the embedded PostgreSQL and Valkey of one project directory.

Rules that tests/portal/test_local.py holds: one owner at a time; Unix sockets in a private directory, no TCP;
as root the servers run as an unprivileged user; nothing outside the state directory changes its mode; no
server outlives the owner, however the owner ends.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import SIGKILL, Signals
from types import TracebackType
from typing import IO, Self

from portal.local import postgres, state, valkey
from portal.local.binaries import Programs, find_programs
from portal.local.locks import DirectoryLock
from portal.local.processes import HAS_DEATH_SIGNAL, ChildProcesses
from portal.local.state import LocalServicesError

READY_WITHIN_SECONDS = 60.0
STOPPED_WITHIN_SECONDS = 30.0
# The servers of an owner that was killed finish their own shutdown in this time.
PREDECESSOR_GONE_WITHIN_SECONDS = 15.0
POLL_SECONDS = 0.005
LOG_LIMIT_BYTES = 10_000_000
LOG_TAIL_CHARACTERS = 2_000


class LocalServices:
    """The embedded servers of the project at `base_dir`, while this process owns them.

    A context manager, for the main thread. `postgres_settings` override the defaults, `postgres_environment`
    is added to the server's environment; `watchdog` forces the way of the systems that have no death signal.
    """

    def __init__(
        self,
        base_dir: Path,
        *,
        postgres_settings: Mapping[str, str] | None = None,
        postgres_environment: Mapping[str, str] | None = None,
        watchdog: bool = not HAS_DEATH_SIGNAL,
    ) -> None:
        self.state = state.services_directory(base_dir)
        self._passwords = state.local_secrets(base_dir / ".local" / "secrets.json")
        self._postgres_settings = {**postgres.DEFAULT_SETTINGS, **(postgres_settings or {})}
        self._postgres_environment = postgres_environment
        self._sockets = state.socket_directory(self.state)
        self._account = state.service_account()
        self._children = ChildProcesses(watchdog=watchdog)
        # The owner lock belongs to this process alone; the servers inherit the other one and hold it while
        # they live.
        self._owner_lock = DirectoryLock(self.state / "owner.lock")
        self._server_lock = DirectoryLock(self.state / "servers.lock")
        self._servers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *, with_postgres: bool = True, with_valkey: bool = True) -> None:
        """Start the servers and return when both take connections.

        Raises LocalServicesError when another process owns them or one does not start; then none is left
        running.
        """
        self._become_owner()
        try:
            self._private_directory(self._sockets)
            programs = find_programs(self.state, for_other_user=self._account is not None)
            if with_valkey:
                self._start_valkey(programs)
            if with_postgres:
                self._start_postgres(programs)
            if with_valkey:
                self._wait_until_ready("valkey", lambda: valkey.is_ready(self._sockets))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the servers and give the directory up; harmless when they are not running."""
        for name, server in self._servers.items():
            if server.poll() is None:
                server.send_signal(_stop_signal(name))
        deadline = time.monotonic() + STOPPED_WITHIN_SECONDS
        for server in self._servers.values():
            try:
                server.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            self._children.forget(server)
        self._servers.clear()
        self._children.close()
        if self._sockets.parent != self.state:
            with contextlib.suppress(OSError):
                self._sockets.rmdir()
        self._server_lock.release()
        self._owner_lock.release()

    def ended(self) -> str | None:
        """Name a server that has ended by itself, or None while all are well."""
        return next((name for name, server in self._servers.items() if server.poll() is not None), None)

    def log_of(self, name: str) -> Path:
        """Give the log file of the server `name`."""
        return self.state / f"{name}.log"

    def _become_owner(self) -> None:
        if self._account and not state.open_to_service_account(self.state):
            raise LocalServicesError(
                f"The service user '{state.SERVICE_USER}' cannot enter {self.state}, because a directory"
                " above it is private. Start Purser as the user who owns that directory, or move the project."
            )
        if not self._owner_lock.acquire():
            raise LocalServicesError(
                f"The services in {self.state} are in use by {self._owner_lock.holder()}."
                " Stop that process first, or work beside it: every manage.py command finds its servers."
            )
        if not self._server_lock.acquire(timeout_seconds=PREDECESSOR_GONE_WITHIN_SECONDS):
            self._owner_lock.release()
            raise LocalServicesError(
                f"Servers of an earlier start still run in {self.state}, although their owner is gone:"
                f" {self._server_lock.holder()}. End them and start again."
            )

    def _private_directory(self, path: Path) -> Path:
        """Make `path` private to the service user when it is missing; refuse one that is somebody else's."""
        if not path.exists():
            path.mkdir(mode=0o700)
            self._own(path)
        found = path.lstat()
        owner = self._account.user_id if self._account else os.geteuid()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) & 0o077:
            raise LocalServicesError(
                f"{path} is not a private directory of user number {owner}: another user made it."
                " Start Purser as that user, or move the directory away."
            )
        return path

    def _start_postgres(self, programs: Programs) -> None:
        data = self.state / "pg"
        if not data.exists():
            postgres.make_cluster(
                programs,
                data,
                run=self._run,
                own=self._own,
                passwords=self._passwords,
                durable=self._postgres_settings["fsync"] == "on",
            )
        postgres.check_version(self._private_directory(data))
        # The lock says that no server runs here, so this file of a killed one is stale, whoever has its
        # number now.
        (data / "postmaster.pid").unlink(missing_ok=True)
        line = postgres.command(programs, data=data, sockets=self._sockets, settings=self._postgres_settings)
        server = self._start("postgres", line, environment=self._postgres_environment)
        self._wait_until_ready("postgres", lambda: postgres.is_ready(data, server.pid))

    def _start_valkey(self, programs: Programs) -> None:
        data = self._private_directory(self.state / "vk")
        self._start("valkey", valkey.command(programs, data=data, sockets=self._sockets))

    def _start(
        self, name: str, command: list[str | Path], *, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        assert self._server_lock.descriptor is not None
        with self._open_log(name) as log:
            server = self._children.start(
                command,
                on_owner_death=_stop_signal(name),
                account=self._account,
                output=log,
                environment={**os.environ, **environment} if environment else None,
                inherited=[self._server_lock.descriptor],
                working_directory=self.state,
            )
        self._servers[name] = server
        return server

    def _run(self, command: list[str | Path], source: IO[bytes] | None) -> None:
        """Run a program as the service account to its end."""
        with self._open_log("postgres") as log:
            child = self._children.start(
                command,
                on_owner_death=SIGKILL,
                account=self._account,
                source=source,
                output=log,
                working_directory=self.state,
            )
        status = child.wait()
        self._children.forget(child)
        if status != 0:
            raise LocalServicesError(f"{Path(command[0]).name} failed.\n{self._log_tail('postgres')}")

    def _wait_until_ready(self, name: str, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not is_ready():
            if self._servers[name].poll() is not None:
                raise LocalServicesError(f"{name} did not start.\n{self._log_tail(name)}")
            if time.monotonic() >= deadline:
                raise LocalServicesError(
                    f"{name} was not ready after {READY_WITHIN_SECONDS:.0f} s.\n{self._log_tail(name)}"
                )
            time.sleep(POLL_SECONDS)

    def _own(self, path: Path) -> None:
        """Hand `path`, which this class has made, to the service account."""
        if self._account:
            os.chown(path, self._account.user_id, self._account.group_id, follow_symlinks=False)

    def _open_log(self, name: str) -> IO[bytes]:
        """Open the log of a server for appending; a large one becomes the previous log first."""
        path = self.log_of(name)
        if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
            path.rename(path.with_suffix(".log.1"))
        return path.open("ab")

    def _log_tail(self, name: str) -> str:
        text = self.log_of(name).read_text(errors="replace")
        return f"The end of {self.log_of(name)}:\n{text[-LOG_TAIL_CHARACTERS:]}"


def _stop_signal(name: str) -> Signals:
    return {"postgres": postgres.STOP_SIGNAL, "valkey": valkey.STOP_SIGNAL}[name]
