"""A bar on a terminal for what takes a while; nothing at all where nobody looks."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

WIDTH = 32
REDRAW_SECONDS = 0.1


class Progress:
    """How far something is: `with Progress("Calls", total=n) as bar: bar.advance(1_000)`."""

    def __init__(self, label: str, *, total: int, stream: TextIO | None = None) -> None:
        self._label, self._total = label, max(total, 1)
        self._stream = stream or sys.stderr
        self._done = 0
        self._started = time.monotonic()
        self._drawn = 0.0
        self._is_shown = self._stream.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_shown:
            self._draw()
            self._stream.write("\n")
            self._stream.flush()

    def advance(self, steps: int) -> None:
        """Note that so many more are done."""
        self._done += steps
        if self._is_shown and time.monotonic() - self._drawn >= REDRAW_SECONDS:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        share = min(self._done / self._total, 1.0)
        seconds = self._drawn - self._started
        filled = round(share * WIDTH)
        left = f"{seconds / share - seconds:.0f} s left" if 0 < share < 1 else f"{seconds:.0f} s"
        bar = "#" * filled + "." * (WIDTH - filled)
        counted = f"{self._done:,} of {self._total:,}"
        self._stream.write(f"\r{self._label} [{bar}] {share:4.0%} {counted}, {left}\x1b[K")
        self._stream.flush()
