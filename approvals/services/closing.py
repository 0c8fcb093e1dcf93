"""Ends pending requests that nobody decided and nobody needs any more."""

from typing import Any

from django.db import transaction
from django.db.models import Q

from approvals.ended import (
    KEY_OF_THE_BUDGET_ENDED,
    key_of_the_budget_ended,
    key_or_access_ended,
    what_ended,
)
from approvals.models import (
    AccessRequest,
    AccessRequestQuerySet,
    BudgetRequest,
    BudgetRequestQuerySet,
    RequestStatus,
)
from approvals.selectors import waiting_for, waiting_in_team
from approvals.services.common import record
from approvals.services.delegating import end_delegations_of
from approvals.services.increases.common import close_increase
from approvals.services.mails import tell_requester
from approvals.services.ratifying import end_unratified
from core import clock
from core.locks import lock_all_first
from keys.models import ApiKey, Grant
from teams.models import Team, User

MAX_REASON_CHARACTERS = 240
LOADED = (
    *("project__team__department", "requester", "beneficiary", "tier", "policy"),
    *("extends_key", "extends_grant"),
)


def close(request: AccessRequest, reason: str, *, actor: User | None = None) -> None:
    """Close a locked request with a reason that its requester reads, if it is still pending.

    Of several that are closed together one may have ended by the end of another: an emergency's review ends
    its access, and that what would extend it.
    """
    if not AccessRequest.objects.filter(pk=request.pk, status=RequestStatus.PENDING).exists():
        return
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
    closed = _close_all(*waiting_for(person), reason or f"{person} has left.")
    return {**closed, "delegations": end_delegations_of(person)}


@transaction.atomic
def close_requests_in_team(person: User, *, team: Team, reason: str) -> dict[str, int]:
    """Close what somebody who leaves a team waits for there; of money only what he does not see any more.

    It belongs in the transaction in which he leaves it. Running it again changes nothing. Returns the counts.
    """
    return _close_all(*waiting_in_team(person, team), reason)


def close_requests_of_key(*, key: ApiKey, grant: Grant | None, **_: Any) -> None:
    """Close what waits to go on with a key that has just ended, or to extend one of its grants that has.

    It belongs in the transaction of that end, which holds the key. Whoever decides holds a request and takes
    its key next: a request that somebody holds is left to him, who finds the key ended, and is closed at the
    next look at it.
    """
    about = Q(extends_key=key) if grant is None else Q(extends_grant=grant)
    asked = AccessRequest.objects.pending().filter(about, key_or_access_ended())
    wanted = BudgetRequest.objects.pending().filter(key_of_the_budget_ended(), budget__scope_id=key.pk)
    for request in asked.filter(pk__in=_held_by_nobody(asked)).select_related(*LOADED).order_by("pk"):
        close(request, what_ended(request))
    for increase in wanted.filter(pk__in=_held_by_nobody(wanted)).placed().order_by("pk"):
        close_increase(increase, KEY_OF_THE_BUDGET_ENDED)


def _held_by_nobody(rows: AccessRequestQuerySet | BudgetRequestQuerySet) -> list[int]:
    """Lock those of the rows that nobody has locked, and return their ids."""
    free = rows.select_for_update(no_key=True, skip_locked=True, of=("self",)).order_by("pk")
    return list(free.values_list("pk", flat=True))


def _close_all(asked: AccessRequestQuerySet, wanted: BudgetRequestQuerySet, reason: str) -> dict[str, int]:
    rows = asked.select_related(*LOADED)
    requests = lock_all_first(rows)
    for request in requests:
        close(request, reason)
    increases = lock_all_first(wanted.placed())
    for increase in increases:
        close_increase(increase, reason)
    return {"requests": len(requests), "increases": len(increases)}
