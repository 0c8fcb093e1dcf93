"""A disk that is really full: decisions refuse, reads work, and all goes on when there is room again."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.auth import Credential
from tests.gateway.load import Load
from tests.gateway.test_crash import caller, count_of_reservations, everything_told_is_true, more_calls, web
from tests.gateways.servers import Server, eventually
from tests.installations import Installation, installation

__all__ = ["caller", "web"]

pytestmark = [pytest.mark.race, pytest.mark.full, pytest.mark.timeout(900)]

DISK = "size=320m,mode=711"
CHUNK = b"\0" * 65_536


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """Give a small disk, which takes the rights of root to make."""
    place = Path(tempfile.mkdtemp(prefix="purser-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(place)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        place.rmdir()
        pytest.skip(f"no disk could be made: {made.stderr}")
    yield place
    subprocess.run(["umount", str(place)], check=True)
    place.rmdir()


@pytest.fixture(scope="module")
def installed(disk: Path) -> Iterator[Installation]:
    """Give servers whose data is on the small disk."""
    with installation(disk=disk) as made:
        yield made


def test_full_disk_refuses_decisions_serves_reads_and_loses_nothing(
    disk: Path, installed: Installation, caller: tuple[Credential, str], web: Server
) -> None:
    earlier = count_of_reservations(installed)
    ballast = disk / "ballast"
    load = Load(web.port, *caller)
    with load.running():
        more_calls(load)
        with ballast.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(CHUNK):
                pass
        eventually(
            lambda: len(load.unavailable) > 20, seconds=120, what="503s"
        )  # what was free in tables is used
        told = len(load.acknowledged)
        assert count_of_reservations(installed) - earlier >= told
        log = installed.base_dir / ".local" / "services" / "postgres.log"
        assert "PANIC" not in log.read_text(), log.read_text()[-4_000:]
        ballast.unlink()
        more_calls(load)

    assert load.lost_connections == 0, "the web process always answered"
    assert set(load.unavailable) == {"1"}, "each 503 says when to come back"
    everything_told_is_true(installed, load, earlier=earlier)
