"""The gateway's own record of finished calls: append-only JSON lines in numbered files, shared by all of its
workers.

A line is handed to the operating system at once, so that the death of the process loses nothing; it is synced
to the disk within moments, many lines to one sync. All workers append to the same file, in whole lines
(O_APPEND), so that all lines have one order: a position is a file's number and an offset, and asking twice
from a position gives the same lines.
"""

import base64
import binascii
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SUFFIX = ".jsonl"
_READ_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two lines: a file's number and the bytes before it."""

    file: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Lines in the order they were written, the position after them, and whether more lines follow."""

    items: Sequence[dict[str, object]]
    position: Position
    has_more: bool


class CursorError(ValueError):
    """A cursor that this journal did not make."""


def encode_cursor(position: Position) -> str:
    """Return the opaque text of a position."""
    return (
        base64.urlsafe_b64encode(json.dumps([position.file, position.offset]).encode()).decode().rstrip("=")
    )


def decode_cursor(text: str) -> Position:
    """Return the position of a cursor; an empty one is the beginning. Raises CursorError."""
    if not text:
        return Position()
    try:
        file, offset = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, binascii.Error):
        raise CursorError("The cursor is not one of this gateway's.") from None
    if not (isinstance(file, int) and isinstance(offset, int) and file >= 0 and offset >= 0):
        raise CursorError("The cursor is not one of this gateway's.")
    return Position(file, offset)


class Journal:
    """The journal in one state directory, which must be on a local file system.

    `read` and `sync` block: call them off the event loop.
    """

    def __init__(self, state_directory: Path, *, file_bytes: int) -> None:
        self._directory = state_directory / "journal"
        self._state_directory = state_directory
        self._file_bytes = file_bytes
        self._descriptor: int | None = None
        self._number = 0
        state_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.mkdir(mode=0o700, exist_ok=True)

    def append(self, lines: Sequence[bytes]) -> Position:
        """Write `lines` (without line ends); return the position after them.

        Raises OSError when the disk refuses; a torn line is closed by the next write.
        """
        descriptor = self._current()
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + b"".join(line + b"\n" for line in lines)
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, "the journal took only a part of its lines")
        return Position(self._number, os.lseek(descriptor, 0, os.SEEK_CUR))

    def sync(self) -> None:
        """Return when everything that this process appended is on the disk. Raises OSError."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def read(self, position: Position, *, limit: int) -> Page:
        """Return up to `limit` lines after `position`.

        A file that was pruned is passed over; damaged lines too.
        """
        items: list[dict[str, object]] = []
        for number in [number for number in self._numbers() if number >= position.file]:
            if number != position.file:
                position = Position(number, 0)
            for line, end in self._lines(position):
                if len(items) == limit:
                    return Page(items=items, position=position, has_more=True)
                position = Position(number, end)
                item = _parse(line)
                if item is not None:
                    items.append(item)
        return Page(items=items, position=position, has_more=False)

    def prune(self, *, older_than_days: int, delivered: Position) -> int:
        """Delete files that are delivered, not the newest, and older than the given age; return how many."""
        horizon = time.time() - older_than_days * 86_400
        old = [
            n for n in self._numbers()[:-1] if n < delivered.file and self._path(n).stat().st_mtime < horizon
        ]
        for number in old:
            self._path(number).unlink()
        return len(old)

    def load_position(self, name: str) -> Position:
        """Return a remembered position, or the beginning."""
        try:
            return decode_cursor((self._state_directory / f"{name}.position").read_text().strip())
        except (FileNotFoundError, CursorError):
            return Position()

    def save_position(self, name: str, position: Position) -> None:
        """Remember a position. Losing it is harmless: what is delivered again is recognised."""
        path = self._state_directory / f"{name}.position"
        fresh = path.with_suffix(".fresh")
        fresh.write_text(encode_cursor(position))
        fresh.replace(path)

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """Hold a lock among all processes of this state directory.

        Raises BlockingIOError when not waiting and it is taken.
        """
        descriptor = os.open(self._state_directory / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(descriptor)

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._directory.glob(f"*{_SUFFIX}") if path.stem.isdigit())

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:08d}{_SUFFIX}"

    def _current(self) -> int:
        """Return the descriptor of the file to append to, starting the next file when this one is full."""
        if self._descriptor is not None and os.fstat(self._descriptor).st_size < self._file_bytes:
            return self._descriptor
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
        numbers = self._numbers()
        self._number = numbers[-1] if numbers else 1
        if numbers and self._path(self._number).stat().st_size >= self._file_bytes:
            self._number += 1
        self._descriptor = os.open(self._path(self._number), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        return self._descriptor

    def _lines(self, position: Position) -> Iterator[tuple[bytes, int]]:
        """Yield each complete line after `position` with the offset behind it."""
        try:
            file = self._path(position.file).open("rb", buffering=_READ_CHUNK_BYTES)
        except FileNotFoundError:
            return
        with file:
            file.seek(position.offset)
            end = position.offset
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield line, end


def _parse(line: bytes) -> dict[str, object] | None:
    try:
        item = json.loads(line)
    except ValueError:
        return None
    return item if isinstance(item, dict) else None
