"""Verifies the seals of the audit, and tells the administrators of what is not as it was sealed."""

from dataclasses import dataclass
from datetime import datetime, time

import structlog
from django.db import connection, transaction

from core import outbox, seal, walks
from core.models import Walk
from core.seal import Broken, Chain, Verification
from core.walks import Place
from teams.models import Role, RoleAssignment, User

log = structlog.get_logger(__name__)

NAME = "verify-audit"
BEGINS = time(3, 10)
SEALS_TOGETHER = 20  # of a thousand events each
MOST_LINES = 50
SEALED_AND_VERIFIED_SQL = """
    SELECT seal.last_event_id, seal.sealed_at, walk.ended_at, (walk.outcome->>'broken')::bigint
    FROM (VALUES (%s)) AS round (name)
    LEFT JOIN LATERAL (
      SELECT last_event_id, sealed_at FROM core_auditseal ORDER BY number DESC LIMIT 1
    ) seal ON true
    LEFT JOIN core_walk walk ON walk.name = round.name AND walk.ended_at IS NOT NULL
"""
MAIL = """\
The nightly verification of the audit found what is not as it was sealed: somebody wrote to the database.

{lines}

`manage.py audit_verify` repeats it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerified:
    """When the audit was last verified, and how much was not as it was sealed."""

    at: datetime
    broken: int

    @property
    def is_stale(self) -> bool:
        """Whether the verification of last night is missing."""
        return walks.is_missed(self.at)


def last_verified() -> AuditVerified | None:
    """Return how the last verification ended; None before the first. One query."""
    return verified_by(walks.last(NAME))


def verified_by(walk: Walk | None) -> AuditVerified | None:
    """Return how a verification ended; None before the first."""
    if walk is None or walk.ended_at is None:
        return None
    return AuditVerified(at=walk.ended_at, broken=walk.outcome["broken"])


def sealed_and_verified() -> tuple[int, datetime | None, AuditVerified | None]:
    """Return the last event that is sealed, when it was, and how the last verification ended. One query."""
    with connection.cursor() as cursor:
        cursor.execute(SEALED_AND_VERIFIED_SQL, [NAME])
        event, sealed_at, verified_at, broken = cursor.fetchone()
    verified = AuditVerified(at=verified_at, broken=broken) if verified_at else None
    return event or 0, sealed_at, verified


def lines(result: Verification) -> list[str]:
    """Return what is not as it was sealed, as sentences."""
    return [f"{each.subject} {each.detail}" for each in result.broken]


def figures(result: Verification) -> str:
    """Return what was read, on one line."""
    return (
        f"{result.events:,} events in {result.seals:,} seals are as they were sealed, head"
        f" {result.head[:16] or 'none'}; {result.unsealed:,} not sealed yet"
    )


def verify_seals() -> Place | None:
    """Go on with tonight's verification for a while; return what it found once it is through."""
    return walks.go_on(NAME, begins=BEGINS, step=_step, ended=_tell)


def _step(place: Place) -> bool:
    """Recompute the next seals; true once there are none. The first lines of what is broken are kept."""
    place.setdefault("broken", 0)
    shown: list[str] = place.setdefault("lines", [])
    known = {name: place[name] for name in ("number", "head", "last_id", "events") if name in place}
    chain = Chain(**known)
    if "mark" in place:
        chain.mark = bytes.fromhex(place["mark"])
    is_over = seal.follow(chain, most=SEALS_TOGETHER)
    for each in chain.broken:
        _log(each)
    place["broken"] += len(chain.broken)
    place["lines"] = [*shown, *(f"{each.subject} {each.detail}" for each in chain.broken)][:MOST_LINES]
    place |= {"number": chain.number, "head": chain.head, "last_id": chain.last_id, "events": chain.events}
    place["mark"] = chain.mark.hex()
    return is_over


def _log(broken: Broken) -> None:
    log.error("audit.differs", subject=broken.subject, detail=broken.detail)


def _tell(place: Place, at: datetime) -> None:
    """Mail what is not as it was sealed to the administrators, once a day."""
    if place["broken"]:
        _mail_administrators(place, at)
    else:
        log.info("audit.verified", events=place["events"], seals=place["number"])


@transaction.atomic
def _mail_administrators(place: Place, at: datetime) -> None:
    administrators = RoleAssignment.objects.live().filter(role=Role.ADMIN).values("user")
    for person in User.objects.filter(pk__in=administrators, is_active=True):
        outbox.put_mail(
            topic="audit.differs",
            recipient=person.email,
            dedupe_key=f"audit:{at:%Y-%m-%d}:{person.public_id}",
            subject=f"The audit is not as it was sealed: {place['broken']} found",
            body=MAIL.format(lines="\n".join(place["lines"])),
            link="/status/",
        )
