"""What the templates of approvals show: a request as a line, as a case to decide, as the answer to it."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.urls import reverse

from approvals.cases import Case, Held, Remark, title_of
from approvals.facts import BudgetOutlook, ModelPrice
from approvals.models import AccessRequest, BudgetRequest, RequestKind, RequestStatus
from budgets.models import Window
from core import clock
from core.shapes import Event, Tone
from core.words import counted
from usage.types import Alternative

DUE_SOON = timedelta(days=1)
STATUS_TONES = {
    RequestStatus.PENDING: "warn",
    RequestStatus.APPROVED: "ok",
    RequestStatus.DENIED: "bad",
    RequestStatus.WITHDRAWN: "",
    RequestStatus.EXPIRED: "",
    RequestStatus.CLOSED: "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A request in the list, and US dollars `per` month or as the limit of a window.

    One on a page of its own is not shown beside the list.
    """

    url: str
    title: str
    requester: str
    expected_usd: Decimal
    asked_at: datetime
    due: Tone
    current: bool
    per: str = "a month"
    has_own_page: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierLine:
    """A request that the requester made before."""

    url: str
    title: str
    status: Tone
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a request ended, for whoever made it."""

    tone: str
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCard:
    """The key that an approval gave."""

    name: str
    state: Tone
    masked: str
    expires_at: datetime
    last_used_on: date | None
    url: str
    reveal_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is not as it was read."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a decision came to; `kept` is what had been entered and was not used."""

    tone: str
    title: str
    text: str
    changes: tuple[Change, ...] = ()
    kept: str = ""
    next_url: str = ""
    next_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Something said about a request; `offer_url` is where its requester takes the tier that was offered."""

    who: str
    at: datetime
    text: str
    offered: str
    offer_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """One request with everything that its page says."""

    id: str
    title: str
    booked_at: datetime | None
    requester: str
    asked_at: datetime
    due: Tone
    status: Tone
    reason: str
    project: str
    team: str
    lead: str
    models: tuple[ModelPrice, ...]
    expected_usd: Decimal
    expected_basis: str
    spent_usd: Decimal | None
    budgets: tuple[BudgetOutlook, ...]
    alternatives: tuple[Alternative, ...]
    duration_days: int
    access_until: datetime | None
    is_open: bool
    is_review: bool
    stage_text: str
    deciders: tuple[str, ...]
    stuck: str
    decide_by: datetime
    checks: tuple[Tone, ...]
    refusals: tuple[str, ...]
    may_decide: bool
    may_veto: bool
    for_whom: str
    may_lend: bool
    sla_at: datetime | None
    escalates_to: str
    why_not: str
    decide_url: str
    withdraw_url: str
    amend_url: str
    comment_url: str
    ticket: str
    ticket_url: str
    thread: tuple[Said, ...]
    grants: tuple[Held, ...]
    earlier: tuple[EarlierLine, ...]
    history: tuple[Event, ...]
    answer: Answer | None = None
    key: KeyCard | None = None
    extend_url: str = ""
    answers_offers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What is shown of money; nothing of it once a request is over, except the models."""

    models: tuple[ModelPrice, ...] = ()
    basis: str = ""
    spent_usd: Decimal | None = None
    budgets: tuple[BudgetOutlook, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    checks: tuple[Tone, ...] = ()


def row_of(request: AccessRequest, *, query: str = "", current: bool = False) -> Row:
    """Return a request as the list shows it; `query` keeps the list beside it the same."""
    return Row(
        url=reverse("approvals:detail", args=[request.public_id]) + query,
        title=title_of(request),
        requester=str(request.requester),
        expected_usd=request.expected_monthly_usd,
        asked_at=request.created_at,
        due=due_of(request),
        current=current,
    )


def row_of_increase(request: BudgetRequest) -> Row:
    """Return a request for more budget as the list shows it."""
    return Row(
        url=reverse("approvals:budget_request", args=[request.public_id]),
        title=str(request),
        requester=str(request.requester),
        expected_usd=request.limit_usd,
        asked_at=request.created_at,
        due=due_of(request),
        current=False,
        per="in all"
        if request.budget.window == Window.LIFETIME
        else f"a {request.budget.get_window_display().lower()}",
        has_own_page=True,
    )


def case_view(case: Case, costs: Costs, *, query: str = "") -> CaseView:
    """Return a case with its costs as the page shows it."""
    request = case.request
    pending = request.state is RequestStatus.PENDING
    return CaseView(
        id=request.public_id,
        title=case.title,
        booked_at=request.booked_at,
        requester=str(request.requester),
        asked_at=request.created_at,
        due=due_of(request),
        status=status_of(request),
        reason=request.reason,
        project=request.project.name,
        team=request.project.team.name,
        lead=case.lead,
        models=costs.models,
        expected_usd=request.expected_monthly_usd,
        expected_basis=costs.basis,
        spent_usd=costs.spent_usd,
        budgets=costs.budgets,
        alternatives=costs.alternatives,
        duration_days=request.duration_days,
        access_until=case.access_until,
        is_open=pending,
        is_review=request.kind == RequestKind.BREAK_GLASS,
        stage_text=case.stage_text,
        deciders=case.deciders,
        stuck=case.stuck,
        decide_by=request.decide_by,
        checks=(*(Tone(tone=check.tone, text=check.text) for check in case.checks), *costs.checks),
        refusals=case.refusals,
        may_decide=case.may_decide,
        may_veto=case.may_veto,
        for_whom=case.for_whom,
        may_lend=case.may_lend,
        sla_at=case.sla_at,
        escalates_to=case.escalates_to,
        why_not=case.why_not,
        decide_url=reverse("approvals:decide", args=[request.public_id]) + query,
        withdraw_url=_requesters_url(request, "withdraw") if pending else "",
        amend_url=_requesters_url(request, "amend") if pending else "",
        comment_url=reverse("approvals:comment", args=[request.public_id]) if pending else "",
        ticket=request.ticket,
        ticket_url=request.ticket if request.ticket.startswith("https://") else "",
        thread=tuple(_said(each, request, pending=pending) for each in case.comments),
        grants=case.grants,
        earlier=tuple(_earlier(past) for past in case.earlier),
        history=tuple(Event(text=line.text, at=line.at) for line in case.history),
    )


def _requesters_url(request: AccessRequest, name: str) -> str:
    """Return where a request can be changed or withdrawn; a broken glass stays as it is."""
    if request.kind == RequestKind.BREAK_GLASS:
        return ""
    return reverse(f"approvals:{name}", args=[request.public_id])


def _said(remark: Remark, request: AccessRequest, *, pending: bool) -> Said:
    stands = pending and remark.tier is not None and remark.revision == request.revision
    return Said(
        who=remark.who,
        at=remark.at,
        text=remark.text,
        offered=f"Tier {remark.tier}" if remark.tier else "",
        offer_url=reverse("approvals:take_offer", args=[remark.id]) if stands else "",
    )


def status_of(request: AccessRequest | BudgetRequest) -> Tone:
    """Return what became of a request, in words."""
    state = request.state
    return Tone(tone=STATUS_TONES[state], text=state.label)


def due_of(request: AccessRequest | BudgetRequest) -> Tone:
    """Return how long a request can still be decided, or what became of it."""
    if request.state is not RequestStatus.PENDING:
        return status_of(request)
    left = request.decide_by - clock.now()
    return Tone(tone="warn" if left < DUE_SOON else "", text=f"Due in {_length(left)}")


def _length(left: timedelta) -> str:
    for size, name in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour")):
        number = left // size
        if number:
            return counted(number, name)
    return "less than an hour"


def earlier_increase(past: BudgetRequest) -> EarlierLine:
    """Return a request for more budget that the requester made before."""
    return EarlierLine(
        url=reverse("approvals:budget_request", args=[past.public_id]),
        title=str(past),
        status=status_of(past),
        at=past.created_at,
    )


def _earlier(past: AccessRequest) -> EarlierLine:
    return EarlierLine(
        url=reverse("approvals:detail", args=[past.public_id]),
        title=str(past),
        status=status_of(past),
        at=past.created_at,
    )
