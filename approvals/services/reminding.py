"""Reminds at half of the time that a decision should take and at its end, when the next role decides too.

Who may decide follows from the clock alone; here it is written down and told.
"""

from django.db import transaction

from approvals.models import AccessRequest, RequestStatus
from approvals.policy import REMINDED_AT_END, reminders_due
from approvals.services.common import locked, past_its_time, record
from approvals.services.increases.reminding import remind_of_increases
from approvals.services.mails import remind_approvers
from core import clock

MOST = 500


def remind_due() -> int:
    """Remind of the requests that have waited long enough; return of how many. Running twice tells once.

    Each in a transaction of its own.
    """
    waiting = AccessRequest.objects.pending().filter(reminders__lt=REMINDED_AT_END).select_related("policy")
    due = [request.pk for request in waiting.order_by("pk")[:MOST] if number_due(request) > request.reminders]
    return sum(_remind(pk) for pk in due) + remind_of_increases(most=MOST)


def number_due(request: AccessRequest) -> int:
    """Return how many reminders are due by now."""
    return reminders_due(clock.now(), began=request.revised_at, sla_ends=request.sla_at)


@transaction.atomic
def _remind(pk: int) -> int:
    request = locked(AccessRequest(pk=pk))
    number = number_due(request)
    if request.status != RequestStatus.PENDING or past_its_time(request) or number <= request.reminders:
        return 0
    request.reminders = number
    request.save(update_fields=["reminders"])
    remind_approvers(request, number)
    action = "request.escalated" if number == REMINDED_AT_END else "request.reminded"
    role = request.policy.escalation_role if number == REMINDED_AT_END else ""
    record(None, action, request, after={"reminder": number, "role": role, "revision": request.revision})
    return 1
