"""Reminds of requests for more budget, at half of the time that a decision should take and at its end."""

from django.db import transaction

from approvals.models import BudgetRequest, RequestStatus
from approvals.owners import NEXT, who_can_decide
from approvals.policy import REMINDED_AT_END, reminders_due
from approvals.services.common import past_its_time
from approvals.services.increases.common import locked_increase, record_increase
from approvals.services.mails import mail_about_budget
from core import clock


def remind_of_increases(*, most: int) -> int:
    """Remind of those that have waited long enough, each in a transaction of its own; return of how many."""
    waiting = BudgetRequest.objects.pending().filter(reminders__lt=REMINDED_AT_END).order_by("pk")
    due = [request.pk for request in waiting[:most] if _number_due(request) > request.reminders]
    return sum(_remind(pk) for pk in due)


def _number_due(request: BudgetRequest) -> int:
    return reminders_due(clock.now(), began=request.revised_at, sla_ends=request.sla_at)


@transaction.atomic
def _remind(pk: int) -> int:
    request = locked_increase(BudgetRequest(pk=pk))
    number = _number_due(request)
    if request.status != RequestStatus.PENDING or past_its_time(request) or number <= request.reminders:
        return 0
    request.reminders = number
    request.save(update_fields=["reminders"])
    role = NEXT.get(request.role, "") if number == REMINDED_AT_END else ""
    late = " It has waited longer than it should, so the next owner may decide it too." if role else ""
    for person in who_can_decide(request):
        mail_about_budget(
            request,
            person,
            event=f"reminder:{request.revision}:{number}",
            subject=f"Still waiting: {request.requester} asks for more budget for {request.place_name}",
            body=f"Decide by {request.decide_by:%d %B %Y at %H:%M} UTC.{late}",
        )
    action = "budget_increase.escalated" if number == REMINDED_AT_END else "budget_increase.reminded"
    record_increase(
        None, action, request, after={"reminder": number, "role": role, "revision": request.revision}
    )
    return 1
