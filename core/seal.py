"""Seals the audit: chains closed ranges of events with an HMAC and anchors the head outside the database.

Whoever can write to the database can edit a row, and even every mark of the chain, but cannot compute the
marks: their key is in the environment (AUDIT_HMAC_KEY). Whoever cuts off the end of the chain leaves a chain
that is right, but shorter than the anchors say; they are lines of a file and of the log.

An event's mark is HMAC(key, mark before + event), a seal's head HMAC(key, head before + range + last mark).
"""

import hashlib
import hmac
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import Subquery
from django.db.models.functions import Coalesce
from psycopg.errors import LockNotAvailable

from core import anchors, clock
from core.anchors import Anchor
from core.models import AuditEvent, AuditSeal

log = structlog.get_logger(__name__)

MOST_EVENTS = 1_000
LOCK_MILLISECONDS = 500  # less than deadlock_timeout, so that the sealer gives way before anybody is refused
SEALERS = 0x5EA1  # the advisory lock that lets one of them work
MARK = struct.Struct(">q32s")
START = bytes(32)
# What a mark covers, in this order. A column that is added later is covered by a format of its own.
FIELDS = (
    *("id", "public_id", "at", "action", "actor_id", "actor_label", "on_behalf_of_id", "object_type"),
    *("object_id", "object_label", "department_id", "team_id", "before", "after", "reason"),
    *("policy_version", "request_id", "ip_address"),
)
# Later than the first seals: rows from before it are empty there, and canonical without it.
READ = (*FIELDS, "api_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Something that is not as it was sealed: which row, and in what way."""

    subject: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was read, and everything that is not as it was sealed."""

    at: datetime
    events: int
    seals: int
    unsealed: int
    head: str
    broken: tuple[Broken, ...]


@dataclass(slots=True, kw_only=True)
class Chain:
    """How far the seals were recomputed, and what of that is not as it was sealed."""

    number: int = 0
    head: str = ""
    mark: bytes = START
    last_id: int = 0
    events: int = 0
    broken: list[Broken] = field(default_factory=list)


def seal_due() -> int:
    """Seal what is closed and anchor it; return the number of events. May run twice, and beside itself.

    Seals nothing, and logs an error, while the database is behind the anchors: a seal over a cut end would
    hide it.
    """
    if _behind_anchors():
        log.error("audit.cut", hint="run manage.py audit_verify")
        return 0
    horizon = _closed_until()
    sealed, goes_on = 0, clock.time_left()
    while goes_on() and (events := _seal_range(horizon)):
        sealed += events
    _anchor()
    return sealed


def verify() -> Verification:
    """Recompute every mark and head, and compare them with the database's rows and the anchors."""
    chain = Chain()
    follow(chain)
    return Verification(
        at=clock.now(),
        events=chain.events,
        seals=chain.number,
        unsealed=AuditEvent.objects.filter(pk__gt=chain.last_id).count(),
        head=chain.head,
        broken=tuple(chain.broken),
    )


def follow(chain: Chain, *, most: int | None = None) -> bool:
    """Recompute the next seals, at most so many, and move the chain there; true at the end of all.

    Adds what is not as it was sealed, at the end also what is cut off.
    """
    known = anchors.read()
    seals = AuditSeal.objects.filter(number__gt=chain.number).order_by("number")[:most]
    followed = 0
    for seal in seals.iterator(chunk_size=20):
        key = _key_of(seal, chain.head)
        chain.broken += _seal_breaks(seal, expected=chain.number + 1, head=chain.head, key=key, known=known)
        chain.broken += _row_breaks(seal, chain.mark, key)
        chain.broken += _strays(chain.last_id, seal.first_event_id)
        _, chain.mark = _marks(seal)[-1]
        chain.number, chain.head, chain.last_id = seal.number, seal.head, seal.last_event_id
        chain.events += seal.events
        followed += 1
    if followed == most:
        return False
    chain.broken += _cuts(chain.number, known)
    return True


def key_id_of(key: bytes) -> str:
    """Return what a seal calls its key; nothing of the key can be told from it."""
    return hashlib.sha256(b"audit seal key" + key).hexdigest()[:8]


def oldest_unsealed() -> datetime | None:
    """Return when the first event that is not sealed yet was written."""
    sealed = AuditSeal.objects.order_by("-number").values("last_event_id")[:1]
    rows = AuditEvent.objects.filter(pk__gt=Coalesce(Subquery(sealed), 0))
    return rows.order_by("pk").values_list("at", flat=True).first()


def _closed_until() -> int:
    """Return the last event below which none can appear any more; 0 while somebody keeps writing.

    Ids are given before a commit, so a lower one may come later. The lock waits for whoever writes now.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
            cursor.execute("SELECT core_audit_horizon()")
            (horizon,) = cursor.fetchone()
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        log.info("audit.seal_waits")
        return 0
    return int(horizon)


@transaction.atomic
def _seal_range(horizon: int) -> int:
    if not _alone():
        return 0
    last = AuditSeal.objects.order_by("number").last()
    number, head = (last.number, last.head) if last else (0, "")
    mark = _marks(last)[-1][1] if last else START
    rows = AuditEvent.objects.filter(pk__gt=last.last_event_id if last else 0, pk__lte=horizon)
    events = list(rows.order_by("pk").values(*READ)[:MOST_EVENTS])
    if not events:
        return 0
    key = settings.AUDIT_HMAC_KEY
    marks = list(_chain(events, mark, key))
    first_id, last_id = marks[0][0], marks[-1][0]
    seal = AuditSeal(
        number=number + 1,
        first_event_id=first_id,
        last_event_id=last_id,
        events=len(marks),
        marks=b"".join(MARK.pack(*each) for each in marks),
        key_id=key_id_of(key),
        sealed_at=clock.now(),
    )
    seal.head = _head_of(seal, head, key)
    seal.save(force_insert=True)
    return len(marks)


def _alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SEALERS])
        return bool(cursor.fetchone()[0])


def _anchor() -> None:
    """Write an anchor for each seal that has none, also of one whose process died in between."""
    known = anchors.read()
    for seal in AuditSeal.objects.filter(number__gt=max(known, default=0)).order_by("number"):
        anchors.write(
            Anchor(
                seal=seal.number,
                head=seal.head,
                first_event_id=seal.first_event_id,
                last_event_id=seal.last_event_id,
                sealed_at=seal.sealed_at.astimezone(UTC).isoformat(),
            )
        )


def _behind_anchors() -> bool:
    known = anchors.read()
    if not known:
        return False
    newest = known[max(known)]
    return not AuditSeal.objects.filter(number=newest.seal, head=newest.head).exists()


def _key_of(seal: AuditSeal, head_before: str) -> bytes:
    """Return the key that a seal names; one that names none may be of any key that there ever was.

    A seal of a key that is not known any more is held against the present one, and does not fit.
    """
    keys: list[bytes] = [settings.AUDIT_HMAC_KEY, *settings.AUDIT_HMAC_OLD_KEYS]
    fitting = (
        key
        for key in keys
        if (key_id_of(key) == seal.key_id if seal.key_id else _head_of(seal, head_before, key) == seal.head)
    )
    return next(fitting, keys[0])


def _chain(events: Iterable[Mapping[str, Any]], mark: bytes, key: bytes) -> Iterator[tuple[int, bytes]]:
    for event in events:
        mark = _mark_of(event, mark, key)
        yield event["id"], mark


def _mark_of(event: Mapping[str, Any], before: bytes, key: bytes) -> bytes:
    return hmac.digest(key, before + _canonical(event), "sha256")


def _canonical(event: Mapping[str, Any]) -> bytes:
    values = [
        value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        for value in (event[name] for name in (READ if event["api_token"] else FIELDS))
    ]
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _head_of(seal: AuditSeal, before: str, key: bytes) -> str:
    _, last_mark = _marks(seal)[-1]
    said = [before, seal.number, seal.first_event_id, seal.last_event_id, seal.events, last_mark.hex()]
    return hmac.digest(key, json.dumps(said).encode(), "sha256").hex()


def _marks(seal: AuditSeal) -> list[tuple[int, bytes]]:
    """Return the ids and marks of a seal; a mark that is cut short counts as one of nothing."""
    kept = bytes(seal.marks)
    whole = len(kept) - len(kept) % MARK.size
    return [MARK.unpack_from(kept, at) for at in range(0, whole, MARK.size)] or [(0, START)]


def _seal_breaks(
    seal: AuditSeal, *, expected: int, head: str, key: bytes, known: Mapping[int, Anchor]
) -> Iterator[Broken]:
    if seal.number != expected:
        yield Broken(subject=f"seal {expected}", detail=f"is missing: the next one is {seal.number}")
    if not hmac.compare_digest(seal.head, _head_of(seal, head, key)):
        yield Broken(subject=f"seal {seal.number}", detail="was not made with this key, or was rewritten")
    anchor = known.get(seal.number)
    if anchor and anchor.head != seal.head:
        yield Broken(subject=f"seal {seal.number}", detail=f"is not the one anchored at {anchor.sealed_at}")


def _row_breaks(seal: AuditSeal, mark: bytes, key: bytes) -> Iterator[Broken]:
    """Compare the rows of a range with their marks; each row counts from the mark kept before it."""
    rows = AuditEvent.objects.filter(pk__range=(seal.first_event_id, seal.last_event_id)).values(*READ)
    found = {row["id"]: row for row in rows}
    for event_id, kept in _marks(seal):
        row = found.pop(event_id, None)
        if row is None:
            yield Broken(subject=f"event {event_id}", detail=f"is gone from seal {seal.number}")
        elif not hmac.compare_digest(kept, _mark_of(row, mark, key)):
            yield Broken(
                subject=f"event {event_id} ({row['public_id']}, {row['action']})",
                detail=f"is not as it was sealed in seal {seal.number}",
            )
        mark = kept
    for row in found.values():
        yield Broken(subject=f"event {row['id']} ({row['public_id']})", detail="was added to a sealed range")


def _strays(after: int, before: int) -> Iterator[Broken]:
    """Name rows between two ranges: none can have been written there."""
    for event_id in AuditEvent.objects.filter(pk__gt=after, pk__lt=before).values_list("pk", flat=True):
        yield Broken(subject=f"event {event_id}", detail="was added between two sealed ranges")


def _cuts(number: int, known: Mapping[int, Anchor]) -> Iterator[Broken]:
    if number and not known:
        yield Broken(subject="the anchors", detail=f"are gone from {anchors.path()}: nothing proves the end")
    for anchor in (known[each] for each in sorted(known) if each > number):
        yield Broken(
            subject=f"seal {anchor.seal}",
            detail=f"is cut off, with events {anchor.first_event_id} to {anchor.last_event_id}",
        )
