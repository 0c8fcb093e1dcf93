"""Approves several small requests of one tier: each is decided by itself, as decide() decides it."""

from collections.abc import Sequence
from dataclasses import dataclass

from approvals.models import AccessRequest, Policy, RequestKind, Verdict
from approvals.services.asking import policy_for
from approvals.services.deciding import decide
from core.errors import DomainError, InvalidInputError
from core.money import format_usd
from teams.models import User

MOST_TOGETHER = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One of the requests, and why its approval was not counted; without a refusal it was."""

    request: AccessRequest
    refusal: DomainError | None = None


def approve_together(*, actor: User, chosen: Sequence[tuple[AccessRequest, int]]) -> list[Answered]:
    """Approve requests of one tier at the revisions that the actor read, as they were asked for.

    Each is a transaction of its own: one that somebody changed or decided meanwhile is reported and stops no
    other. The comment of each decision says that it was one of several. Raises InvalidInputError, and then
    nothing is decided, where the policy of the tier does not let them be approved together.
    """
    _require_together(chosen)
    comment = f"Approved together: {len(chosen)} requests at a time." if len(chosen) > 1 else ""
    return [_approve(actor, request, seen_revision, comment) for request, seen_revision in chosen]


def fits_together(request: AccessRequest, policy: Policy) -> bool:
    """Whether a request may be approved with others, under the policy in force of its tier."""
    ceiling = policy.together_cap_usd
    small = ceiling is not None and request.expected_monthly_usd <= ceiling
    return small and request.tier_id == policy.tier_id and request.kind != RequestKind.BREAK_GLASS


def _require_together(chosen: Sequence[tuple[AccessRequest, int]]) -> None:
    """Refuse what the policy does not let be approved together; decide() reports the older revisions."""
    if not chosen:
        raise InvalidInputError("Choose the requests to approve.")
    if len(chosen) > MOST_TOGETHER:
        raise InvalidInputError(f"Choose at most {MOST_TOGETHER} requests at a time.")
    policy = policy_for(chosen[0][0].tier)
    for request, seen_revision in chosen:
        if request.revision == seen_revision and not fits_together(request, policy):
            raise InvalidInputError(f"{request} has to be decided by itself: {_why_alone(request, policy)}.")


def _why_alone(request: AccessRequest, policy: Policy) -> str:
    if request.tier_id != policy.tier_id:
        return "it is for another tier"
    if policy.together_cap_usd is None:
        return f"the policy of {policy.tier} lets nobody approve several together"
    if request.kind == RequestKind.BREAK_GLASS:
        return "it is the review of a broken glass"
    return f"it is for more than {format_usd(policy.together_cap_usd)} a month"


def _approve(actor: User, request: AccessRequest, seen_revision: int, comment: str) -> Answered:
    try:
        decided = decide(
            actor=actor,
            request=request,
            verdict=Verdict.APPROVE,
            seen_revision=seen_revision,
            comment=comment,
        )
    except DomainError as error:
        return Answered(request=request, refusal=error)
    return Answered(request=decided.request)
