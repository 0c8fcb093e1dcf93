"""Ends pending requests that nobody decided and nobody needs any more."""

from django.db import transaction
from django.db.models import Q

from approvals.models import AccessRequest, BudgetRequest, RequestStatus
from approvals.services.common import record
from approvals.services.delegating import end_delegations_of
from approvals.services.increases.common import close_increase, locked_increase
from approvals.services.mails import tell_requester
from approvals.services.ratifying import end_unratified
from core import clock
from core.locks import lock_all_first
from teams.models import User

MAX_REASON_CHARACTERS = 240


def close(request: AccessRequest, reason: str, *, actor: User | None = None) -> None:
    """Close a locked pending request with a reason that its requester reads."""
    request.status, request.decided_at = RequestStatus.CLOSED, clock.now()
    request.closed_reason = reason[:MAX_REASON_CHARACTERS]
    request.save(update_fields=["status", "decided_at", "closed_reason"])
    record(
        actor,
        "request.closed",
        request,
        before={"status": "pending"},
        after={"status": request.status},
        reason=request.closed_reason,
    )
    tell_requester(request, subject=f"{request} was closed", body=request.closed_reason)
    end_unratified(request)


@transaction.atomic
def close_requests_of(person: User, *, reason: str = "") -> dict[str, int]:
    """Close what a leaver asked for or what was asked for him, and end the delegations from and to him.

    It belongs in the transaction in which he leaves. Running it again changes nothing. Returns the counts.
    """
    text = reason or f"{person} has left."
    own = Q(requester=person) | Q(beneficiary=person)
    pending = AccessRequest.objects.filter(own, status=RequestStatus.PENDING)
    asked = pending.select_related("project__team__department", "requester", "beneficiary", "tier")
    requests = lock_all_first(asked)
    for request in requests:
        close(request, text)
    waiting = BudgetRequest.objects.filter(requester=person, status=RequestStatus.PENDING).order_by("pk")
    increases = [locked_increase(each) for each in waiting]
    for increase in increases:
        close_increase(increase, text)
    ended = end_delegations_of(person)
    return {"requests": len(requests), "increases": len(increases), "delegations": ended}
