"""Verifies the seals of the audit, and tells the administrators of what is not as it was sealed."""

import redis
import structlog
from django.db import transaction

from core import outbox, seal
from core.seal import Verification
from portal.health import AuditVerified, audit_verified
from teams.models import Role, RoleAssignment, User

log = structlog.get_logger(__name__)

MOST_LINES = 50
MAIL = """\
The nightly verification of the audit found what is not as it was sealed: somebody wrote to the database.

{lines}

`manage.py audit_verify` repeats it."""


def last_verified() -> AuditVerified | None:
    """Return how the last verification ended; None before the first, and where nobody can tell."""
    try:
        return audit_verified()
    except (redis.RedisError, OSError):
        return None


def lines(result: Verification) -> list[str]:
    """Return what is not as it was sealed, as sentences."""
    return [f"{each.subject} {each.detail}" for each in result.broken]


def figures(result: Verification) -> str:
    """Return what was read, on one line."""
    return (
        f"{result.events:,} events in {result.seals:,} seals are as they were sealed, head"
        f" {result.head[:16] or 'none'}; {result.unsealed:,} not sealed yet"
    )


def verify_audit_and_tell() -> Verification:
    """Verify everything; log what is not as it was sealed and mail it to the administrators, once a day."""
    result = seal.verify()
    for each in result.broken[:MOST_LINES]:
        log.error("audit.differs", subject=each.subject, detail=each.detail)
    if result.broken:
        _mail_administrators(result)
    else:
        log.info("audit.verified", events=result.events, seals=result.seals)
    return result


@transaction.atomic
def _mail_administrators(result: Verification) -> None:
    administrators = RoleAssignment.objects.live().filter(role=Role.ADMIN).values("user")
    for person in User.objects.filter(pk__in=administrators, is_active=True):
        outbox.put_mail(
            topic="audit.differs",
            recipient=person.email,
            dedupe_key=f"audit:{result.at:%Y-%m-%d}:{person.public_id}",
            subject=f"The audit is not as it was sealed: {len(result.broken)} found",
            body=MAIL.format(lines="\n".join(lines(result)[:MOST_LINES])),
            link="/status/",
        )
