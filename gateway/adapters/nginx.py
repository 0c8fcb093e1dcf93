"""nginx's access log as JSON lines, read from its file by position; it may be rotated, cut off or growing.

A line holds what docs/sources.md says: ts ($msec), request_id, reservation, key_id, model, usage (the last
`usage` of the answer, as text), service_tier (what the answer says, if anything), status, denied, connected
and answered (seconds until the provider was reached, and until it answered). A line about a refused call is
left out. One whose provider refused it or was never reached frees its hold. Any other whose answer told no
usage is charged its input bound when its hold expires: the provider may have worked.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import structlog
from django.conf import settings

from gateway.adapters.calls import text_of
from gateway.adapters.parts import context_of, units_of
from gateway.models import GatewayLog
from usage.models import Finish, QuarantineReason
from usage.ports import LogPage, LogRow, RefusedRow, SourceUnavailableError, UnusedCall
from usage.tokens import TokenCountError, checked_tokens

log = structlog.get_logger(__name__)

MAX_LINE_BYTES = 64 * 1024
ENOUGH_BYTES = 48  # of a head that no other file has: time and request id stand in front
HEAD_BYTES = 128  # what a file is known by besides its inode, which the next file may get again
SERVED = range(200, 300)
REFUSED = range(400, 600)
GAVE_UP = {408, 499, 504}  # somebody left or waited in vain, while the provider may have worked
NO_ANSWER = "decision_unavailable"  # the portal may have held all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where in which file: its inode, a digest of its first bytes (so many as there were), and the offset."""

    inode: int
    head: str
    head_bytes: int
    offset: int

    def __str__(self) -> str:
        return f"{self.inode}:{self.head}:{self.head_bytes}:{self.offset}"


class NginxLog:
    """The access log of one nginx. Implements usage.ports.UsageLog."""

    def __init__(self, gateway_log: GatewayLog) -> None:
        self._log = gateway_log

    @property
    def name(self) -> str:
        """Return the public id of the log."""
        return str(self._log.public_id)

    @property
    def gateway(self) -> str:
        """Return the public id of the gateway."""
        return str(self._log.gateway.public_id)

    def page(self, cursor: str, *, limit: int) -> LogPage:
        """Return whole lines after `cursor`. What a rotated file still holds comes before the new file.

        Raises SourceUnavailableError.
        """
        path = checked_path(self._log.place)
        try:
            return _page(path, _position(cursor), limit)
        except OSError as error:
            raise SourceUnavailableError(
                f"The log {path} cannot be read by the worker ({type(error).__name__})."
            ) from error


def checked_path(place: str) -> Path:
    """Return the real path of a log. Raises SourceUnavailableError for one outside of the directory."""
    path = Path(place).resolve()
    if not path.is_relative_to(Path(settings.GATEWAY_LOG_DIRECTORY).resolve()):
        raise SourceUnavailableError(f"Logs are read below {settings.GATEWAY_LOG_DIRECTORY} only.")
    return path


def _page(path: Path, at: Position | None, limit: int) -> LogPage:
    current, older = _find(path, at)
    with (older or current).open("rb") as file:
        known = _identity(file)
        start = at.offset if at and (older or _is_same(file, at)) else 0
        if at and start == 0 and at.offset:
            log.warning("gateway.log_began_anew", path=str(path))
        lines, offset, ended = _lines(file, start, limit)
    if older and ended:  # the next page begins the file that came after it
        following = _after(path, older)
        with following.open("rb") as file:
            known, offset = _identity(file), 0
    rows, unused, refused, skipped = _read(lines)
    inode, head, head_bytes = known
    return LogPage(
        rows=rows,
        unused=unused,
        refused=refused,
        skipped=skipped,
        next_cursor=str(Position(inode=inode, head=head, head_bytes=head_bytes, offset=offset)),
        has_more=bool(older) or not ended,
    )


def _find(path: Path, at: Position | None) -> tuple[Path, Path | None]:
    """Return the file that is written now, and the rotated one in which the reading stopped, if any."""
    if at is None:
        return path, None
    if path.exists():
        with path.open("rb") as file:
            if _is_same(file, at):
                return path, None
    for other in _rotated(path):
        with other.open("rb") as file:
            if _is_same(file, at, copied=at.head_bytes >= ENOUGH_BYTES):
                return path, other
    return path, None


def _rotated(path: Path) -> list[Path]:
    """Return the rotated files of a log that are not compressed, the oldest first."""
    found = [
        other
        for other in path.parent.glob(f"{path.name}?*")
        if other.is_file() and other.suffix not in {".gz", ".bz2", ".xz", ".zst"}
    ]
    return sorted(found, key=lambda other: other.stat().st_mtime_ns)


def _after(path: Path, older: Path) -> Path:
    newer = _rotated(path)
    place = newer.index(older) if older in newer else len(newer)
    return newer[place + 1] if place + 1 < len(newer) else path


def _identity(file: IO[bytes]) -> tuple[int, str, int]:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    return os.fstat(file.fileno()).st_ino, hashlib.sha256(head).hexdigest()[:16], len(head)


def _is_same(file: IO[bytes], at: Position, *, copied: bool = False) -> bool:
    """Whether this is the file of a position, or a copy of it, and as long as it was: one that was cut off
    begins anew.
    """
    file.seek(0)
    head = file.read(at.head_bytes)
    known = os.fstat(file.fileno())
    digest = hashlib.sha256(head).hexdigest()[:16]
    is_it = digest == at.head and (copied or known.st_ino == at.inode)
    return is_it and known.st_size >= at.offset


