"""Collects what waits for a person's daily mail into one message; each message is in exactly one of them."""

from collections.abc import Sequence

from django.db import transaction

from core import clock, outbox
from core.models import Outbox
from core.routing import DIGEST_TOPIC

MOST_ITEMS = 100


def collect() -> int:
    """Make a message of what is due for each recipient; return how many. May run twice, and beside itself."""
    now = clock.now()
    due = Outbox.objects.filter(digest_at__lte=now)
    recipients = due.order_by("recipient").values_list("recipient", flat=True).distinct()
    return sum(_collect_for(recipient) for recipient in recipients)


@transaction.atomic
def _collect_for(recipient: str) -> int:
    """Move what is due into one digest, in the transaction that queues it."""
    due = Outbox.objects.filter(digest_at__lte=clock.now(), recipient=recipient)
    rows = list(due.select_for_update(no_key=True).order_by("pk")[:MOST_ITEMS])
    if not rows:
        return 0
    digest = outbox.put_mail(
        topic=DIGEST_TOPIC,
        recipient=recipient,
        dedupe_key=f"digest:{rows[0].public_id}",
        subject=_subject(rows),
        body=_body(rows),
        link="/notifications/",
    )
    Outbox.objects.filter(pk__in=[row.pk for row in rows]).update(digest=digest, digest_at=None)
    return 1


def _subject(rows: Sequence[Outbox]) -> str:
    return rows[0].payload["subject"] if len(rows) == 1 else f"{len(rows)} messages of the day"


def _body(rows: Sequence[Outbox]) -> str:
    return "\n\n".join(
        f"{row.payload['subject']}\n{row.payload['body']}\n{outbox.address(row.payload['link'])}"
        for row in rows
    )
