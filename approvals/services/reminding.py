"""Reminds at half of the time that a decision should take and at its end, when the next role decides too.

Each stage, and each owner in turn of a budget, has a clock of its own. Who may decide follows from the clock
alone; here it is written down and told.
"""

from django.db import transaction

from approvals.eligibility import current_stage, next_role
from approvals.models import AccessRequest, RequestStatus
from approvals.policy import REMINDED_AT_END, reminders_due
from approvals.services.common import locked, past_its_time, record
from approvals.services.increases.reminding import remind_of_increases
from approvals.services.mails import remind_approvers
from core import clock
from teams.selectors import role_holders

MOST = 500


def remind_due() -> int:
    """Remind of the requests that have waited long enough; return of how many. Running twice tells once.

    Each in a transaction of its own.
    """
    waiting = AccessRequest.objects.pending().filter(reminders__lt=REMINDED_AT_END).select_related("policy")
    due = [request.pk for request in waiting.order_by("pk").iterator() if request.is_reminder_due]
    return sum(_remind(pk) for pk in due[:MOST]) + remind_of_increases(most=MOST)


@transaction.atomic
def _remind(pk: int) -> int:
    request = locked(AccessRequest(pk=pk))
    if request.status != RequestStatus.PENDING or past_its_time(request) or not request.is_reminder_due:
        return 0
    request.reminders = reminders_due(clock.now(), request.turn)
    request.save(update_fields=["reminders"])
    ended = request.reminders == REMINDED_AT_END
    role = _next_role(request) if ended else ""
    remind_approvers(request, request.reminders, escalated=bool(role))
    record(
        None,
        "request.escalated" if ended else "request.reminded",
        request,
        after={
            "reminder": request.reminders,
            "role": role,
            "revision": request.revision,
            "stage": request.stage_index,
        },
    )
    return 1


def _next_role(request: AccessRequest) -> str:
    here = role_holders(request.project).for_project(request.project)
    return next_role(request, current_stage(request).role, here)
