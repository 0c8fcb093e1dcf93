"""What every act on a request for more budget needs: its lock, whether it is open, its end, its audit row."""

from typing import Any

from django.db.models.functions import Now

from approvals.errors import AlreadyDecidedError, ChangedSinceReadError
from approvals.models import BudgetRequest, RequestStatus
from approvals.services.mails import mail_about_budget
from core import audit, clock
from core.errors import GoneError
from core.models import AuditEvent
from teams.models import User


def locked_increase(request: BudgetRequest) -> BudgetRequest:
    """Return the request as it is now, locked to the end of the transaction."""
    rows = BudgetRequest.objects.placed().select_for_update(no_key=True, of=("self",))
    return rows.order_by("pk").get(pk=request.pk)


def asked_facts(request: BudgetRequest) -> dict[str, Any]:
    """Return what is asked for, as the audit keeps it and a difference shows it."""
    return {
        "revision": request.revision,
        "budget": request.budget,
        "limit_usd": request.limit_usd,
        "until": request.until,
        "reason": request.reason,
    }


def record_increase(actor: User | None, action: str, request: BudgetRequest, **values: Any) -> AuditEvent:
    """Write the audit row of an act on a request, with its team and department."""
    team, department = request.home_team, request.home_department
    return audit.record(
        actor=actor,
        action=action,
        subject=request,
        team_id=team.pk if team else None,
        department_id=department.pk if department else None,
        **values,
    )


def is_past(request: BudgetRequest) -> bool:
    """Whether the time to decide is over by this machine's clock or by the database's, whichever is ahead."""
    late = BudgetRequest.objects.filter(pk=request.pk, decide_by__lte=Now())
    return request.decide_by <= clock.now() or late.exists()


def require_open(request: BudgetRequest) -> None:
    if request.status == RequestStatus.EXPIRED or (
        request.status == RequestStatus.PENDING and is_past(request)
    ):
        raise GoneError(
            f"Nobody decided this request by {request.decide_by:%d %B %Y at %H:%M} UTC, so it expired."
            f" {request.requester} can ask again."
        )
    if request.status == RequestStatus.PENDING:
        return
    closed = request.status == RequestStatus.CLOSED
    who = "Purser" if closed else str(request.decided_by or request.requester)
    did = "withdrew" if request.status == RequestStatus.WITHDRAWN else str(request.status)
    at = request.decided_at or clock.now()
    raise AlreadyDecidedError(
        f"{who} {did} this request on {at:%d %B %Y at %H:%M} UTC. Nothing was changed.",
        by=who,
        at=at.isoformat(),
        what=str(request.status),
    )


def require_seen(request: BudgetRequest, seen_revision: int) -> None:
    if seen_revision == request.revision:
        return
    raise ChangedSinceReadError(
        f"{request.requester} changed this request after you read it. Read it again, then decide.",
        seen_revision=seen_revision,
        revision=request.revision,
        difference=_difference(request, since_revision=seen_revision),
    )


def _difference(request: BudgetRequest, *, since_revision: int) -> dict[str, dict[str, Any]]:
    """Return what was amended after a revision: {"limit_usd": {"before": ..., "after": ...}}."""
    events = AuditEvent.objects.filter(
        object_type="approvals.budgetrequest",
        object_id=request.public_id,
        action="budget_increase.amended",
        after__revision__gt=since_revision,
    ).order_by("pk")
    found = list(events)
    if not found:
        return {}
    before, after = found[0].before, found[-1].after
    return {
        name: {"before": before[name], "after": after[name]}
        for name in after
        if name != "revision" and before[name] != after[name]
    }


def end(request: BudgetRequest, status: RequestStatus) -> None:
    request.status, request.decided_at = status, clock.now()
    request.save(update_fields=["status", "decided_at", "decided_by", "on_behalf_of", "comment", "limit"])


def close_increase(request: BudgetRequest, reason: str) -> None:
    """Close a locked pending request with a reason that its requester reads."""
    request.comment = reason
    end(request, RequestStatus.CLOSED)
    after = {"status": request.status}
    record_increase(None, "budget_increase.closed", request, after=after, reason=reason)
    mail_about_budget(
        request, request.requester, event=request.status, subject=f"{request} was closed", body=reason
    )


def write_expiry(request: BudgetRequest) -> None:
    end(request, RequestStatus.EXPIRED)
    record_increase(None, "budget_increase.expired", request, after={"status": request.status})
    mail_about_budget(
        request,
        request.requester,
        event=request.status,
        subject=f"Your request has expired: {request}",
        body="Nobody decided it in time. You can ask again.",
    )
