"""What the clock does with requests."""

from celery import shared_task

from approvals.services import expire_due


@shared_task(name="approvals.expire_requests")
def expire_requests() -> dict[str, int]:
    """Write down the requests whose time has passed. May run twice: each is expired once."""
    return {"expired": expire_due()}
