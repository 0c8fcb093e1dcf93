"""What the clock does with requests."""

from celery import shared_task

from approvals.services import expire_due, follow_all, remind_due

MOST = 200


@shared_task(name="approvals.expire_requests")
def expire_requests() -> dict[str, int]:
    """Write down the requests whose time has passed. May run twice: each is expired once."""
    return {"expired": expire_due()}


@shared_task(name="approvals.remind")
def remind() -> dict[str, int]:
    """Remind of requests that wait. May run twice: each reminder is sent once."""
    return {"reminded": remind_due()}


@shared_task(name="approvals.follow")
def follow() -> dict[str, int]:
    """Close or restart requests whose project was closed or moved, or whose people left. May run twice."""
    return {"followed": follow_all(most=MOST)}
