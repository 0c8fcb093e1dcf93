"""What other rules would have done to the requests of the last 90 days. Nothing is written."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from approvals import policy
from approvals.models import AccessRequest, Decision, RequestKind, RequestStatus
from approvals.rules import Rules
from core import clock
from core.money import format_usd
from teams.selectors import RoleHolders, role_holders

SINCE = timedelta(days=90)
SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One request that would have gone otherwise, and why."""

    request: AccessRequest
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """How the requests would have gone; `effects` are the first of those that differ."""

    requests: int
    refused: int
    later: int
    impossible: int
    expired: int
    effects: tuple[Effect, ...]

    @property
    def same(self) -> int:
        """Return how many would have gone as they did."""
        return self.requests - self.refused - self.later - self.impossible - self.expired


def what_if(rules: Rules, tier: int) -> WhatIf:
    """Set the requests of the last 90 days for a tier against other rules, with the people of today.

    Three queries. A broken glass is left out: its review is of what was done.
    """
    since = clock.now() - SINCE
    asked = AccessRequest.objects.filter(tier=tier, created_at__gte=since).exclude(
        kind=RequestKind.BREAK_GLASS
    )
    rows = list(asked.select_related("project__team__department", "requester", "tier").order_by("-pk"))
    counted: dict[int, set[int]] = {}
    for decision in Decision.objects.filter(request__in=rows, verdict="approve"):
        counted.setdefault(decision.request_id, set()).add(decision.actor_id)
    holders = role_holders()
    found = [(row, *_effect(row, rules, holders, counted.get(row.pk, set()))) for row in rows]
    effects = tuple(Effect(request=row, text=text) for row, kind, text in found if kind)
    kinds = [kind for _, kind, _ in found]
    return WhatIf(
        requests=len(rows),
        refused=kinds.count("refused"),
        later=kinds.count("later"),
        impossible=kinds.count("impossible"),
        expired=kinds.count("expired"),
        effects=effects[:SHOWN],
    )


def _effect(
    request: AccessRequest, rules: Rules, holders: RoleHolders, counted: Iterable[int]
) -> tuple[str, str]:
    """Return how a request would have gone otherwise, and why; empty where it would not."""
    refusals = list(_refusals(request, rules))
    if refusals:
        return "refused", f"Refused when it was asked: {refusals[0]}."
    here = holders.for_project(request.project)
    stages = policy.stages_for(rules.stage_terms(), here, request.askers)
    missing = policy.missing_role(stages, here, request.askers)
    if missing:
        return "impossible", f"Nobody could approve it: {missing} is missing."
    if request.decided_at and request.status in (RequestStatus.APPROVED, RequestStatus.DENIED):
        took = request.decided_at - request.created_at
        if took >= timedelta(hours=rules.decide_within_hours):
            return "expired", f"Expired: it was decided after {took // timedelta(hours=1)} hours."
    needed, had = sum(stage.quorum for stage in stages), len(set(counted))
    if request.status == RequestStatus.APPROVED and needed > had:
        return "later", f"It would have waited for {needed - had} more to approve."
    return "", ""


def _refusals(request: AccessRequest, rules: Rules) -> Iterable[str]:
    if request.duration_days > rules.max_days:
        yield f"{request.duration_days} days are more than {rules.max_days}"
    if rules.max_monthly_usd is not None and request.expected_monthly_usd > rules.max_monthly_usd:
        usd = format_usd(request.expected_monthly_usd)
        yield f"{usd} a month is more than {format_usd(rules.max_monthly_usd)}"
    if len(request.reason) < rules.min_reason_characters:
        yield f"its reason has {len(request.reason)} characters"
    if rules.needs_ticket and not request.ticket:
        yield "it names no ticket"