def _lines(file: IO[bytes], start: int, limit: int) -> tuple[list[bytes], int, bool]:
    """Return whole lines, the offset after them, and whether that is all; what is half written waits."""
    file.seek(start)
    lines: list[bytes] = []
    offset = start
    while len(lines) < limit:
        line = file.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            if len(line) < MAX_LINE_BYTES:
                return lines, offset, True
            rest = _skip_line(file)
            if rest is None:
                return lines, offset, True
            offset += rest
        offset += len(line)
        lines.append(line)
    return lines, offset, False


def _skip_line(file: IO[bytes]) -> int | None:
    """Read over the rest of a line that is too long; None while it is still being written."""
    skipped = 0
    while True:
        part = file.readline(MAX_LINE_BYTES)
        skipped += len(part)
        if part.endswith(b"\n"):
            return skipped
        if not part:
            return None


def _position(cursor: str) -> Position | None:
    if not cursor:
        return None
    inode, head, head_bytes, offset = cursor.split(":")
    return Position(inode=int(inode), head=head, head_bytes=int(head_bytes), offset=int(offset))


def _read(lines: list[bytes]) -> tuple[list[LogRow], list[UnusedCall], list[RefusedRow], int]:
    rows: list[LogRow] = []
    unused: list[UnusedCall] = []
    refused: list[RefusedRow] = []
    skipped = 0
    for line in lines:
        try:
            raw = _object(line)
            row, freed = _row(raw), _unused(raw)
        except TokenCountError as error:
            refused.append(_refused(line, QuarantineReason.BAD_TOKENS, str(error)))
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            refused.append(
                _refused(
                    line, QuarantineReason.MALFORMED, f"The line cannot be read ({type(error).__name__})."
                )
            )
        else:
            rows += [row] if row else []
            unused += [freed] if freed else []
            skipped += row is None and freed is None
    return rows, unused, refused, skipped


def _object(line: bytes) -> Mapping[str, Any]:
    if not line.endswith(b"\n"):
        raise ValueError("a line of more than 64 KiB")
    value = json.loads(line)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _refused(line: bytes, reason: QuarantineReason, detail: str) -> RefusedRow:
    text = line[:2_000].decode("utf-8", errors="replace").replace("\x00", "\N{REPLACEMENT CHARACTER}").strip()
    return RefusedRow(raw={"line": text}, reason=reason, detail=detail)


def _row(raw: Mapping[str, Any]) -> LogRow | None:
    """Return the call of a line; None for one that was refused or told no usage."""
    told = json.loads(raw["usage"]) if raw.get("usage") else None
    if int(raw["status"]) not in SERVED or raw.get("denied") or told is None:
        return None
    external_id = text_of(raw, "request_id")
    if not external_id:
        raise ValueError("request_id is missing")
    tokens = checked_tokens(usage_tokens(told))
    return LogRow(
        external_id=external_id,
        reservation=text_of(raw, "reservation", most=40),
        at=datetime.fromtimestamp(float(raw["ts"]), UTC),
        key=text_of(raw, "key_id"),
        model=text_of(raw, "model"),
        tokens=tokens,
        context=context_of(raw.get("service_tier") or told.get("service_tier")),
        units=units_of(told, tokens),
        finish=Finish.STOP if raw.get("completion", "OK") == "OK" else Finish.CANCELLED,
        cache_hit=False,
        provider_id="",
        raw=dict(raw),
    )


def _unused(raw: Mapping[str, Any]) -> UnusedCall | None:
    """Return the call of a line that no provider worked for; None where one did or may have."""
    status, denied = int(raw["status"]), raw.get("denied")
    reservation = text_of(raw, "reservation", most=40)
    answered, reached = _took_time(raw.get("answered")), _took_time(raw.get("connected"))
    if denied:
        is_unused = denied == NO_ANSWER
    elif not reservation or raw.get("usage") or status not in REFUSED or status in GAVE_UP:
        is_unused = False
    else:
        # A log without these two (one that another nginx writes) says nothing about it.
        is_unused = answered is True or reached is False
    if not is_unused:
        return None
    return UnusedCall(
        reservation=reservation,
        request_id=text_of(raw, "request_id"),
        at=datetime.fromtimestamp(float(raw["ts"]), UTC),
        model=text_of(raw, "model"),
    )


def _took_time(told: Any) -> bool | None:
    """Whether nginx measured a time: it writes `-`, or nothing, for what did not happen. None: not logged."""
    return None if told is None else told not in {"", "-"}


def usage_tokens(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return inclusive totals from a provider's own usage, of either convention."""
    if "prompt_tokens" in told or "input_tokens_details" in told or "total_tokens" in told:
        inputs = told.get("prompt_tokens_details") or told.get("input_tokens_details") or {}
        outputs = told.get("completion_tokens_details") or told.get("output_tokens_details") or {}
        return {
            "input_tokens": told.get("prompt_tokens", told.get("input_tokens", 0)),
            "cached_tokens": inputs.get("cached_tokens") or 0,
            "cache_write_tokens": inputs.get("cache_write_tokens") or 0,
            "output_tokens": told.get("completion_tokens", told.get("output_tokens", 0)),
            "reasoning_tokens": outputs.get("reasoning_tokens") or 0,
        }
    cached = told.get("cache_read_input_tokens") or 0
    written = told.get("cache_creation_input_tokens") or 0
    return {
        "input_tokens": told["input_tokens"] + cached + written,
        "cached_tokens": cached,
        "cache_write_tokens": written,
        "output_tokens": told.get("output_tokens", 0),
    }
