"""The library that fixes what an fsync costs, in a process that syncs a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.fsync import FixedFsync, fixed_fsync

PROGRAM = """
import os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
for line in sys.stdin:
    started = time.perf_counter()
    (os.fsync if line == "fsync\\n" else os.fdatasync)(file)
    print(time.perf_counter() - started, flush=True)
"""
needs_compiler = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs Linux and cc"
)


@needs_compiler
def test_each_sync_takes_the_time_that_is_set_while_the_process_runs(tmp_path: Path) -> None:
    fsync = fixed_fsync(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "file")],
        env={**os.environ, **fsync.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        calls, answers = process.stdin, process.stdout
        assert calls is not None
        assert answers is not None

        def seconds(call: str, microseconds: int) -> float:
            fsync.set(microseconds=microseconds)
            calls.write(f"{call}\n")
            calls.flush()
            return float(answers.readline())

        assert seconds("fsync", 200_000) >= 0.2
        assert seconds("fdatasync", 300_000) >= 0.3
        assert min(seconds("fsync", 0) for _ in range(3)) < 0.2
        calls.close()


@needs_compiler
def test_commits_that_are_not_delayed_are_noticed(tmp_path: Path) -> None:
    fsync = fixed_fsync(tmp_path)
    with pytest.raises(RuntimeError, match=r"not fixed: a commit took 0\.1 ms"):
        fsync.check(lambda: 0.0001)
    fsync.check(lambda: 0.06)


def test_machine_without_a_compiler_is_told_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    fsync = fixed_fsync(tmp_path)
    assert fsync == FixedFsync(None)
    assert fsync.environment == {}
    assert "WARNING: fsync is NOT fixed" in capsys.readouterr().err
