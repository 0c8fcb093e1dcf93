"""Jobs of the whole house: carry the outbox out, show that the clockwork runs."""

from celery import shared_task

from core import digests, idempotency, outbox, seal
from portal.audit.verification import verify_audit_and_tell
from portal.health import beat, keep_audit_verification, keep_recount, keep_verification
from portal.ledger import verify_and_tell
from portal.news.senders import SENDERS
from portal.services.slack_buttons import settle_buttons
from usage.services import recount_yesterday


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


# Jobs of the night may take longer than the queue waits for a worker: a lost one comes again the next night.
@shared_task(name="portal.forget_messages", acks_late=False, time_limit=3600, soft_time_limit=3600 - 60)
def forget_messages() -> int:
    """Delete the messages that ended long ago."""
    return outbox.forget()


@shared_task(name="portal.heartbeat")
def heartbeat() -> None:
    """Write down that beat scheduled and a worker worked."""
    beat()


@shared_task(name="portal.verify_ledger", acks_late=False, time_limit=4 * 3600, soft_time_limit=4 * 3600 - 60)
def verify_ledger() -> dict[str, int]:
    """Recompute the books and tell of what differs."""
    result = verify_and_tell()
    keep_verification(result)
    return {found.rule: found.count for found in result.findings}


@shared_task(name="portal.seal_audit")
def seal_audit() -> int:
    """Seal what was done since the last time, and anchor it."""
    return seal.seal_due()


@shared_task(name="portal.verify_audit", acks_late=False, time_limit=4 * 3600, soft_time_limit=4 * 3600 - 60)
def verify_audit() -> int:
    """Recompute the seals of the audit and tell of what is not as it was sealed."""
    result = verify_audit_and_tell()
    keep_audit_verification(result)
    return len(result.broken)


@shared_task(name="usage.recount_yesterday", acks_late=False, time_limit=3600, soft_time_limit=3600 - 60)
def recount_usage() -> int:
    """Recount yesterday's roll-up of usage against its events; the status page says when they differ."""
    result = recount_yesterday()
    keep_recount(result)
    return result.differing
