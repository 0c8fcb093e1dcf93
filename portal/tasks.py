"""Jobs of the whole house: carry the outbox out, show that the clockwork runs."""

from celery import shared_task

from core import notify, outbox
from portal.health import beat


@shared_task(name="portal.drain_outbox")
def drain_outbox() -> dict[str, int]:
    """Deliver what is due."""
    return outbox.drain(senders=notify.SENDERS)


@shared_task(name="portal.heartbeat")
def heartbeat() -> None:
    """Write down that beat scheduled and a worker worked."""
    beat()
