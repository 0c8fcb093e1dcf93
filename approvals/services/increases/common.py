"""What every act on a request for more budget needs: its lock, whether it is open, its end, its audit row."""

from typing import Any

from approvals.errors import AlreadyDecidedError
from approvals.models import BudgetRequest, RequestStatus
from approvals.services.common import UNCHANGED, require_in_time
from approvals.services.mails import mail_about_budget
from core import audit, clock
from core.locks import lock_first
from core.models import AuditEvent
from core.money import format_usd
from teams.models import User


def locked_increase(request: BudgetRequest) -> BudgetRequest:
    """Return the request as it is now, locked to the end of the transaction."""
    return lock_first(BudgetRequest.objects.placed(), request.pk)


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


def require_open(request: BudgetRequest) -> None:
    """Refuse a request that is over. Raises AlreadyDecidedError, or GoneError when its time has passed."""
    require_in_time(request)
    if request.status == RequestStatus.PENDING:
        return
    closed = request.status == RequestStatus.CLOSED
    who = "Purser" if closed else str(request.decided_by or request.requester)
    did = "withdrew" if request.status == RequestStatus.WITHDRAWN else str(request.status)
    at = request.decided_at or clock.now()
    raise AlreadyDecidedError(
        f"{who} {did} this request on {at:%d %B %Y at %H:%M} UTC.{UNCHANGED}",
        by=who,
        at=at.isoformat(),
        what=str(request.status),
    )


def outcome_text(request: BudgetRequest) -> str:
    """Say who decided a request, for whom, what he gave, and why."""
    giver = f" for {request.on_behalf_of}" if request.on_behalf_of else ""
    comment = f": {request.comment}" if request.comment else ""
    did = RequestStatus(request.status).label.lower()
    return f"{request.decided_by}{giver} {did} it{_given(request)}{comment}"


def _given(request: BudgetRequest) -> str:
    """Say what an approval gave, where that is less than what was asked for."""
    limit = request.limit
    if limit is None:
        return ""
    if limit.valid_until is None:
        is_less = limit.amount_usd != request.limit_usd
        return f" up to {format_usd(limit.amount_usd)}" if is_less else ""
    return f" with {format_usd(limit.amount_usd)} on top until {limit.valid_until:%d %B %Y at %H:%M} UTC"


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
