"""`manage.py up` in a copy of the project: the whole of it starts, and the whole of it ends."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from portal.management.commands.up import listen
from tests.portal.owners import PROJECT
from tests.portal.processes import Identity, descendants, seconds_until_gone

LEFT_BEHIND = shutil.ignore_patterns(".git", ".local", ".venv", ".*_cache", "__pycache__", "docs", "tests")
COMMAND = [sys.executable, "manage.py", "up"]
STOPPED_WITHIN_SECONDS = 40


class Running:
    """A portal that said that it is ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output: list[str] = []
        self.read_until("is ready at")
        self.below: dict[Identity, str] = descendants(self.process.pid)

    def read_until(self, words: str) -> None:
        """Keep what it prints, up to the line that holds `words`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if words in line:
                return
        pytest.fail(f"It ended without printing {words!r}:\n{''.join(self.output)}")

    def wait(self) -> int:
        """Wait for its end, keep what it printed, and give its exit status."""
        rest, _ = self.process.communicate(timeout=STOPPED_WITHIN_SECONDS)
        self.output.append(rest)
        return self.process.returncode

    def process_id(self, words: str) -> int:
        """Give the process whose command line holds `words`."""
        return next(process_id for (process_id, _), line in self.below.items() if words in line)


RunPortal = Callable[[list[str]], Running]


def start(project: Path, port: int, command: list[str]) -> subprocess.Popen[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return subprocess.Popen(
        command,
        cwd=project,
        env={**kept, "PORT": str(port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="purser-up-"))
    directory.chmod(0o711)
    yield shutil.copytree(PROJECT, directory / "purser", ignore=LEFT_BEHIND)
    shutil.rmtree(directory)


@pytest.fixture
def run_portal(project: Path, port: int) -> Iterator[RunPortal]:
    """Start portals that are gone when the test is, whatever it found."""
    with ExitStack() as stack:

        def run(command: list[str]) -> Running:
            process = stack.enter_context(start(project, port, command))
            stack.callback(process.kill)
            return Running(process)

        yield run


@pytest.fixture
def port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def readiness(port: int) -> dict[str, object]:
    request = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    request.request("GET", "/readyz")
    answer: dict[str, object] = json.loads(request.getresponse().read())
    request.close()
    return answer


def test_everything_starts_and_nothing_outlives_a_kill(run_portal: RunPortal, port: int) -> None:
    portal = run_portal(COMMAND)
    assert {check["name"] for check in readiness(port)["checks"] if check["essential"]} == {  # type: ignore[attr-defined]
        "database",
        "migrations",
    }
    lines = " ".join(portal.below.values())
    assert all(part in lines for part in ("bin/postgres", "valkey-server", "uvicorn", " worker ", " beat "))

    portal.process.kill()
    portal.wait()

    print(f"{portal.output[-2].strip()} {len(portal.below)} gone in {seconds_until_gone(portal.below):.2f} s")


def test_termination_stops_everything_in_order(run_portal: RunPortal, project: Path) -> None:
    portal = run_portal(COMMAND)
    portal.process.send_signal(signal.SIGTERM)
    assert portal.wait() == 0
    assert "Stopped." in portal.output[-1]
    assert seconds_until_gone(portal.below) < 1
    log = (project / ".local/services/postgres.log").read_text()
    assert log.rstrip().endswith("database system is shut down")


def test_end_of_one_process_is_named_and_stops_the_rest(run_portal: RunPortal) -> None:
    portal = run_portal(COMMAND)
    os.kill(portal.process_id(" worker "), signal.SIGKILL)
    assert portal.wait() == 1
    assert "'worker' has ended by itself, so everything is stopped." in portal.output[-1]
    assert seconds_until_gone(portal.below) < 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel has no death signal")
def test_killed_make_takes_everything_with_it(run_portal: RunPortal) -> None:
    # A shell stands for make: it waits for the command and does nothing else.
    words = " ".join([*COMMAND, "--stop-with-parent"])
    portal = run_portal(["sh", "-c", f"{words}; true"])
    portal.process.kill()
    portal.wait()
    seconds_until_gone(portal.below)


def test_port_in_use_is_said_before_anything_starts(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(project, port, COMMAND)
        output, _ = process.communicate(timeout=STOPPED_WITHIN_SECONDS)
    assert process.returncode == 1
    assert f"Port {port} of 127.0.0.1 cannot be used: Address already in use" in output
    assert f"PORT={port + 1} make run" in output


def test_small_answers_are_not_held_back() -> None:
    with (
        listen(0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
