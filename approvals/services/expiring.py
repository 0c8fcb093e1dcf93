"""Writes down that the time of a request has passed. Every read and write knows it before."""

from django.db import transaction

from approvals.models import AccessRequest, RequestStatus
from approvals.services.common import record
from approvals.services.increases.deciding import expire_increases
from approvals.services.mails import tell_requester
from approvals.services.ratifying import end_unratified
from core import clock

BATCH = 200


def expire_due() -> int:
    """Write down the requests whose time has passed and tell their requesters; return how many.

    Each in a transaction of its own; one that somebody is deciding right now is left to him.
    """
    due = AccessRequest.objects.filter(status=RequestStatus.PENDING, decide_by__lte=clock.now())
    written = sum(_expire(pk) for pk in due.order_by("pk").values_list("pk", flat=True)[:BATCH])
    return written + expire_increases(most=BATCH)


@transaction.atomic
def _expire(pk: int) -> int:
    still_pending = AccessRequest.objects.filter(pk=pk, status=RequestStatus.PENDING)
    request = still_pending.select_for_update(no_key=True, skip_locked=True).order_by("pk").first()
    if request is None:
        return 0
    write_expiry(request)
    return 1


def write_expiry(request: AccessRequest) -> None:
    """Mark a locked pending request as expired, with its audit row and a mail."""
    request.status, request.decided_at = RequestStatus.EXPIRED, clock.now()
    request.save(update_fields=["status", "decided_at"])
    record(None, "request.expired", request, before={"status": "pending"}, after={"status": request.status})
    tell_requester(
        request,
        subject=f"Your request for {request.tier} has expired",
        body=f"Nobody decided your request for project {request.project} in time. You can ask again.",
    )
    end_unratified(request)
