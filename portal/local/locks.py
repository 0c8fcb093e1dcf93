"""Locks that the operating system lets go of when the last process that holds them ends."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path

RETRY_SECONDS = 0.02


class DirectoryLock:
    """One exclusive flock on a file; children that inherit `descriptor` hold it as well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor: int | None = None

    def acquire(self, *, timeout_seconds: float = 0) -> bool:
        """Take the lock and write down who holds it; say False when it is still held after the timeout."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + timeout_seconds
        while not _locked(descriptor):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return False
            time.sleep(RETRY_SECONDS)
        holder = json.dumps({"process": os.getpid(), "command": " ".join(sys.orig_argv)})
        os.truncate(descriptor, 0)
        os.write(descriptor, holder.encode())
        self.descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go of the lock, as far as this process is concerned."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def holder(self) -> str:
        """Describe who holds the lock, for an error text."""
        try:
            entry = json.loads(self.path.read_text())
        except ValueError:
            return "another process"
        return f"process {entry['process']} ({entry['command']})"


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
