"""The transactional outbox: news is a row of the same transaction, a task carries it out and tries again."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import QuerySet

from core import clock
from core.models import Outbox, OutboxKind

log = structlog.get_logger(__name__)

FIRST_RETRY_SECONDS = 30
LONGEST_RETRY_SECONDS = 3_600
MAX_ATTEMPTS = 12  # about seven hours of a dead mail server

Sender = Callable[[Outbox], None]


def put_mail(*, topic: str, recipient: str, dedupe_key: str, subject: str, body: str, link: str) -> None:
    """Queue one mail. The same `dedupe_key` is queued once, whatever is retried.

    Raises RuntimeError outside a transaction, for the reason that audit.record() gives.
    """
    _put(OutboxKind.MAIL, topic, recipient, dedupe_key, {"subject": subject, "body": body, "link": link})


def _put(kind: OutboxKind, topic: str, recipient: str, dedupe_key: str, payload: Mapping[str, Any]) -> None:
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("an outbox row must be written in the transaction of the change it tells of")
    now = clock.now()
    Outbox.objects.bulk_create(
        [
            Outbox(
                kind=kind,
                topic=topic,
                recipient=recipient,
                dedupe_key=dedupe_key,
                payload=dict(payload),
                created_at=now,
                next_attempt_at=now,
            )
        ],
        ignore_conflicts=True,
    )


def drain(*, senders: Mapping[str, Sender], limit: int = 100) -> dict[str, int]:
    """Deliver what is due, one message a transaction, and return counts.

    A message is locked while it is sent, so two workers never send it together. A worker killed after the
    send and before the commit sends it again: delivery is at least once, and receivers get a stable id to
    drop the second.
    """
    counts = {"sent": 0, "retried": 0, "dead": 0}
    for _ in range(limit):
        outcome = _deliver_next(senders)
        if outcome is None:
            break
        counts[outcome] += 1
    return counts


def due() -> QuerySet[Outbox]:
    """Return the messages whose time has come."""
    return Outbox.objects.filter(
        delivered_at__isnull=True, dead_at__isnull=True, next_attempt_at__lte=clock.now()
    )


def _deliver_next(senders: Mapping[str, Sender]) -> str | None:
    with transaction.atomic():
        message = due().select_for_update(no_key=True, skip_locked=True).order_by("pk").first()
        if message is None:
            return None
        message.attempts += 1
        try:
            senders[message.kind](message)
        except Exception as error:  # noqa: BLE001  any failure of an outside system means "later"
            return _postpone(message, error)
        message.delivered_at = clock.now()
        message.save(update_fields=["attempts", "delivered_at"])
        return "sent"


def _postpone(message: Outbox, error: Exception) -> str:
    message.last_error = f"{type(error).__name__}: {error}"[:500]
    wait_seconds = min(FIRST_RETRY_SECONDS * 2 ** (message.attempts - 1), LONGEST_RETRY_SECONDS)
    message.next_attempt_at = clock.now() + timedelta(seconds=wait_seconds)
    dead = message.attempts >= MAX_ATTEMPTS
    if dead:
        message.dead_at = clock.now()
    message.save(update_fields=["attempts", "last_error", "next_attempt_at", "dead_at"])
    log.warning(
        "outbox.failed", message=message.public_id, topic=message.topic, attempts=message.attempts, dead=dead
    )
    return "dead" if dead else "retried"
