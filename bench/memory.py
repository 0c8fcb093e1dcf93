"""What everything that `make run` starts takes together: resident memory of the supervisor and all of its
descendants.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.environment import Services, free_port
from bench.load import ROOT
from bench.results import Result
from bench.sizes import Size

START_SECONDS = 90
SETTLE_SECONDS = 20  # beat has fired every short job and the pools are warm
CALLS = 200


def measure(running: Services, size: Size) -> Iterator[Result]:
    """Give the megabytes. Runs in a copy, so nothing of this tree is touched."""
    with tempfile.TemporaryDirectory(prefix="purser-memory-") as directory:
        copy = Path(directory)
        copy.chmod(0o755)
        tracked = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for name in tracked.splitlines():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
        port = free_port()
        hidden = {
            "DATABASE_URL",
            "REDIS_URL",
            "SECRET_KEY",
            "KEY_PEPPERS",
            "GATEWAY_ROOT_SECRET",
            "AUDIT_HMAC_KEY",
        }
        environment = {name: value for name, value in os.environ.items() if name not in hidden} | {
            "PORT": str(port)
        }
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"], cwd=copy, env=environment, stdout=subprocess.DEVNULL
        )
        try:
            _wait_until_ready(port)
            for _ in range(CALLS):
                _get(port, "/accounts/login/")
            time.sleep(SETTLE_SECONDS)
            total = sum(_resident_megabytes(pid) for pid in _family(process.pid))
        finally:
            process.terminate()
            process.wait(30)
    yield Result(name="resident_mb_of_make_run", value=total, bar=900, at_least=False)


def _family(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    family = [root]
    for member in family:
        family += [pid for pid, parent in parents.items() if parent == member]
    return family


def _resident_megabytes(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if _get(port, "/readyz") == 200:
            return
        time.sleep(0.2)
    raise TimeoutError("make run was not ready in time")


def _get(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            answer.read()
            return int(answer.status)
    except (urllib.error.URLError, OSError):
        return 0
