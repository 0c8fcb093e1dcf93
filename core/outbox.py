"""The transactional outbox: news is a row of the same transaction, a task carries it out and tries again."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet

from core import clock, routing
from core.models import WAITS, DeliveryAttempt, Outbox, OutboxKind
from core.routing import Fate, Route

log = structlog.get_logger(__name__)

FIRST_RETRY_SECONDS = 30
LONGEST_RETRY_SECONDS = 3_600
MAX_ATTEMPTS = 12  # about seven hours of a dead mail server
FORGOTTEN_TOGETHER = 1_000

Sender = Callable[[Outbox], None]


class RefusedError(Exception):
    """The other side will never take this message: trying again would help nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One of many mails that are queued together."""

    topic: str
    recipient: str
    dedupe_key: str
    subject: str
    body: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One of many events for webhooks that are queued together."""

    webhook_id: str
    topic: str
    dedupe_key: str
    payload: Mapping[str, Any]


def put_mail(
    *, topic: str, recipient: str, dedupe_key: str, subject: str, body: str, link: str
) -> Outbox | None:
    """Queue one mail and return it. The same `dedupe_key` is queued once, whatever is retried: then None.

    How and when it reaches the person is decided at delivery, by what he chose for news of this kind.
    Raises RuntimeError outside a transaction, for the reason that audit.record() gives.
    """
    payload = {"subject": subject, "body": body, "link": link}
    return _put(OutboxKind.MAIL, topic, recipient, dedupe_key, payload)


def put_slack(
    *,
    topic: str,
    recipient: str,
    dedupe_key: str,
    subject: str,
    body: str,
    link: str,
    replaces: Mapping[str, str] | None = None,
) -> Outbox | None:
    """Queue one message to a person's Slack account, as put_mail does; it goes out at once.

    `replaces` is the channel and the ts of a message there that it takes the place of.
    """
    payload: dict[str, Any] = {"subject": subject, "body": body, "link": link}
    if replaces is not None:
        payload["replaces"] = dict(replaces)
    return _put(OutboxKind.SLACK, topic, recipient, dedupe_key, payload)


def put_event(*, webhook_id: str, topic: str, dedupe_key: str, payload: Mapping[str, Any]) -> Outbox | None:
    """Queue one event for a webhook, as put_mail does."""
    return _put(OutboxKind.WEBHOOK, topic, webhook_id, dedupe_key, payload)


def put_together(messages: Iterable[Mail | Event]) -> None:
    """Queue many messages as put_mail and put_event do one. One statement; raises as they do."""
    _write([_draft(each) for each in messages])


def address(link: str) -> str:
    """Return the address of a page of the portal, as others see it."""
    return f"{settings.BASE_URL}{link}"


def _put(
    kind: OutboxKind, topic: str, recipient: str, dedupe_key: str, payload: Mapping[str, Any]
) -> Outbox | None:
    message = _message(kind, topic, recipient, dedupe_key, payload)
    _write([message])
    return Outbox.objects.filter(public_id=message.public_id).first()


def _draft(news: Mail | Event) -> Outbox:
    if isinstance(news, Event):
        return _message(OutboxKind.WEBHOOK, news.topic, news.webhook_id, news.dedupe_key, news.payload)
    payload = {"subject": news.subject, "body": news.body, "link": news.link}
    return _message(OutboxKind.MAIL, news.topic, news.recipient, news.dedupe_key, payload)


def _message(
    kind: OutboxKind, topic: str, recipient: str, dedupe_key: str, payload: Mapping[str, Any]
) -> Outbox:
    now = clock.now()
    return Outbox(
        kind=kind,
        topic=topic,
        recipient=recipient,
        dedupe_key=dedupe_key,
        payload=dict(payload),
        created_at=now,
        next_attempt_at=now,
    )


def _write(messages: list[Outbox]) -> None:
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("an outbox row must be written in the transaction of the change it tells of")
    Outbox.objects.bulk_create(messages, ignore_conflicts=True)


