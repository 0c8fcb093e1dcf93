"""The heads of the sealed audit, outside the database: a line of a file, and the same line of the log.

AUDIT_ANCHOR_DIR should be on another machine's disk, or be shipped to one: whoever can write both the
database and the anchors can cut off the end of the audit unseen.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from django.conf import settings

log = structlog.get_logger(__name__)

FILE_NAME = "audit-anchors.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """What a seal was when it was made."""

    seal: int
    head: str
    first_event_id: int
    last_event_id: int
    sealed_at: str


def path() -> Path:
    """Return where the anchors are."""
    return Path(settings.AUDIT_ANCHOR_DIR) / FILE_NAME


def read() -> dict[int, Anchor]:
    """Return the anchors by the number of their seal; of two for one seal the first one counts.

    The last line may be cut short by a crash: it is written again.
    """
    try:
        lines = path().read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return {}
    found: dict[int, Anchor] = {}
    for line in lines:
        if line.endswith("\n"):
            anchor = Anchor(**json.loads(line))
            found.setdefault(anchor.seal, anchor)
    return found


def write(anchor: Anchor) -> None:
    """Append one anchor, on the disk when this returns."""
    target = path()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = json.dumps(asdict(anchor)) + "\n"
    descriptor = os.open(target, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            os.ftruncate(descriptor, _last_line_end(descriptor, size))
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    log.info("audit.anchored", **asdict(anchor))


def _last_line_end(descriptor: int, size: int) -> int:
    return os.pread(descriptor, size, 0).rfind(b"\n") + 1
