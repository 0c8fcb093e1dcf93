"""Usage that a gateway pushes: from the bytes of a request to the books, and what is answered.

Rows that were booked before change nothing, so a push may be sent again, whole or in parts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Any

from django.db import connection

from catalog.selectors import known_names
from core.errors import DomainError
from gateway.adapters import otlp, pushed
from gateway.adapters.pushed import PushedRow, UnreadableBodyError
from gateway.auth import Credential
from usage.redaction import redacted_text
from usage.rows import external_id
from usage.services.bulk import Refused, judge_page

MAX_PUSH_BYTES = 8 * 1024 * 1024
BATCH_ROWS = 2_000  # each in a transaction of its own, well within the time of a statement
ERRORS_TOLD = 20
JSON, LINES, CSV = "application/json", "application/x-ndjson", "text/csv"
USE_NONCE = """
    INSERT INTO gateway_used_nonce (gateway_id, nonce, used_at) VALUES (%s, %s, clock_timestamp())
    ON CONFLICT DO NOTHING
"""


class UnsupportedBodyError(DomainError):
    """The body has a type, or is packed in a way, that is not read."""

    code = "unsupported_media_type"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    title = "Unsupported media type"


class PushUnreadableError(DomainError):
    """Nothing of the body can be read as rows, so nothing was booked."""

    code = "invalid_request"
    status = HTTPStatus.BAD_REQUEST
    title = "Invalid request"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFault:
    """A row that went into quarantine: where it stood, and why."""

    line: int
    external_id: str
    reason: str
    detail: str


@dataclass(slots=True, kw_only=True)
class PushCounts:
    """What became of the rows of one push; spans of traces that are no calls are skipped."""

    read: int = 0
    booked: int = 0
    known: int = 0
    quarantined: int = 0
    skipped: int = 0
    faults: list[RowFault] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """Return the body of the answer: the counts, and the first faults by their lines."""
        return {
            "read": self.read,
            "booked": self.booked,
            "known": self.known,
            "quarantined": self.quarantined,
            "skipped": self.skipped,
            "errors": [
                {
                    "line": fault.line,
                    "id": fault.external_id,
                    "reason": fault.reason,
                    "detail": fault.detail,
                }
                for fault in self.faults
            ],
        }


def use_nonce(credential: Credential, nonce: str) -> bool:
    """Use a signature up; false when it was used before."""
    with connection.cursor() as cursor:
        cursor.execute(USE_NONCE, [credential.gateway_id, nonce])
        return bool(cursor.rowcount)


def read_push(body: bytes, *, content_type: str) -> Iterator[PushedRow | None]:
    """Give the rows of a body as its type says, None for what is no call.

    Raises UnsupportedBodyError for other types and PushUnreadableError for a body without rows.
    """
    kind, _, parameters = content_type.partition(";")
    charset = parameters.replace(" ", "").replace('"', "").lower().partition("charset=")[2]
    if charset not in {"", "utf-8", "utf8", "us-ascii"}:
        raise UnsupportedBodyError("Send UTF-8.")
    try:
        match kind.strip().lower():
            case "application/x-ndjson" | "application/jsonl" | "application/x-jsonlines":
                return pushed.read_lines(body)
            case "text/csv":
                return pushed.read_csv(body)
            case "application/json":
                return _read_json(body)
    except UnreadableBodyError as error:
        raise PushUnreadableError(str(error)) from error
    raise UnsupportedBodyError(f"Send {JSON}, {LINES} or {CSV}.")


def _read_json(body: bytes) -> Iterator[PushedRow | None]:
    try:
        document = pushed.parse_json(body.removeprefix(pushed.BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        raise UnreadableBodyError(f"The body is not JSON: {error}") from error
    return iter(list(otlp.read_spans(document))) if otlp.is_trace(document) else pushed.read_list(document)


def book_push(*, source: str, rows: Iterable[PushedRow | None]) -> PushCounts:
    """Book the rows of one gateway, page by page, and return what became of them."""
    total, names, remaining = PushCounts(), known_names(), iter(rows)
    while page := list(islice(remaining, BATCH_ROWS)):
        found = [row for row in page if row is not None]
        total.skipped += len(page) - len(found)
        _book_page(source, found, names, total)
    return total


def _book_page(source: str, page: list[PushedRow], names: set[str], total: PushCounts) -> None:
    lines = {id(row.row): row.line for row in page}  # a refusal carries the very row
    for row in page:
        served = row.row.pop("served_model", None) if row.reason is None else None
        if isinstance(served, str) and served in names:
            row.row["model"] = served
    counts, refused = judge_page(
        source=source,
        rows=[row.row for row in page if row.reason is None],
        unreadable=[Refused(row.row, row.reason, row.detail) for row in page if row.reason is not None],
    )
    total.read += counts.read
    total.booked += counts.booked
    total.known += counts.known
    total.quarantined += counts.quarantined
    faults = (
        RowFault(
            line=lines[id(each.raw)],
            external_id=redacted_text(external_id(each.raw)),
            reason=each.reason,
            detail=redacted_text(each.detail),
        )
        for each in refused
    )
    total.faults = sorted([*total.faults, *faults], key=lambda fault: fault.line)[:ERRORS_TOLD]