def drain(*, senders: Mapping[str, Sender], limit: int = 100) -> dict[str, int]:
    """Deliver what is due, one message a transaction, and return counts.

    A message is locked while it is sent, so two workers never send it together. A worker killed after the
    send and before the commit sends it again: delivery is at least once, and receivers get a stable id to
    drop the second.
    """
    counts = {"sent": 0, "retried": 0, "dead": 0, "held": 0, "dropped": 0}
    goes_on = clock.time_left()  # slow receivers
    for _ in range(limit):
        if not goes_on():
            break
        outcome = _deliver_next(senders)
        if outcome is None:
            break
        counts[outcome] += 1
    return counts


def forget() -> int:
    """Delete messages that ended more than OUTBOX_KEEP_DAYS ago, with their attempts, and return how many;
    what there is no time for stays for the next run.

    0 keeps all. What waits, and what was given up and nobody put aside, stays. The database keeps everything
    for a month, whatever the setting.
    """
    if not settings.OUTBOX_KEEP_DAYS:
        return 0
    before = clock.now() - timedelta(days=settings.OUTBOX_KEEP_DAYS)
    forgotten, goes_on = 0, clock.time_left()
    while goes_on():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT core_forget_messages(%s, %s)", [before, FORGOTTEN_TOGETHER])
            count: int = cursor.fetchone()[0]
        forgotten += count
        if not count:
            break
    return forgotten


def due() -> QuerySet[Outbox]:
    """Return the messages whose time has come."""
    return Outbox.objects.filter(WAITS, next_attempt_at__lte=clock.now())


def _deliver_next(senders: Mapping[str, Sender]) -> str | None:
    with transaction.atomic():
        message = due().select_for_update(no_key=True, skip_locked=True).order_by("pk").first()
        if message is None:
            return None
        route = routing.route(message, clock.now())
        if route.fate is not Fate.SEND:
            return _hold(message, route)
        message.attempts += 1
        return _send(message, route.channel, senders)


def _send(message: Outbox, channel: OutboxKind, senders: Mapping[str, Sender]) -> str:
    try:
        senders[channel](message)
    except RefusedError as error:
        if channel == message.kind:
            return _give_up(message, channel, str(error))
        # What a person chose does not work any more: the message's own channel stands in.
        _log(message, channel, delivered=False, detail=str(error)[:500])
        return _send(message, OutboxKind(message.kind), senders)
    except Exception as error:  # noqa: BLE001  any failure of an outside system means "later"
        return _postpone(message, channel, f"{type(error).__name__}: {error}")
    message.delivered_at = clock.now()
    message.save(update_fields=["attempts", "delivered_at"])
    _log(message, channel, delivered=True)
    return "sent"


def _hold(message: Outbox, route: Route) -> str:
    """Do what the recipient wants instead of sending now."""
    match route.fate:
        case Fate.DROP:
            message.dropped_at = clock.now()
        case Fate.DIGEST:
            message.digest_at = route.until
        case _:
            message.next_attempt_at = route.until or message.next_attempt_at
    message.save(update_fields=["dropped_at", "digest_at", "next_attempt_at"])
    return "dropped" if route.fate is Fate.DROP else "held"


def _postpone(message: Outbox, channel: OutboxKind, error: str) -> str:
    if message.attempts >= MAX_ATTEMPTS:
        return _give_up(message, channel, error)
    wait_seconds = min(FIRST_RETRY_SECONDS * 2 ** (message.attempts - 1), LONGEST_RETRY_SECONDS)
    message.next_attempt_at = clock.now() + timedelta(seconds=wait_seconds)
    _note_failure(message, channel, error)
    return "retried"


def _give_up(message: Outbox, channel: OutboxKind, error: str) -> str:
    message.dead_at = clock.now()
    _note_failure(message, channel, error)
    return "dead"


def _note_failure(message: Outbox, channel: OutboxKind, error: str) -> None:
    message.last_error = error[:500]
    message.save(update_fields=["attempts", "last_error", "next_attempt_at", "dead_at"])
    _log(message, channel, delivered=False, detail=message.last_error)
    log.warning(
        "outbox.failed",
        message=message.public_id,
        topic=message.topic,
        attempts=message.attempts,
        dead=message.dead_at is not None,
    )


def _log(message: Outbox, channel: OutboxKind, *, delivered: bool, detail: str = "") -> None:
    DeliveryAttempt.objects.create(
        message=message, at=clock.now(), channel=channel, delivered=delivered, detail=detail
    )
