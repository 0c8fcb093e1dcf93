"""Changes the rules of a tier: one administrator proposes, another one confirms; a version never changes."""

from typing import Any

from django.db import IntegrityError, transaction

from approvals.models import AccessRequest, Policy, PolicyProposal, ProposalStatus, RequestStatus
from approvals.rules import Rules, check_rules, missing_under, record_of
from approvals.services.closing import close
from approvals.services.common import locked, past_its_time
from approvals.services.mails import tell_of_proposal
from approvals.services.revising import ease, restart
from core import audit, clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError, StaleError
from core.locks import lock_first
from core.reasons import checked_reason
from teams.models import User
from teams.selectors import require_admin

MAX_REASON_CHARACTERS = 2_000
ONE_PENDING = "policy_proposal_one_pending_per_tier"


@transaction.atomic
def propose_policy(*, actor: User, base: Policy, rules: Rules | None, reason: str) -> PolicyProposal:
    """Propose other rules in place of the version in force, or with None that nobody may ask for the tier.

    Nothing changes before another administrator confirms it. Raises RoleNeededError, InvalidInputError,
    StaleError when `base` is not in force any more, AlreadyDoneError while another proposal waits.
    """
    require_admin(actor, "change a policy")
    text = checked_reason(reason, kept="it is kept with the rules", most=MAX_REASON_CHARACTERS)
    mine = _locked_policy(base)
    if rules is not None:
        check_rules(rules, tier=mine.tier_id)
        if rules == Rules.of(mine):
            raise InvalidInputError("These are the rules in force already. Change something first.")
    try:
        with transaction.atomic():
            proposal = PolicyProposal.objects.create(
                tier=mine.tier,
                base=mine,
                rules=None if rules is None else rules.as_json(),
                reason=text,
                proposed_by=actor,
                proposed_at=clock.now(),
            )
    except IntegrityError as error:
        if ONE_PENDING not in str(error):
            raise
        raise AlreadyDoneError(f"Another change of {mine.tier} waits already. Confirm or drop it.") from error
    before, after = ({}, {"retired": True}) if rules is None else record_of(Rules.of(mine), rules)
    _record(actor, "policy.proposed", proposal, before=before, after=after, reason=text)
    tell_of_proposal(proposal)
    return proposal


@transaction.atomic
def confirm_policy(*, actor: User, proposal: PolicyProposal) -> PolicyProposal:
    """Put proposed rules in force; another administrator than the one who proposed them does.

    Decided requests keep theirs. Pending ones start again where the new rules are stricter, need no more than
    milder ones ask for, and are closed where nobody may ask for the tier any more. Raises RoleNeededError,
    NotAllowedError, AlreadyDoneError, StaleError.
    """
    require_admin(actor, "confirm a policy")
    mine = _locked_proposal(proposal)
    if actor.pk == mine.proposed_by_id:
        raise NotAllowedError("You proposed it, so another administrator confirms it.")
    base = _locked_policy(mine.base)
    base.retired_at = clock.now()
    base.save(update_fields=["retired_at"])
    if mine.rules is not None:
        mine.policy = Policy.objects.create(
            tier=mine.tier,
            version=base.version + 1,
            created_by=mine.proposed_by,
            confirmed_by=actor,
            note=mine.reason,
            created_at=base.retired_at,
            **Rules.from_json(mine.rules).as_fields(),
        )
    _end(mine, ProposalStatus.CONFIRMED, actor)
    _record(actor, "policy.confirmed", mine, after={"policy": mine.policy}, reason=mine.reason)
    _follow(base, mine.policy)
    return mine


@transaction.atomic
def drop_policy(*, actor: User, proposal: PolicyProposal) -> PolicyProposal:
    """Drop a proposal: whoever proposed it, or another administrator who does not want it."""
    require_admin(actor, "drop a proposal")
    mine = _locked_proposal(proposal)
    _end(mine, ProposalStatus.DROPPED, actor)
    _record(actor, "policy.dropped", mine, after={"status": mine.status})
    return mine


def _follow(before: Policy, after: Policy | None) -> None:
    """Let what waits follow the rules that replace a version, each from those that it was made under: milder
    ones may have come between. What is past its time has expired.
    """
    pending = AccessRequest.objects.pending().filter(tier=before.tier).order_by("pk")
    for request in map(locked, pending):  # at its turn: the end of one may end another
        if request.status != RequestStatus.PENDING or past_its_time(request):
            continue
        if after is None:
            close(request, f"Nobody may ask for {request.tier} any more.")
        else:
            _follow_one(request, before, after)


def _follow_one(request: AccessRequest, before: Policy, after: Policy) -> None:
    """Start a request again where the rules are stricter than its own, or ask again for what it was let off;
    let it off what they ask for no more.
    """
    lacked, lacks = missing_under(before, request), missing_under(after, request)
    rules = Rules.of(after)
    if rules.reaches(request) or (lacks and rules.asks_more_than(Rules.of(before))):
        why = f"The rules of {request.tier} are stricter now."
        restart(request, why, {"policy": request.policy}, terms=after)
    elif lacks != lacked:
        ease(request, after, lacked=lacked)


def _locked_policy(base: Policy) -> Policy:
    """Return the version in force, locked. Raises StaleError when it is not in force any more."""
    mine = lock_first(Policy.objects.select_related("tier"), base.pk)
    if mine.retired_at is not None:
        raise StaleError(f"The rules of {mine.tier} changed meanwhile. Read them again, then change them.")
    return mine


def _locked_proposal(proposal: PolicyProposal) -> PolicyProposal:
    rows = PolicyProposal.objects.select_related("tier", "base", "proposed_by", "ended_by")
    mine = lock_first(rows, proposal.pk)
    if mine.status != ProposalStatus.PENDING:
        raise AlreadyDoneError(f"{mine.ended_by} {mine.get_status_display().lower()} it already.")
    return mine


def _end(proposal: PolicyProposal, status: ProposalStatus, actor: User) -> None:
    proposal.status, proposal.ended_by, proposal.ended_at = status, actor, clock.now()
    proposal.save(update_fields=["status", "ended_by", "ended_at", "policy"])


def _record(actor: User, action: str, proposal: PolicyProposal, **values: Any) -> None:
    audit.record(actor=actor, action=action, subject=proposal, **values)
