"""Looks at processes through /proc, for tests that count what is left of them."""

from __future__ import annotations

import time
from pathlib import Path

GONE_WITHIN_SECONDS = 10.0
POLL_SECONDS = 0.02

# A process number is used again; the number and the start time together are not.
Identity = tuple[int, str]


def descendants(process_id: int) -> dict[Identity, str]:
    """Give every live process below `process_id`, with its command line."""
    entries = _all_processes()
    found: dict[Identity, str] = {}
    parents = {process_id}
    while parents:
        children = {key: line for key, (parent, line) in entries.items() if parent in parents}
        found |= children
        parents = {key[0] for key in children}
    return found


def seconds_until_gone(processes: dict[Identity, str]) -> float:
    """Wait until none of `processes` is left and give the time it took; fails when some stay."""
    started_at = time.monotonic()
    while left := processes.keys() & _all_processes().keys():
        seconds = time.monotonic() - started_at
        assert seconds < GONE_WITHIN_SECONDS, [processes[key] for key in left]
        time.sleep(POLL_SECONDS)
    return time.monotonic() - started_at


def owner_of(process_id: int) -> int:
    """Give the user number that a process runs as."""
    return Path(f"/proc/{process_id}").stat().st_uid


def _all_processes() -> dict[Identity, tuple[int, str]]:
    """Give parent and command line of every process that is not a zombie."""
    entries = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            # The name in parentheses may hold anything; what follows the last one is regular.
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            line = (directory / "cmdline").read_text().replace("\0", " ").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, parent, start_time = fields[0], int(fields[1]), fields[19]
        if state != "Z":
            entries[int(directory.name), start_time] = parent, line
    return entries
