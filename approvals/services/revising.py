"""Starts a request, or starts it again: its stages, its clock, and who is told."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, Q

from approvals import ended, former, policy
from approvals.eligibility import who_can
from approvals.errors import NobodyCanApproveError
from approvals.models import AccessRequest, AccessRequestQuerySet, Policy, RequestStatus
from approvals.rules import missing_in, missing_under
from approvals.services.asking import pin_stages
from approvals.services.closing import close
from approvals.services.common import locked, past_its_time, record
from approvals.services.increases.following import follow_increases
from approvals.services.mails import (
    tell_approvers,
    tell_informed,
    tell_of_change_eased,
    tell_of_change_needed,
)
from core import clock
from core.idempotency import lasting

RESTARTED = ("revision", "stage_index", "team", "revised_at", "stage_began_at", "decide_by", "reminders")


def set_clock(request: AccessRequest) -> None:
    """Give a request the time that its policy has; an extension is decided before its grant ends."""
    request.revised_at = request.stage_began_at = clock.now()
    request.decide_by = policy.deadline(request.revised_at, request.policy.decide_within_hours)
    if request.extends_grant is not None:
        request.decide_by = min(request.decide_by, request.extends_grant.expires_at)


def begin(request: AccessRequest) -> None:
    """Pin the stages of a revision that was just written, and tell who decides and who wants to know.

    Raises NobodyCanApproveError.
    """
    pin_stages(request, request.policy)
    tell_approvers(request, who_can(request))
    tell_informed(request)


def start_again(request: AccessRequest, *fields: str) -> None:
    """Write a locked request as its next revision; `fields` are those that the caller set on it."""
    request.revision += 1
    request.stage_index = request.reminders = 0
    request.team = request.project.team
    set_clock(request)
    request.save(update_fields=[*fields, *RESTARTED])
    begin(request)


def begin_next_stage(request: AccessRequest, *, at: datetime) -> None:
    """Move a locked request on to its next stage, whose clock starts at the last approval of this one."""
    request.stage_index += 1
    request.stage_began_at, request.reminders = at, 0
    request.save(update_fields=["stage_index", "stage_began_at", "reminders"])


def over() -> Q:
    """Return what is true of requests that are to be closed because of what happened around them."""
    closed = Q(project__archived_at__isnull=False) | Q(project__team__archived_at__isnull=False)
    left = Q(requester__is_active=False) | Q(beneficiary__is_active=False)
    return ended.key_or_access_ended() | closed | left | former.led_the_team()


def stranded() -> AccessRequestQuerySet:
    """Return the pending requests around which something happened that they do not show yet."""
    return AccessRequest.objects.pending().filter(over() | ~Q(team=F("project__team")))


def end_if_over(request: AccessRequest) -> None:
    """Close a pending request that is over, in a transaction of its own. One whose project belongs to another
    team starts again there with what its requester is about to change.
    """
    if AccessRequest.objects.pending().filter(over(), pk=request.pk).exists():
        lasting(lambda: follow(request.pk))


def bring_up_to_date(request: AccessRequest) -> None:
    """Do to a pending request what happened around it, in a transaction of its own; it stays when the act
    that comes next is refused.

    Its project was closed, a person of it left or leads its team no longer, its key or the access that it
    would extend has ended, or its project belongs to another team. One query usually.
    """
    if stranded().filter(pk=request.pk).exists():
        lasting(lambda: follow(request.pk))


def follow_all(*, most: int) -> int:
    """Bring every stranded request up to date, each in a transaction of its own; return how many changed."""
    changed = sum(follow(pk) for pk in stranded().order_by("pk").values_list("pk", flat=True)[:most])
    return changed + follow_increases(most=most)


@transaction.atomic
def follow(pk: int) -> int:
    """Close one stranded request, or start it again in its new team; return how many were changed."""
    request = locked(AccessRequest(pk=pk))
    if request.status != RequestStatus.PENDING or past_its_time(request):
        return 0
    project = request.project
    gone = next((each for each in (request.requester, request.beneficiary) if not each.is_active), None)
    if project.archived_at or project.team.archived_at:
        close(request, f"The project {project} is closed.")
    elif gone:
        close(request, f"{gone} has left.")
    elif AccessRequest.objects.filter(ended.key_or_access_ended(), pk=pk).exists():
        close(request, ended.what_ended(request))
    elif request.team_id != project.team_id:
        restart(request, f"{project} belongs to team {project.team} now.", {"team": request.team.code})
    elif AccessRequest.objects.filter(former.led_the_team(), pk=pk).exists():
        close(request, f"{request.beneficiary} does not work in team {project.team} any more.")
    else:
        return 0
    return 1


def restart(request: AccessRequest, why: str, before: dict[str, Any], *, terms: Policy | None = None) -> None:
    """Start a locked request again because of what its requester did not do, under `terms` if they are given.

    Where nobody could approve it any more it is closed instead.
    """
    was = request.revision
    if terms is not None:
        request.policy = terms
    try:
        with transaction.atomic():
            start_again(request, "policy")
    except NobodyCanApproveError as error:
        close(locked(request), error.detail)
        return
    after = {"revision": request.revision, "team": request.team.code, "policy": request.policy}
    record(
        None,
        "request.restarted",
        request,
        before={"revision": was, **before},
        after={name: after[name] for name in ("revision", *before)},
        reason=why,
    )
    missing = missing_in(request)
    if missing:
        tell_of_change_needed(request, f"{why} It needs {missing}.")


def ease(request: AccessRequest, terms: Policy, *, lacked: str) -> None:
    """Write down that the rules in force ask for less of what a locked request lacked; tell its requester."""
    lacks, why = missing_under(terms, request), f"The rules of {request.tier} ask for less now."
    record(None, "request.eased", request, before={"needs": lacked}, after={"needs": lacks}, reason=why)
    tell_of_change_eased(request, why, lacks, rules=terms.version)
