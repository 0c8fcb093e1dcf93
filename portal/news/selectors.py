"""Webhooks that are there, messages by what became of them, and what became of one."""

from collections.abc import Mapping

from django.db import models
from django.db.models import Q, QuerySet

from core import clock
from core.models import GAVE_UP, WAITS, Outbox, OutboxKind, Webhook
from teams.models import User
from teams.selectors import require_admin

GIVEN_UP, WAITING, ALL = "given_up", "waiting", ""
STATES: Mapping[str, tuple[str, Q]] = {
    ALL: ("All", Q()),
    GIVEN_UP: ("Given up", GAVE_UP),
    WAITING: ("Waiting", WAITS | Q(digest_at__isnull=False)),
}


class MessageState(models.TextChoices):
    """What became of a message, or what it waits for."""

    DELIVERED = "delivered", "Delivered"
    GIVEN_UP = "given_up", "Given up"
    PUT_ASIDE = "put_aside", "Given up, put aside"
    NOT_WANTED = "not_wanted", "Not wanted"
    IN_DIGEST = "in_digest", "In the daily mail"
    WAITS_FOR_DIGEST = "waits_for_digest", "Waits for the daily mail"
    RETRIED = "retried", "Is tried again"
    QUIET = "quiet", "Waits for quiet hours to end"
    WAITING = "waiting", "Waits"


def state_of(message: Outbox) -> MessageState:
    """Return what became of a message."""
    ended = (
        (message.delivered_at, MessageState.DELIVERED),
        (message.put_aside_at, MessageState.PUT_ASIDE),
        (message.dead_at, MessageState.GIVEN_UP),
        (message.dropped_at, MessageState.NOT_WANTED),
        (message.digest_id, MessageState.IN_DIGEST),
        (message.digest_at, MessageState.WAITS_FOR_DIGEST),
        (message.attempts, MessageState.RETRIED),
        (message.next_attempt_at > clock.now(), MessageState.QUIET),
    )
    return next((state for is_so, state in ended if is_so), MessageState.WAITING)


def webhooks() -> QuerySet[Webhook]:
    """Return the webhooks that were not removed."""
    return Webhook.objects.filter(removed_at__isnull=True)


def webhooks_for(user: User) -> QuerySet[Webhook]:
    """Return the webhooks, to administrators. Raises RoleNeededError."""
    require_admin(user, "see webhooks")
    return webhooks()


def deliveries_for(user: User) -> QuerySet[Outbox]:
    """Return all messages with their attempts, to administrators. Raises RoleNeededError."""
    require_admin(user, "see deliveries")
    return Outbox.objects.prefetch_related("log")


def told(webhook: Webhook) -> QuerySet[Outbox]:
    """Return what a webhook was told or is to be told."""
    return Outbox.objects.filter(kind=OutboxKind.WEBHOOK, recipient=webhook.public_id)
