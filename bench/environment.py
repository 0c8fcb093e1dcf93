"""What a measurement runs on: embedded services of its own, and server processes beside it."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import django
from django.core.management import call_command
from django.db import connection

from bench.fsync import FixedFsync, fixed_fsync
from bench.load import ROOT
from portal.local import LocalServices, default_environment, end_with_parent
from tests.services_plugin import remove_abandoned_runs

START_SECONDS = 30
STOP_SECONDS = 15
LOG_CHARACTERS = 2_000
WORKERS = 2
BACKLOG = 2048
RUN_PREFIX = "purser-bench-"
FSYNC_MICROSECONDS = 100
DATA_BYTES = 3_000_000_000
IN_MEMORY = Path("/dev/shm")  # noqa: S108  the directory made below it has a random name
# Durable commits; room for the connections of every server that stands beside another.
POSTGRES_SETTINGS = {"synchronous_commit": "on", "fsync": "on", "max_connections": "200"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The running services of one measurement."""

    base_dir: Path
    local: LocalServices
    fsync: FixedFsync


@contextmanager
def services() -> Iterator[Services]:
    """Start PostgreSQL, its data in memory where that exists, and Valkey; migrate; set this process's
    environment.
    """
    parent = _in_memory() or Path(tempfile.gettempdir())
    remove_abandoned_runs(parent, RUN_PREFIX)
    base_dir = Path(tempfile.mkdtemp(prefix=RUN_PREFIX, dir=parent))
    base_dir.chmod(0o711)
    fsync = fixed_fsync(base_dir)
    local = LocalServices(
        base_dir, postgres_settings=POSTGRES_SETTINGS, postgres_environment=fsync.environment
    )
    try:
        local.start()
        os.environ.update(default_environment(base_dir), DJANGO_SETTINGS_MODULE="portal.settings")
        django.setup()
        call_command("migrate", verbosity=0)
        call_command("collectstatic", verbosity=0, interactive=False)
        fsync.check(_seconds_of_a_commit)
        fsync.set(microseconds=FSYNC_MICROSECONDS)
        yield Services(base_dir=base_dir, local=local, fsync=fsync)
    finally:
        local.stop()
        shutil.rmtree(base_dir, ignore_errors=True)


@contextmanager
def portal(*, workers: int = WORKERS, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run the portal's web processes as `make run` does and return their port."""
    from portal.management.commands.up import listen, web_command  # noqa: PLC0415  Django is set up by now

    with ExitStack() as stack:
        listener = stack.enter_context(listen(0))
        for _ in range(workers):
            stack.enter_context(
                process(web_command(listener), environment=environment, inherited=[listener.fileno()])
            )
        port = int(listener.getsockname()[1])
        _wait_until_healthy(port)
        yield port


@contextmanager
def gunicorn(application: str, *, threads: int, workers: int = WORKERS) -> Iterator[int]:
    """Run a WSGI application on gunicorn's threaded workers and return its port."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", application, "--worker-class", "gthread"]
    command += ["--workers", str(workers), "--threads", str(threads), "--bind", f"127.0.0.1:{port}"]
    command += [
        "--keep-alive",
        "75",
        "--backlog",
        str(BACKLOG),
        "--log-level",
        "warning",
        "--no-control-socket",
    ]
    with process(command):
        _wait(port)
        yield port


@contextmanager
def process(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, inherited: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside the measurement and end it afterwards; it ends with the measurement anyhow.

    What it printed is shown when the measurement fails.
    """
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            pass_fds=tuple(inherited),
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_owner,  # noqa: PLW1509  it calls the kernel and nothing else
        )
        try:
            yield running
        except Exception:
            log.seek(0)
            text = log.read().decode(errors="replace")[-LOG_CHARACTERS:]
            print(f"The end of what {command[2]} {command[3]} printed:\n{text}", file=sys.stderr)
            raise
        finally:
            running.terminate()
            try:
                running.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def _in_memory() -> Path | None:
    """Return the directory for data in memory, or None where it is too small or runs no programs."""
    if IN_MEMORY.is_dir():
        may_run = not os.statvfs(IN_MEMORY).f_flag & os.ST_NOEXEC
        if may_run and shutil.disk_usage(IN_MEMORY).free >= DATA_BYTES:
            return IN_MEMORY
    print(
        f"WARNING: {IN_MEMORY} cannot hold the data, so this disk is part of every figure.", file=sys.stderr
    )
    return None


def _seconds_of_a_commit() -> float:
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bench_commit ()")
        seconds = time.perf_counter() - started
        cursor.execute("DROP TABLE bench_commit")
    return seconds


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_with_owner() -> None:
    end_with_parent(signal.SIGTERM)


def _wait_until_healthy(port: int) -> None:
    """Wait until a worker answers; the others started with it, and no measurement counts its first round."""
    deadline = time.monotonic() + START_SECONDS
    while _status(port, "/healthz") != http.client.OK:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the portal does not answer on port {port}")
        time.sleep(0.1)


def _status(port: int, path: str) -> int:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        client.request("GET", path)
        answer = client.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return 0
    else:
        return answer.status
    finally:
        client.close()


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing answers on port {port}")
