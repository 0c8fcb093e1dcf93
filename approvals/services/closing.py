"""Ends pending requests that nobody decided and nobody needs any more."""

from django.db import transaction
from django.db.models import Q

from approvals.models import AccessRequest, BudgetRequest, RequestStatus
from approvals.services.common import record
from approvals.services.increases.common import end, locked_increase, record_increase
from core import clock
from teams.models import User

MAX_REASON_CHARACTERS = 240


@transaction.atomic
def close_requests_of(person: User, *, reason: str = "") -> dict[str, int]:
    """Close what a leaver asked for or what was asked for him.

    It belongs in the transaction in which he leaves. Running it again changes nothing. Returns the counts.
    """
    text = (reason or f"{person} has left.")[:MAX_REASON_CHARACTERS]
    own = Q(requester=person) | Q(beneficiary=person)
    pending = AccessRequest.objects.filter(own, status=RequestStatus.PENDING)
    asked = pending.select_related("project__team__department", "requester", "beneficiary", "tier")
    requests = list(asked.select_for_update(no_key=True, of=("self",)).order_by("pk"))
    for request in requests:
        request.status, request.decided_at, request.closed_reason = RequestStatus.CLOSED, clock.now(), text
        request.save(update_fields=["status", "decided_at", "closed_reason"])
        before, after = {"status": "pending"}, {"status": request.status}
        record(None, "request.closed", request, before=before, after=after, reason=text)
    waiting = BudgetRequest.objects.filter(requester=person, status=RequestStatus.PENDING).order_by("pk")
    increases = [locked_increase(each) for each in waiting]
    for increase in increases:
        end(increase, RequestStatus.CLOSED)
        record_increase(
            None, "budget_increase.closed", increase, after={"status": increase.status}, reason=text
        )
    return {"requests": len(requests), "increases": len(increases)}
