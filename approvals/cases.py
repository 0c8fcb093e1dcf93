"""What the page of one request says, derived at this moment; money is added by `facts.py`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import prefetch_related_objects

from approvals import policy
from approvals.allowed import Allowed, allowed_of, lowered, refusals
from approvals.eligibility import (
    able,
    current_stage,
    decisions_of,
    may_lend,
    names_of_deciders,
    next_role,
    nobody_decides,
    role_phrase,
    roles_now,
    stages_of,
    vetoers,
    why_not,
)
from approvals.loading import PARTS
from approvals.models import AccessRequest, Decision, RequestKind, RequestStatus, Verdict
from approvals.selectors import asked_before
from approvals.services.common import revisions_of
from core import clock
from core.money import format_usd
from core.words import counted
from teams.models import Role, User
from teams.selectors import RoleHolders, names_of, role_holders

EARLIER_SHOWN = 8
FIELD_NAMES = {
    "models": "the models",
    "duration_days": "the duration",
    "expected_monthly_usd": "the expected cost",
    "reason": "the reason",
    "ticket": "the ticket",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule of the policy and whether it holds; `tone` is ok, warn or bad."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """Something that happened to a request."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Access that the requester has from an earlier request."""

    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something said about a request at a revision; `tier` is the number of the one that was offered."""

    who: str
    at: datetime
    text: str
    revision: int
    id: str = ""
    tier: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request as an approver or its requester reads it at its current revision."""

    request: AccessRequest
    title: str
    lead: str
    stage_text: str
    deciders: tuple[str, ...]
    stuck: str
    may_decide: bool
    may_veto: bool
    for_whom: str
    may_lend: bool
    sla_at: datetime | None
    escalates_to: str
    why_not: str
    longest_days: int
    most_usd: Decimal
    access_until: datetime | None
    refusals: tuple[str, ...]
    lowered: tuple[str, ...]
    checks: tuple[Check, ...]
    grants: tuple[Held, ...]
    earlier: tuple[AccessRequest, ...]
    history: tuple[HistoryLine, ...]
    comments: tuple[Remark, ...]


def case_of(user: User, request: AccessRequest, *, holders: RoleHolders | None = None) -> Case:
    """Return what the page says of a request that `selectors` loaded. Two queries, more for a revised one.

    What it offers is what decide() allows: both ask `eligibility`. `holders` saves one of the queries.
    """
    prefetch_related_objects([request], *PARTS)
    known = holders or role_holders(request.project)
    waits = request.state == RequestStatus.PENDING
    can = able(request, known) if waits else {}
    giver = can.get(user.pk)
    earlier = list(asked_before(request, limit=EARLIER_SHOWN))
    allowed = allowed_of(request)
    leads = known.for_project(request.project)[Role.LEAD]
    return Case(
        request=request,
        title=title_of(request),
        lead=names_of(sorted(known.names[person] for person in leads)),
        stage_text=stage_text(request, known),
        deciders=names_of_deciders(request, known) if can else (),
        stuck=_stuck(request, known) if waits and not can else "",
        may_decide=user.pk in can,
        may_veto=bool(can) and user.pk not in can and user.pk in vetoers(request, known),
        for_whom=known.names[giver] if giver else "",
        may_lend=user.pk in can and may_lend(user, known.for_project(request.project)),
        sla_at=request.sla_at if waits else None,
        escalates_to=_escalates_to(request, known) if waits else "",
        why_not="" if user.pk in can else _why_not(user, request, known),
        longest_days=allowed.days,
        most_usd=allowed.monthly_usd,
        access_until=_access_until(request, allowed.days),
        refusals=refusals(request) if waits else (),
        lowered=lowered(request, allowed) if waits else (),
        checks=tuple(_checks(user, request, known, allowed)) if waits else (),
        grants=_held(earlier),
        earlier=tuple(each for each in earlier if not each.granted_until),
        history=tuple(sorted(_history(request), key=lambda line: line.at)),
        comments=remarks(request.said),
    )


def title_of(request: AccessRequest) -> str:
    """Return what is asked for, in a few words."""
    match request.kind:
        case RequestKind.EXTENSION:
            return f"More time for {request.tier} in {request.project}"
        case RequestKind.BREAK_GLASS:
            return f"Review: glass broken for {request.tier} in {request.project}"
        case _:
            return f"{request.tier} for {request.project}"


def stage_text(request: AccessRequest, holders: RoleHolders) -> str:
    """Say who decides and how far it is: `Stage 1 of 2: the lead of Search, then the director of Product`."""
    stages = stages_of(request)
    phrases = [role_phrase(stage.role, request) for stage in stages]
    waits = phrases[request.stage_index :]
    quorum = stages[request.stage_index].quorum
    agreed = sum(each.stage_index == request.stage_index for each in decisions_of(request))
    people = f", {agreed} of {quorum} agreed" if quorum > 1 else ""
    more = next_role(request, stages[request.stage_index].role, holders.for_project(request.project))
    if request.is_escalated and more:
        people += f"; it waited long, so {role_phrase(more, request)} may decide too"
    if len(stages) == 1:
        return f"{phrases[0][0].upper()}{phrases[0][1:]} decides{people}"
    return f"Stage {request.stage_index + 1} of {len(stages)}: {', then '.join(waits)}{people}"


