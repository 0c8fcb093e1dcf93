"""Jobs of the whole house: carry the outbox out, show that the clockwork runs."""

from celery import shared_task

from core import digests, idempotency, outbox, seal
from portal.audit.verification import verify_seals
from portal.health import beat
from portal.news.senders import SENDERS
from portal.nightly import verify_books
from portal.services.slack_buttons import settle_buttons


@shared_task(name="portal.drain_outbox")
def drain_outbox() -> dict[str, int]:
    """Deliver what is due, and what takes the place of buttons in Slack that are over."""
    settle_buttons()
    return outbox.drain(senders=SENDERS)


@shared_task(name="portal.collect_digests")
def collect_digests() -> int:
    """Make the daily mails whose time has come; draining sends them."""
    return digests.collect()


@shared_task(name="portal.forget_idempotent_calls")
def forget_idempotent_calls() -> int:
    """Delete the answers that nobody repeats any more."""
    return idempotency.forget()


@shared_task(name="portal.forget_messages")
def forget_messages() -> int:
    """Delete messages that ended long ago, for a while."""
    return outbox.forget()


@shared_task(name="portal.heartbeat")
def heartbeat() -> None:
    """Write down that beat scheduled and a worker worked."""
    beat()


@shared_task(name="portal.verify_ledger")
def verify_ledger() -> dict[str, int] | None:
    """Go on recomputing the books, and tell of what differs at the end."""
    found = verify_books()
    return None if found is None else {rule: each["count"] for rule, each in found["found"].items()}


@shared_task(name="portal.seal_audit")
def seal_audit() -> int:
    """Seal what was done since the last time, and anchor it."""
    return seal.seal_due()


@shared_task(name="portal.verify_audit")
def verify_audit() -> int | None:
    """Go on recomputing the seals of the audit, and tell of what is not as it was sealed at the end."""
    found = verify_seals()
    return None if found is None else int(found["broken"])
