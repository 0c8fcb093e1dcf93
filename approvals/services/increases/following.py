"""Lets requests for more budget follow what happened around them: a move, a closed budget or place, the
end of a key.
"""

from django.db import transaction
from django.db.models import F, Q

from approvals import ended, former
from approvals.errors import NobodyCanApproveError
from approvals.models import BudgetRequest, BudgetRequestQuerySet, RequestStatus
from approvals.services.common import past_its_time
from approvals.services.increases.asking import start_again
from approvals.services.increases.common import close_increase, locked_increase, record_increase
from core.idempotency import lasting


def over() -> Q:
    """Return what is true of requests that are to be closed because of what happened around them."""
    places = ("project", "project__team", "team", "department")
    closed = Q(budget__closed_at__isnull=False) | Q(requester__is_active=False)
    for place in places:
        closed |= Q(**{f"{place}__archived_at__isnull": False})
    return ended.key_of_the_budget_ended() | closed | former.answered_for_the_budget()


def stranded_increases() -> BudgetRequestQuerySet:
    """Return the pending requests around which something happened that they do not show yet."""
    moved = Q(project__isnull=False) & ~Q(project__team=F("revised_in"))
    return BudgetRequest.objects.pending().filter(over() | moved)


def end_increase_if_over(request: BudgetRequest) -> None:
    """Close a pending request that is over, as end_if_over() does."""
    if BudgetRequest.objects.pending().filter(over(), pk=request.pk).exists():
        lasting(lambda: _follow(request.pk))


def bring_increase_up_to_date(request: BudgetRequest) -> None:
    """Do to a pending request what happened around it, as bring_up_to_date() does. One query usually."""
    if stranded_increases().filter(pk=request.pk).exists():
        lasting(lambda: _follow(request.pk))


def follow_increases(*, most: int) -> int:
    """Bring every stranded request up to date, each in a transaction of its own; return how many changed."""
    return sum(_follow(pk) for pk in stranded_increases().order_by("pk").values_list("pk", flat=True)[:most])


@transaction.atomic
def _follow(pk: int) -> int:
    """Close one stranded request, or start it again in its new team; return how many were changed."""
    request = locked_increase(BudgetRequest(pk=pk))
    if request.status != RequestStatus.PENDING or past_its_time(request):
        return 0
    over = _why_over(request)
    if over:
        close_increase(request, over)
    elif request.project and request.project.team_id != request.revised_in_id:
        _restart(request)
    else:
        return 0
    return 1


def _why_over(request: BudgetRequest) -> str:
    places = (request.project, request.home_team, request.home_department)
    gone = next((place for place in places if place and place.archived_at), None)
    if gone:
        return f"{gone} is closed."
    if request.budget.closed_at:
        return "The budget is closed."
    if BudgetRequest.objects.filter(ended.key_of_the_budget_ended(), pk=request.pk).exists():
        return ended.KEY_OF_THE_BUDGET_ENDED
    if not request.requester.is_active:
        return f"{request.requester} has left."
    if BudgetRequest.objects.filter(former.answered_for_the_budget(), pk=request.pk).exists():
        return f"{request.requester} does not answer for {request.budget} any more."
    return ""


def _restart(request: BudgetRequest) -> None:
    assert request.project is not None
    before = request.revised_in
    was = {"revision": request.revision, "team": before.code if before else ""}
    try:
        with transaction.atomic():
            start_again(request)
    except NobodyCanApproveError as error:
        close_increase(locked_increase(request), error.detail)
        return
    team = request.project.team
    record_increase(
        None,
        "budget_increase.restarted",
        request,
        before=was,
        after={"revision": request.revision, "team": team.code},
        reason=f"{request.project} belongs to team {team} now.",
    )
