"""Gives a test run its own PostgreSQL and Valkey, before Django reads its settings.

A plugin, not a conftest: pytest-django loads the settings before any conftest. Each xdist worker inherits the
servers of the run and uses a Valkey database of its own; pytest-django gives it a database of its own.
`DATABASE_URL` and `REDIS_URL`, set by the caller, are used as they are.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from portal.local import LocalServices, default_environment, end_with_parent
from portal.local.locks import DirectoryLock

RUN_PREFIX = "purser-tests-"
NEW_SECONDS = 60
GARBAGE_THRESHOLDS = (20_000, 20, 20)
# Nothing of a test run has to survive a power cut.
FAST_POSTGRES = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "48MB",
    "max_connections": "300",
    "autovacuum_naptime": "10min",
}
# Fixed values: a failing example has to repeat itself, and nothing real is protected by them.
TEST_SECRETS = {
    "SECRET_KEY": "test-" * 12,
    "KEY_PEPPERS": "1:" + "5a" * 32,
    "GATEWAY_ROOT_SECRET": "c3" * 32,
    "AUDIT_HMAC_KEY": "e7" * 32,
    "MFA_REQUIRED": "false",  # the tests of it switch it on
}
_services: list[LocalServices] = []


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Set the environment before every other plugin's hook: a wrapper comes first."""
    gc.disable()  # nothing that is imported or collected is garbage
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        os.environ.update(TEST_SECRETS)
        os.environ["DATABASE_POOL_SIZE"] = "24"  # races take a connection a thread
        if not os.environ.get("DATABASE_URL"):
            _start_services()
    else:
        end_with_parent(signal.SIGKILL)
        number = int(worker.removeprefix("gw")) + 1
        os.environ["REDIS_URL"] = re.sub(r"([?&]db=)\d+", rf"\g<1>{number}", os.environ["REDIS_URL"])
    return (yield)


def pytest_collection_finish() -> None:
    """Leave the modules and the tests out of every later search for garbage: it took a third of the time."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    gc.enable()


def pytest_unconfigure() -> None:
    """Stop what this process started and remove its directory."""
    while _services:
        services = _services.pop()
        services.stop()
        shutil.rmtree(services.state.parent.parent, ignore_errors=True)


def _start_services() -> None:
    remove_abandoned_runs(Path(tempfile.gettempdir()), RUN_PREFIX)
    base_dir = Path(tempfile.mkdtemp(prefix=RUN_PREFIX))
    # The service user has to pass through; the data, sockets and secrets below are private by themselves.
    base_dir.chmod(0o711)
    services = LocalServices(base_dir, postgres_settings=FAST_POSTGRES)
    services.start()
    _services.append(services)
    os.environ.update(default_environment(base_dir) | TEST_SECRETS)
    os.environ["AUDIT_ANCHOR_DIR"] = str(base_dir / "anchors")


def remove_abandoned_runs(root: Path, prefix: str) -> None:
    """Remove the directories of runs that were killed: their lock is free, because no process holds it."""
    for directory in root.glob(f"{prefix}*"):
        lock = DirectoryLock(directory / ".local" / "services" / "owner.lock")
        if _is_ours_and_not_new(lock.path) and lock.acquire():
            shutil.rmtree(directory, ignore_errors=True)
            lock.release()


def _is_ours_and_not_new(path: Path) -> bool:
    """Say whether this user made the file a while ago: another run may be about to lock a new one."""
    if not path.exists():
        return False
    status = path.stat()
    return status.st_uid == os.geteuid() and time.time() - status.st_mtime > NEW_SECONDS
