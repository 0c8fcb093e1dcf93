"""The end of an approval: key, grant, audit and mail in the transaction of the last decision."""

from decimal import Decimal

from approvals import policy
from approvals.eligibility import decisions_of, stages_of
from approvals.models import AccessRequest, Decision, Policy, RequestStatus
from approvals.services.common import record_decision
from approvals.services.mails import tell_requester
from budgets.errors import HeadroomError
from core.money import format_usd
from keys import services as keys
from keys.models import ApiKey, Grant, KeyState


def finish(request: AccessRequest, decision: Decision) -> Grant:
    """Approve a locked request: give the grant on the key it names, or on a new key awaiting reveal.

    Duration and cap are the least of what was asked, offered, pinned and allowed by the policy in force now.
    Raises HeadroomError when the cap does not fit the budgets above the key.
    """
    days, cap_usd = _terms(request)
    key = _key(request, decision, days)
    grant = _give(request, decision, key, days=days, cap_usd=cap_usd)
    request.status, request.decided_at, request.key = RequestStatus.APPROVED, decision.at, key
    request.save(update_fields=["status", "decided_at", "key"])
    record_decision(request, decision, "request.approved", key=key, grant=grant)
    tell_requester(request, subject=f"{request.tier} for {request.project} was approved", body=_text(grant))
    return grant


def _give(request: AccessRequest, decision: Decision, key: ApiKey, *, days: int, cap_usd: Decimal) -> Grant:
    try:
        return keys.grant(
            actor=decision.actor,
            key=key,
            tier=request.tier,
            model_ids=request.model_ids,
            monthly_cap_usd=cap_usd,
            days=days,
            source_request=request.public_id,
        )
    except HeadroomError as error:
        error.field = "monthly_cap_usd"  # what the approver can change
        raise


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


def _key(request: AccessRequest, decision: Decision, days: int) -> ApiKey:
    if request.extends_key is not None:
        return request.extends_key
    return keys.issue_approved_key(
        actor=decision.actor,
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