def _escalates_to(request: AccessRequest, holders: RoleHolders) -> str:
    """Write who may decide too when the request has waited too long; empty for nobody, and once it has."""
    more = next_role(request, current_stage(request).role, holders.for_project(request.project))
    return role_phrase(more, request) if more and not request.is_escalated else ""


def _stuck(request: AccessRequest, holders: RoleHolders) -> str:
    """Say which roles nobody holds who could decide a request that nobody can decide now."""
    here = holders.for_project(request.project)
    now = (policy.routed_role(role, here, request.askers) for role in roles_now(request, here))
    roles = " or ".join(dict.fromkeys(role_phrase(role, request) for role in now))
    some = any(each.stage_index == request.stage_index for each in decisions_of(request))
    others = ", besides who agreed already" if some else ""
    return nobody_decides(f"{roles}{others}")


def remarks(rows: Iterable[Mapping[str, Any]]) -> tuple[Remark, ...]:
    """Return what was said about a request, from the rows that come with it."""
    return tuple(Remark(**{**row, "at": datetime.fromisoformat(row["at"])}) for row in rows)


def _why_not(user: User, request: AccessRequest, holders: RoleHolders) -> str:
    if request.state == RequestStatus.PENDING:
        return why_not(user, request, holders)
    return f"This request is over: {request.state.label.lower()}."


def _checks(user: User, request: AccessRequest, holders: RoleHolders, allowed: Allowed) -> list[Check]:
    """Return the rules that decide() holds, and what an approver should look at besides."""
    here = holders.for_project(request.project)
    role = policy.routed_role(stages_of(request)[request.stage_index].role, here, request.askers)
    project, person = request.project, request.beneficiary
    checks = [Check(tone="bad", text=text) for text in refusals(request)]
    if user.pk in here.get(role, policy.NOBODY) - request.askers:
        checks.append(_ok(f"You are {role_phrase(role, request)} and did not make this request."))
    if request.beneficiary_works:
        checks.append(_ok(f"{person} works in team {project.team}."))
    if request.kind != RequestKind.BREAK_GLASS and request.duration_days <= allowed.days:
        days = counted(request.duration_days, "day")
        checks.append(_ok(f"{days} of the {allowed.days} that {request.tier} allows."))
    checks += [Check(tone="warn", text=text) for text in lowered(request, allowed)]
    checks.append(
        _ok("The project has an owner and a cost centre.")
        if project.owner.is_active and project.cost_centre
        else Check(tone="warn", text="The project's owner has left, or it has no cost centre.")
    )
    return checks


def _ok(text: str) -> Check:
    return Check(tone="ok", text=text)


def _access_until(request: AccessRequest, longest_days: int) -> datetime | None:
    """Return until when access lasts, or would if it were approved now; None when it is over.

    A broken glass gave its access already.
    """
    if request.state != RequestStatus.PENDING or request.kind == RequestKind.BREAK_GLASS:
        return request.granted_until
    until = clock.now() + timedelta(days=min(request.duration_days, longest_days))
    return min(until, request.extends_key.expires_at) if request.extends_key else until


def _held(earlier: list[AccessRequest]) -> tuple[Held, ...]:
    return tuple(
        Held(text=f"{request.tier} in {request.project}", expires_at=request.granted_until)
        for request in earlier
        if request.granted_until
    )


def _history(request: AccessRequest) -> list[HistoryLine]:
    lines = [HistoryLine(at=request.created_at, text=f"{request.requester} asked for {request.tier}")]
    if request.revision > 1:
        lines += _amendments(request)
    lines += [
        HistoryLine(at=decision.at, text=_decision_text(decision)) for decision in request.decisions.all()
    ]
    if request.state == RequestStatus.WITHDRAWN and request.decided_at:
        lines.append(HistoryLine(at=request.decided_at, text=f"{request.requester} withdrew it"))
    if request.state == RequestStatus.CLOSED and request.decided_at:
        lines.append(HistoryLine(at=request.decided_at, text=f"Closed: {request.closed_reason}"))
    if request.state == RequestStatus.EXPIRED:
        lines.append(HistoryLine(at=request.decide_by, text="Nobody decided in time"))
    return lines


def _amendments(request: AccessRequest) -> list[HistoryLine]:
    lines = []
    for event in revisions_of(request):
        if event.action == "request.restarted":
            lines.append(HistoryLine(at=event.at, text=f"It started again: {event.reason}"))
            continue
        changed = [label for name, label in FIELD_NAMES.items() if name in event.after]
        lines.append(
            HistoryLine(at=event.at, text=f"{request.requester} changed {', '.join(changed) or 'it'}")
        )
    return lines


def _decision_text(decision: Decision) -> str:
    what = Verdict(decision.verdict).label.lower()
    terms = []
    if decision.duration_days is not None:
        terms.append(f"for {counted(decision.duration_days, 'day')}")
    if decision.monthly_cap_usd is not None:
        terms.append(f"up to {format_usd(decision.monthly_cap_usd)} a month")
    lowered = f" {', '.join(terms)}" if terms else ""
    comment = f": {decision.comment}" if decision.comment else ""
    giver = f" for {decision.on_behalf_of}" if decision.on_behalf_of else ""
    return f"{decision.actor}{giver} {what}{lowered}{comment}"
