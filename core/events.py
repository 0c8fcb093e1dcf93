"""Tells webhooks of what was done: an outbox row for each that listens, in the transaction of the act."""

from typing import Any

from core import outbox
from core.models import AuditEvent, Webhook


def tell(event: AuditEvent) -> None:
    """Queue an event for every webhook that listens to its action. One query when nobody does."""
    for webhook in Webhook.objects.filter(disabled_at__isnull=True):
        if listens(webhook, event.action):
            outbox.put_event(
                webhook_id=webhook.public_id,
                topic=event.action,
                dedupe_key=f"{webhook.public_id}:{event.public_id}",
                payload=payload(event),
            )


def listens(webhook: Webhook, action: str) -> bool:
    """Whether a webhook wants an action: it names it or its beginning, or names none and wants all."""
    return not webhook.actions or any(action.startswith(wanted) for wanted in webhook.actions)


def payload(event: AuditEvent) -> dict[str, Any]:
    """Return what a receiver is told: the audit event without where it came from."""
    return {
        "type": event.action,
        "timestamp": event.at.isoformat(),
        "data": {
            "id": event.public_id,
            "actor": event.actor_label,
            "object": {"type": event.object_type, "id": event.object_id, "label": event.object_label},
            "before": event.before,
            "after": event.after,
            "reason": event.reason,
        },
    }
