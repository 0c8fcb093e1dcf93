"""Processes that own embedded services, for the tests to stop and to kill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.portal.processes import Identity, descendants

PROJECT = Path(__file__).parents[2]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the servers to another user")


class Owner:
    """A ready process that owns the services of `base_dir`; for its options see local_owner.py."""

    def __init__(self, base_dir: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.portal.local_owner", str(base_dir), *options],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        word, _, seconds = self.process.stdout.readline().partition(" ")
        assert word == "ready"
        self.ready_seconds = float(seconds)
        self.below: dict[Identity, str] = descendants(self.process.pid)

    def stop(self) -> None:
        """Let it end by itself, which stops the services."""
        self.process.communicate()

    def kill(self) -> None:
        """End it in a way that it cannot notice."""
        self.process.kill()
        self.process.wait()


StartOwner = Callable[..., Owner]
