"""What every act on a request needs: its lock, whether it is still open, and its audit row.

What takes a `AnyRequest` is for requests for more budget too.
"""

from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now

from approvals.errors import AlreadyDecidedError, ChangedSinceReadError
from approvals.models import AccessRequest, BudgetRequest, Decision, RequestStatus, Verdict
from core import audit, clock
from core.errors import GoneError
from core.locks import lock_first
from core.models import AuditEvent
from teams.models import User

UNCHANGED = " Nothing was changed."

AnyRequest = AccessRequest | BudgetRequest


def locked(request: AccessRequest) -> AccessRequest:
    """Return the request as it is now, locked to the end of the transaction; others may still refer to it."""
    rows = AccessRequest.objects.select_related(
        "project__team__department",
        "team",
        "requester",
        "beneficiary",
        "tier",
        "policy",
        "extends_key",
        "extends_grant__granted_by",
    )
    return lock_first(rows, request.pk)


def past_its_time(request: AnyRequest) -> bool:
    """Whether the time to decide is over by this machine's clock or by the database's, whichever is ahead."""
    late = type(request).objects.filter(pk=request.pk, decide_by__lte=Now())
    return request.decide_by <= clock.now() or late.exists()


def require_in_time(request: AnyRequest) -> None:
    """Refuse a request whose time has passed, written down or not. Raises GoneError."""
    if request.status == RequestStatus.EXPIRED or (
        request.status == RequestStatus.PENDING and past_its_time(request)
    ):
        raise GoneError(
            f"Nobody decided this request by {request.decide_by:%d %B %Y at %H:%M} UTC, so it expired."
            f" {request.requester} can ask again."
        )


def require_open(request: AccessRequest) -> None:
    """Refuse a request that is over. Raises AlreadyDecidedError, or GoneError when its time has passed."""
    require_in_time(request)
    if request.status != RequestStatus.PENDING:
        raise already_decided(request)


def how_it_ended(request: AccessRequest) -> str:
    """Say who ended a request, when and how; empty while it can be decided."""
    if request.state is RequestStatus.PENDING:
        return ""
    try:
        require_open(request)
    except (AlreadyDecidedError, GoneError) as over:
        return over.detail.removesuffix(UNCHANGED)
    return ""


def already_decided(request: AccessRequest) -> AlreadyDecidedError:
    """Return the refusal that says who ended the request, when and how."""
    last = request.decisions.filter(revision=request.revision).select_related("actor").last()
    match request.status:
        case RequestStatus.WITHDRAWN:
            who, did = str(request.requester), "withdrew"
        case RequestStatus.CLOSED:
            who, did = "Purser", "closed"
        case _:
            who, did = str(last.actor) if last else "Purser", RequestStatus(request.status).label.lower()
    at = request.decided_at or clock.now()
    why = f" ({request.closed_reason})" if request.closed_reason else ""
    return AlreadyDecidedError(
        f"{who} {did} this request on {at:%d %B %Y at %H:%M} UTC{why}.{UNCHANGED}",
        by=who,
        at=at.isoformat(),
        what=str(request.status),
    )


def decided_before(decision: Decision) -> AlreadyDecidedError:
    """Return the refusal of a second, other verdict by the same human on the same revision."""
    what = Verdict(decision.verdict).label.lower()
    return AlreadyDecidedError(
        f"You {what} this request on {decision.at:%d %B %Y at %H:%M} UTC, and nobody counts twice."
        " Ask its requester to change or withdraw it.",
        by=str(decision.actor),
        at=decision.at.isoformat(),
        what=decision.verdict,
    )


def require_seen(request: AnyRequest, seen_revision: int) -> None:
    """Refuse an actor who read another revision. Raises ChangedSinceReadError with the difference."""
    if seen_revision == request.revision:
        return
    changes = changes_in(revisions_of(request).filter(after__revision__gt=seen_revision))
    who = "Purser" if "team" in changes else str(request.requester)
    raise ChangedSinceReadError(
        f"{who} changed this request after you read it. Read it again, then decide.",
        seen_revision=seen_revision,
        revision=request.revision,
        difference=changes,
    )


def revisions_of(request: AnyRequest) -> QuerySet[AuditEvent]:
    """Return the events by which a request became another revision."""
    return audit.about(request).filter(action__in=(f"{request.ACTS}.amended", f"{request.ACTS}.restarted"))


def changes_in(events: QuerySet[AuditEvent]) -> dict[str, dict[str, Any]]:
    """Return what these events changed from the first to the last one, without the revision itself:
    {"duration_days": {"before": 90, "after": 30}}.
    """
    changes: dict[str, dict[str, Any]] = {}
    for event in events.order_by("pk"):
        for name, value in event.after.items():
            first = changes.get(name, {"before": event.before[name]})
            changes[name] = {**first, "after": value}
    changes.pop("revision", None)
    return {name: values for name, values in changes.items() if values["before"] != values["after"]}


def record(actor: User | None, action: str, request: AccessRequest, **values: Any) -> AuditEvent:
    """Write the audit row of an act on a request, with its team and department."""
    team = request.project.team
    return audit.record(
        actor=actor,
        action=action,
        subject=request,
        team_id=team.pk,
        department_id=team.department_id,
        policy_version=request.policy.version,
        **values,
    )


def record_decision(request: AccessRequest, decision: Decision, action: str, **given: Any) -> AuditEvent:
    """Write the audit row of a decision, with what it gave."""
    after = {
        "status": request.status,
        "decision": decision,
        "verdict": decision.verdict,
        "stage": decision.stage_index,
        "revision": decision.revision,
        "monthly_cap_usd": decision.monthly_cap_usd,
        "duration_days": decision.duration_days,
        **given,
    }
    before = {"status": RequestStatus.PENDING}
    return record(
        decision.actor,
        action,
        request,
        before=before,
        after=after,
        reason=decision.comment,
        on_behalf_of=decision.on_behalf_of,
    )
