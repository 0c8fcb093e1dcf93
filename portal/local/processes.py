"""Starts child processes that do not outlive this one, even when it is killed with SIGKILL.

On Linux the kernel signals each child when its parent dies (PR_SET_PDEATHSIG). Elsewhere one watchdog process
holds the read end of a pipe and signals the children when the write end, which only this process has, is
closed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from portal.local.state import LocalServicesError, ServiceAccount

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2
HAS_DEATH_SIGNAL = sys.platform.startswith("linux")
WATCHDOG_PROGRAM = Path(__file__).with_name("watchdog.py")
SERVICE_UMASK = 0o077


class ChildProcesses:
    """Starts children that end with this process.

    Invariant: every child leads a session of its own, so Ctrl-C in a terminal reaches this process alone.
    """

    def __init__(self, *, watchdog: bool = not HAS_DEATH_SIGNAL) -> None:
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._uses_watchdog = watchdog

    def start(
        self,
        command: Sequence[str | Path],
        *,
        on_owner_death: signal.Signals,
        account: ServiceAccount | None = None,
        source: IO[bytes] | None = None,
        output: IO[bytes] | int | None = None,
        environment: Mapping[str, str] | None = None,
        inherited: Sequence[int] = (),
        working_directory: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `command`, as `account` when given; it gets `on_owner_death` when this process ends in any
        way.

        Raises LocalServicesError outside the main thread, because the kernel ties the signal to the starting
        thread.
        """
        if threading.current_thread() is not threading.main_thread():
            raise LocalServicesError(
                "Children that end with their owner are started from the main thread only."
            )
        child = subprocess.Popen(  # noqa: S603 - the callers' commands are built from constants and own paths
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL if source is None else source,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            env=environment,
            cwd=working_directory,
            pass_fds=tuple(inherited),
            start_new_session=True,
            preexec_fn=None if self._uses_watchdog else _death_signal_setter(on_owner_death),  # noqa: PLW1509
            user=account.user_id if account else None,
            group=account.group_id if account else None,
            extra_groups=[] if account else None,
            umask=SERVICE_UMASK if account else -1,
        )
        if self._uses_watchdog:
            self._tell_watchdog(f"{child.pid} {int(on_owner_death)}\n")
        return child

    def forget(self, child: subprocess.Popen[bytes]) -> None:
        """Take a child that has ended off the watchdog's list: its number may become another process's."""
        if self._uses_watchdog:
            self._tell_watchdog(f"{child.pid} 0\n")

    def close(self) -> None:
        """End the watchdog; call it when every child has ended."""
        if self._watchdog is not None:
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.close()
            self._watchdog.wait()
            self._watchdog = None

    def _tell_watchdog(self, line: str) -> None:
        if self._watchdog is None:
            self._watchdog = subprocess.Popen(  # noqa: S603 - this interpreter and a file of this package
                [sys.executable, "-I", "-S", WATCHDOG_PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.write(line.encode())
        self._watchdog.stdin.flush()


def death_signal() -> int:
    """Return the signal that this thread's process gets when its parent dies; 0 for none."""
    number = ctypes.c_int(0)
    if HAS_DEATH_SIGNAL:
        ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number))
    return number.value


def end_with_parent(on_parent_death: int) -> None:
    """Have this process signalled when its parent dies, where the kernel can do that; kept by the thread."""
    if HAS_DEATH_SIGNAL:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(on_parent_death))


def _death_signal_setter(number: signal.Signals) -> Callable[[], None]:
    """Make what the child runs between fork and exec, after the change of user, which clears it."""
    set_process_control = ctypes.CDLL(None).prctl
    owner = os.getpid()

    def set_death_signal() -> None:
        set_process_control(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != owner:
            os._exit(1)

    return set_death_signal
