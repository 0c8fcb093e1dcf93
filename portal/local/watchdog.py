"""Signals processes when the process that started this one is gone.

Reads lines of "process-id signal-number" from standard input; signal 0 takes a process off the list. The end
of the input means that the owner has ended in whatever way. Runs as a program by itself, without the
project's packages.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watched: dict[int, int] = {}
    for line in sys.stdin:
        process_id, signal_number = map(int, line.split())
        watched[process_id] = signal_number
    for process_id, signal_number in watched.items():
        if signal_number:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal_number)


if __name__ == "__main__":
    main()
