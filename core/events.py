"""Tells webhooks of what was done or found: an outbox row for each that listens, in the transaction of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core import outbox
from core.models import AuditEvent, Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that nobody did, such as a limit that was passed; `data` is plain JSON."""

    public_id: str
    at: datetime
    data: Mapping[str, Any]


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


def tell_of_findings(action: str, findings: Sequence[Finding]) -> None:
    """Queue each finding for every webhook that listens to its action. Two queries, one when nobody does."""
    hooks = [each for each in Webhook.objects.filter(disabled_at__isnull=True) if listens(each, action)]
    events = [
        outbox.Event(
            webhook_id=webhook.public_id,
            topic=action,
            dedupe_key=f"{webhook.public_id}:{finding.public_id}",
            payload={
                "type": action,
                "timestamp": finding.at.isoformat(),
                "data": {"id": finding.public_id, **finding.data},
            },
        )
        for webhook in hooks
        for finding in findings
    ]
    if events:
        outbox.put_together(events)


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
