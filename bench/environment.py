"""What a benchmark runs on: embedded services of its own, a small organisation, and uvicorn processes with
one worker each.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.core.management import call_command

from portal.local import LocalServices, default_environment

if TYPE_CHECKING:
    from tests.gateway.conftest import World

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30


@contextmanager
def services() -> Iterator[None]:
    """Start PostgreSQL and Valkey with durable commits, migrate, and set the environment of this process."""
    base_dir = Path(tempfile.mkdtemp(prefix="purser-bench-"))
    base_dir.chmod(0o711)
    local = LocalServices(base_dir)
    local.start()
    try:
        os.environ.update(default_environment(base_dir), DJANGO_SETTINGS_MODULE="portal.settings")
        django.setup()
        call_command("migrate", verbosity=0)
        call_command("collectstatic", verbosity=0, interactive=False)
        yield
    finally:
        local.stop()
        shutil.rmtree(base_dir, ignore_errors=True)


def organisation() -> "World":
    """Write a small organisation. The path of its key is key, project and team, each with hard day and month
    budget, and one active grant.
    """
    from budgets.models import ScopeKind, Window  # noqa: PLC0415 - Django is set up by now, not at import
    from tests.gateway.conftest import build_world  # noqa: PLC0415

    world = build_world()
    world.grant(tier=2)
    for kind in (ScopeKind.KEY, ScopeKind.PROJECT, ScopeKind.TEAM):
        for window in (Window.DAY, Window.MONTH):
            world.budget(f"{kind}-{window}", kind=kind, limit="1000000", window=window)
    return world


@contextmanager
def server(application: str) -> Iterator[int]:
    """Run one uvicorn worker and return its port."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        application,
        "--port",
        str(port),
        "--log-level",
        "warning",
        "--no-access-log",
    ]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        _wait(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def token() -> str:
    """Return a text for ids and nonces."""
    return secrets.token_urlsafe(18)


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
