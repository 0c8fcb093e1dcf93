"""Runs the portal's processes in the foreground, each line with a name; the end of one ends all."""

from __future__ import annotations

import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from portal.local.processes import ChildProcesses

TICK_SECONDS = 0.2
STOPPED_WITHIN_SECONDS = 10.0
READ_BYTES = 65_536


@dataclass(slots=True, kw_only=True)
class _Running:
    name: str
    process: subprocess.Popen[bytes]
    unfinished_line: bytes = b""


@dataclass(slots=True, kw_only=True)
class Foreground:
    """The processes that belong together; `say` prints one line.

    They are killed outright when this process is killed: everything they do is safe to lose at any point.
    """

    say: Callable[[str], None]
    children: ChildProcesses = field(default_factory=ChildProcesses)
    _selector: selectors.DefaultSelector = field(default_factory=selectors.DefaultSelector)
    _running: list[_Running] = field(default_factory=list)

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        inherited: Sequence[int] = (),
    ) -> None:
        """Start one process."""
        process = self.children.start(
            command,
            on_owner_death=signal.SIGKILL,
            output=subprocess.PIPE,
            environment=environment,
            inherited=inherited,
        )
        assert process.stdout is not None
        running = _Running(name=name, process=process)
        self._running.append(running)
        self._selector.register(process.stdout, selectors.EVENT_READ, running)

    def tick(self) -> str | None:
        """Pass on what was printed, waiting a moment for more; name a process that has ended, if one has."""
        for key, _ in self._selector.select(TICK_SECONDS):
            self._pass_on(key.data, key.fileobj)  # type: ignore[arg-type]  # registered as a pipe above
        return next((child.name for child in self._running if child.process.poll() is not None), None)

    def stop(self) -> None:
        """Ask every process to end, pass on their last words, and kill those that take too long."""
        for child in self._running:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOPPED_WITHIN_SECONDS
        while self._selector.get_map() and time.monotonic() < deadline:
            self.tick()
        for child in self._running:
            child.process.kill()
            child.process.wait()
            self.children.forget(child.process)
        self._running.clear()
        self.children.close()

    def _pass_on(self, child: _Running, pipe: IO[bytes]) -> None:
        data = pipe.read1(READ_BYTES)  # type: ignore[attr-defined]  # a buffered reader, which IO does not say
        *lines, child.unfinished_line = (child.unfinished_line + data).split(b"\n")
        if not data:
            self._selector.unregister(pipe)
            lines += [child.unfinished_line] if child.unfinished_line else []
        for line in lines:
            self.say(f"{child.name:8}| {line.decode(errors='replace')}")
