"""Reminds of requests for more budget, at half of the time that each owner in turn has and at its end."""

from django.db import transaction

from approvals.models import BudgetRequest, RequestStatus
from approvals.owners import who_can_decide
from approvals.policy import REMINDED_AT_END, reminders_due
from approvals.services.common import past_its_time
from approvals.services.increases.common import locked_increase, record_increase
from approvals.services.mails import mail_about_budget
from core import clock


def remind_of_increases(*, most: int) -> int:
    """Remind of those that have waited long enough, each in a transaction of its own; return of how many."""
    waiting = BudgetRequest.objects.pending().order_by("pk")
    due = [request.pk for request in waiting.iterator() if request.is_reminder_due]
    return sum(_remind(pk) for pk in due[:most])


@transaction.atomic
def _remind(pk: int) -> int:
    request = locked_increase(BudgetRequest(pk=pk))
    if request.status != RequestStatus.PENDING or past_its_time(request) or not request.is_reminder_due:
        return 0
    turn = request.turn
    request.reminders = number = reminders_due(clock.now(), turn)
    request.save(update_fields=["reminders"])
    role = request.chain[turn.index] if number == turn.index * REMINDED_AT_END else ""
    late = " It has waited longer than it should, so the next owner may decide it too." if role else ""
    for person in who_can_decide(request):
        mail_about_budget(
            request,
            person,
            event=f"reminder:{request.revision}:{number}",
            subject=f"Still waiting: {request.requester} asks for more budget for {request.place_name}",
            body=f"Decide by {request.decide_by:%d %B %Y at %H:%M} UTC.{late}",
        )
    ended = number % REMINDED_AT_END == 0
    action = "budget_increase.escalated" if ended else "budget_increase.reminded"
    record_increase(
        None, action, request, after={"reminder": number, "role": role, "revision": request.revision}
    )
    return 1
