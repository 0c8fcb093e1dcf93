"""Directories and owners for the tests of the embedded services."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portal.local import LocalServices
from tests.portal.owners import Owner, StartOwner


@pytest.fixture
def project_directory() -> Iterator[Path]:
    """An empty project root, with a short path that the service user may pass through."""
    with _passable_directory() as path:
        yield path


@pytest.fixture(scope="module")
def used_directory() -> Iterator[Path]:
    """A project root whose services have run before. Tests share it and leave it startable."""
    with _passable_directory() as path:
        with LocalServices(path):
            pass
        yield path


@contextmanager
def _passable_directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="purser-local-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start_owner() -> Iterator[StartOwner]:
    """Start owners that are gone when the test is."""
    owners: list[Owner] = []

    def start(base_dir: Path, *options: str) -> Owner:
        owners.append(Owner(base_dir, *options))
        return owners[-1]

    yield start
    for owner in owners:
        owner.stop()
