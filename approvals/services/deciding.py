"""decide(): the only way to a decision, for pages, API, mail and rules alike. Lock, re-check, then write."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import overload

from django.db import transaction

from approvals import policy
from approvals.eligibility import current_stage, decisions_of, require_may_decide, stages_of, who_can
from approvals.errors import BeneficiaryLeftError, ChangeNeededError
from approvals.models import AccessRequest, BudgetRequest, Decision, RequestKind, RequestStatus, Verdict
from approvals.rules import missing_in
from approvals.services.common import (
    decided_before,
    locked,
    record_decision,
    require_open,
    require_seen,
)
from approvals.services.finishing import finish
from approvals.services.increases.deciding import IncreaseOutcome, decide_increase
from approvals.services.increases.following import bring_increase_up_to_date
from approvals.services.mails import tell_approvers, tell_requester
from approvals.services.ratifying import end_unratified
from approvals.services.revising import begin_next_stage, bring_up_to_date
from core import clock
from core.errors import InvalidInputError
from core.money import format_usd, quantise
from core.reasons import checked_comment
from teams.models import User
from teams.selectors import works_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The request as it stands and the decision; `replayed` when the same verdict had been given before."""

    request: AccessRequest
    decision: Decision
    replayed: bool = False


@overload
def decide(
    *,
    actor: User,
    request: BudgetRequest,
    verdict: Verdict,
    seen_revision: int,
    comment: str = "",
    limit_usd: Decimal | None = None,
    until: datetime | None = None,
) -> IncreaseOutcome: ...


@overload
def decide(
    *,
    actor: User,
    request: AccessRequest,
    verdict: Verdict,
    seen_revision: int,
    comment: str = "",
    monthly_cap_usd: Decimal | None = None,
    duration_days: int | None = None,
) -> Outcome: ...


def decide(
    *,
    actor: User,
    request: AccessRequest | BudgetRequest,
    verdict: Verdict,
    seen_revision: int,
    comment: str = "",
    monthly_cap_usd: Decimal | None = None,
    duration_days: int | None = None,
    limit_usd: Decimal | None = None,
    until: datetime | None = None,
) -> Outcome | IncreaseOutcome:
    """Count one human's verdict on the revision that he read; the last approval gives the grant or the limit.

    An approver may lower the cap (US dollars a month) and the duration, or for more budget the limit and its
    end, never raise them; a denial needs a comment. The same verdict of the same actor again changes nothing.
    Raises AlreadyDecidedError (409), ChangedSinceReadError (412), NotEligibleError (403), GoneError (410),
    InvalidInputError (422), BeneficiaryLeftError and ChangeNeededError (409).
    """
    if isinstance(request, BudgetRequest):
        bring_increase_up_to_date(request)
        return decide_increase(
            actor=actor,
            request=request,
            verdict=verdict,
            seen_revision=seen_revision,
            comment=comment,
            limit_usd=limit_usd,
            until=until,
        )
    bring_up_to_date(request)
    with transaction.atomic():
        mine = locked(request)
        earlier = _earlier(mine, actor, seen_revision)
        if earlier is not None and earlier.verdict == verdict:
            return Outcome(request=mine, decision=earlier, replayed=True)
        require_open(mine)
        require_seen(mine, seen_revision)
        if earlier is not None:
            raise decided_before(earlier)
        on_behalf_of = require_may_decide(actor, mine, denies=verdict == Verdict.DENY)
        offer = _checked_offer(mine, verdict, monthly_cap_usd, duration_days)
        text = checked_comment(comment, denies=verdict == Verdict.DENY)
        if verdict == Verdict.APPROVE:
            _require_beneficiary(mine)
            _require_complete(mine)
        decision = _count(mine, actor, verdict, offer, on_behalf_of=on_behalf_of, comment=text)
        _act_on(mine, decision)
        return Outcome(request=mine, decision=decision)


def _earlier(request: AccessRequest, actor: User, seen_revision: int) -> Decision | None:
    """Return the actor's own decision on the current revision, if that is the one he read."""
    if seen_revision != request.revision:
        return None
    return request.decisions.filter(revision=request.revision, actor=actor).first()


def _count(
    request: AccessRequest,
    actor: User,
    verdict: Verdict,
    offer: policy.Offer,
    *,
    on_behalf_of: int | None,
    comment: str,
) -> Decision:
    return Decision.objects.create(
        request=request,
        revision=request.revision,
        stage_index=request.stage_index,
        actor=actor,
        on_behalf_of_id=on_behalf_of,
        verdict=verdict,
        comment=comment,
        monthly_cap_usd=offer.monthly_cap_usd,
        duration_days=offer.duration_days,
        at=clock.now(),
    )


def _act_on(request: AccessRequest, decision: Decision) -> None:
    if decision.verdict == Verdict.DENY:
        _deny(request, decision)
        return
    stage = current_stage(request)
    agreed = {each.actor_id for each in decisions_of(request) if each.stage_index == stage.index}
    if len(agreed) < stage.quorum:
        record_decision(request, decision, "request.agreed")
    elif stage.index + 1 < len(stages_of(request)):
        begin_next_stage(request, at=decision.at)
        record_decision(request, decision, "request.agreed")
        tell_approvers(request, who_can(request))
    else:
        finish(request, decision)


def _deny(request: AccessRequest, decision: Decision) -> None:
    request.status, request.decided_at = RequestStatus.DENIED, decision.at
    request.save(update_fields=["status", "decided_at"])
    record_decision(request, decision, "request.denied")
    tell_requester(
        request,
        subject=f"{request.tier} for {request.project} was denied",
        body=f"{decision.actor} denied it:\n\n{decision.comment}",
    )
    end_unratified(request)


def _require_beneficiary(request: AccessRequest) -> None:
    person, team = request.beneficiary, request.project.team
    if not works_in(person, team):
        raise BeneficiaryLeftError(
            f"{person} does not work in team {team} any more, so nobody can grant this."
            " Deny it with that reason."
        )


def _require_complete(request: AccessRequest) -> None:
    missing = missing_in(request)
    if missing:
        raise ChangeNeededError(
            f"By the rules of {request.tier} it needs {missing}. {request.requester} was told to change it."
        )


def _checked_offer(
    request: AccessRequest, verdict: Verdict, monthly_cap_usd: Decimal | None, duration_days: int | None
) -> policy.Offer:
    if verdict == Verdict.DENY:
        return policy.Offer()
    most_usd, most_days = request.expected_monthly_usd, request.duration_days
    if monthly_cap_usd is not None and not (
        monthly_cap_usd.is_finite() and 0 < quantise(monthly_cap_usd) <= most_usd
    ):
        raise InvalidInputError(
            f"Enter a cap above zero and up to {format_usd(most_usd)}, which was asked for."
            " For more, the request has to be changed.",
            field="monthly_cap_usd",
        )
    if duration_days is not None and not 1 <= duration_days <= most_days:
        raise InvalidInputError(
            f"Enter 1 to {most_days} days, as many as were asked for."
            " For more, the request has to be changed.",
            field="duration_days",
        )
    cap = None if monthly_cap_usd is None else quantise(monthly_cap_usd)
    is_less = (cap or most_usd, duration_days or most_days) != (most_usd, most_days)
    if is_less and request.kind == RequestKind.BREAK_GLASS:
        raise InvalidInputError(
            "Ratifying changes no access that was taken. Approve it as it is and lower it on the page of its"
            " key, or deny it: then it ends."
        )
    return policy.Offer(monthly_cap_usd=cap, duration_days=duration_days)
