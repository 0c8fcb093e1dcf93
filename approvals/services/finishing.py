"""The end of an approval: key, grant, audit and mail in the transaction of the last decision."""

from datetime import datetime
from decimal import Decimal

from approvals import policy
from approvals.eligibility import decisions_of, stages_of
from approvals.errors import GrantEndedError
from approvals.models import AccessRequest, Decision, Policy, RequestKind, RequestStatus
from approvals.services.common import record, record_decision
from approvals.services.mails import tell_requester
from budgets.errors import HeadroomError
from core import clock
from core.money import format_usd
from keys import services as keys
from keys.models import ApiKey, Grant, GrantState, KeyState
from teams.models import User


def finish(request: AccessRequest, decision: Decision) -> Grant:
    """Approve a locked request: give the grant on the key it names, or on a new key awaiting reveal.

    Duration and cap are the least of what was asked, offered, pinned and allowed by the policy in force now.
    A ratified break-glass keeps the grant that it has. Raises HeadroomError when the cap does not fit the
    budgets above the key, GrantEndedError when the grant to extend has ended.
    """
    if request.kind == RequestKind.BREAK_GLASS:
        return _ratify(request, decision)
    grant = _approve(request, actor=decision.actor, at=decision.at, on_behalf_of=decision.on_behalf_of)
    record_decision(request, decision, "request.approved", key=grant.key, grant=grant)
    tell_requester(request, subject=f"{request.tier} for {request.project} was approved", body=_text(grant))
    return grant


def finish_by_rule(request: AccessRequest) -> Grant:
    """Approve an extension by the rule of its policy; the grant names who approved the one before.

    Raises as finish() does.
    """
    assert request.extends_grant is not None
    request.by_rule = True
    grant = _approve(request, actor=request.extends_grant.granted_by, at=clock.now())
    record(
        None,
        "request.approved",
        request,
        before={"status": RequestStatus.PENDING},
        after={"status": request.status, "by_rule": True, "key": grant.key, "grant": grant},
        reason="By the rule of its policy: an equal extension that a human approved not long ago.",
    )
    tell_requester(request, subject=f"{request} was extended by rule", body=_text(grant))
    return grant


def _approve(request: AccessRequest, *, actor: User, at: datetime, on_behalf_of: User | None = None) -> Grant:
    days, cap_usd = _terms(request)
    key = _key(request, actor, days)
    before = request.extends_grant
    if before is not None:
        before.refresh_from_db()
        if before.state is not GrantState.ACTIVE:
            raise GrantEndedError(f"{before} has ended meanwhile. Deny the request with that reason.")
    try:
        grant = keys.grant(
            actor=actor,
            key=key,
            tier=request.tier,
            model_ids=request.model_ids,
            monthly_cap_usd=cap_usd,
            days=days,
            source_request=request.public_id,
            supersedes=before,
            on_behalf_of=on_behalf_of,
            by_rule=request.by_rule,
        )
    except HeadroomError as error:
        error.field = "monthly_cap_usd"  # what the approver can change
        raise
    request.status, request.decided_at, request.key = RequestStatus.APPROVED, at, key
    request.save(update_fields=["status", "decided_at", "key", "by_rule"])
    return grant


def _ratify(request: AccessRequest, decision: Decision) -> Grant:
    grant = Grant.objects.select_related("key").get(source_request=request.public_id)
    request.status, request.decided_at, request.key = RequestStatus.APPROVED, decision.at, grant.key
    request.save(update_fields=["status", "decided_at", "key"])
    record_decision(request, decision, "request.approved", key=grant.key, grant=grant)
    tell_requester(
        request, subject=f"{request} was ratified", body=f"{decision.actor} found that it was right."
    )
    return grant


def _terms(request: AccessRequest) -> tuple[int, Decimal]:
    offers = [
        policy.Offer(monthly_cap_usd=each.monthly_cap_usd, duration_days=each.duration_days)
        for each in decisions_of(request)
    ]
    in_force = Policy.objects.filter(tier_id=request.tier_id, retired_at__isnull=True).first()
    days = policy.granted_days(
        asked=request.duration_days,
        offers=offers,
        pinned_max=[stage.max_days for stage in stages_of(request)],
        current_max=in_force.max_days if in_force else None,
    )
    cap_usd = policy.granted_cap_usd(
        asked=request.expected_monthly_usd,
        offers=offers,
        current_max=in_force.max_monthly_usd if in_force else None,
    )
    return days, cap_usd


def _key(request: AccessRequest, actor: User, days: int) -> ApiKey:
    if request.extends_key is not None:
        return request.extends_key
    return keys.issue_approved_key(
        actor=actor,
        owner=request.beneficiary,
        project=request.project,
        name=f"{request.tier} for {request.project.code}"[:80],
        days=days,
    )


def _text(grant: Grant) -> str:
    reveal = (
        " Open the page to reveal the key: its secret is shown once."
        if grant.key.state is KeyState.AWAITING_REVEAL
        else f" Your key {grant.key.name} can call it now."
    )
    return (
        f"{grant.granted_by} approved {grant.tier} for project {grant.key.project} until"
        f" {grant.expires_at:%d %B %Y}, up to {format_usd(grant.monthly_cap_usd)} a month.{reveal}"
    )
