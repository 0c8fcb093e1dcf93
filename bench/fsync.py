"""A fixed fsync delay: commits cost the same on every disk, and can be made to cost more.

A small C library, compiled here and preloaded into PostgreSQL, waits after each fsync as long as a mapped
file says. Where that cannot be, the measurements go on with whatever fsync costs, and say so.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("fixed_fsync.c")
DELAY_BYTES = 8
PROBE_MICROSECONDS = 50_000


@dataclass(frozen=True, slots=True)
class FixedFsync:
    """The delay of one PostgreSQL; `directory` is None when it cannot be fixed."""

    directory: Path | None

    @property
    def is_fixed(self) -> bool:
        return self.directory is not None

    @property
    def environment(self) -> dict[str, str]:
        """Return what the server's environment has to hold."""
        if self.directory is None:
            return {}
        return {"LD_PRELOAD": str(self.directory / "fixed_fsync.so"), "FIXED_FSYNC": str(self._delay)}

    def set(self, *, microseconds: int) -> None:
        """Change the delay of the running server from now on."""
        if self.directory is not None:
            with self._delay.open("r+b") as file:
                file.write(microseconds.to_bytes(DELAY_BYTES, sys.byteorder))

    def check(self, seconds_of_a_commit: Callable[[], float]) -> None:
        """Raise when the server's commits do not take as long as they are told to."""
        if self.directory is None:
            return
        self.set(microseconds=PROBE_MICROSECONDS)
        seconds = seconds_of_a_commit()
        if seconds < PROBE_MICROSECONDS / 1_000_000:
            raise RuntimeError(f"fsync is not fixed: a commit took {seconds * 1000:.1f} ms")

    @property
    def _delay(self) -> Path:
        assert self.directory is not None
        return self.directory / "fsync-delay"


def fixed_fsync(directory: Path) -> FixedFsync:
    """Compile the library into a directory that the server's user can read; the delay is 0 at first."""
    library = directory / "fixed_fsync.so"
    reason = _compile(library)
    if reason:
        print(
            f"WARNING: fsync is NOT fixed: {reason} Figures depend on this disk, and T5 says nothing.",
            file=sys.stderr,
            flush=True,
        )
        return FixedFsync(None)
    library.chmod(0o755)
    delay = directory / "fsync-delay"
    delay.write_bytes(bytes(DELAY_BYTES))
    delay.chmod(0o644)
    return FixedFsync(directory)


def _compile(library: Path) -> str:
    """Compile, and return why it did not work, or nothing."""
    if not sys.platform.startswith("linux"):
        return "LD_PRELOAD is Linux's."
    compiler = shutil.which("cc")
    if compiler is None:
        return "there is no C compiler 'cc'."
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"cc failed: {done.stderr[-300:]}" if done.returncode else ""
