"""What the page of a request for more budget says, derived at this moment from the books."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from approvals.models import BudgetRequest, RequestStatus
from approvals.owners import (
    able_owners,
    deciding_role,
    lent_rows_of,
    names_of_owners,
    owner_phrase,
    why_not_owner,
)
from approvals.services.increases.asking import DECIDE_WITHIN_HOURS
from budgets.models import Budget, Mode, ScopeKind
from budgets.selectors import (
    budget_rows,
    open_budgets_above,
    open_budgets_below,
    scope_place,
    visible_budgets,
)
from budgets.types import BudgetRow, ScopePlace
from core.money import ZERO
from core.shapes import Event
from keys.models import ApiKey
from teams.models import User
from teams.selectors import role_holders
from usage.selectors import forecast_budgets

WIDEST_FIRST = tuple(ScopeKind)
DID = {
    RequestStatus.WITHDRAWN: "withdrew",
    RequestStatus.APPROVED: "approved",
    RequestStatus.DENIED: "denied",
    RequestStatus.CLOSED: "closed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The limited budget above, for the same window; `unallocated_usd` is what an approval leaves of it.

    That is its limit less the largest limit of each other budget of the kind, and less what is asked for.
    """

    row: BudgetRow
    unallocated_usd: Decimal

    @property
    def is_short(self) -> bool:
        """Whether an approval would hand out more than the parent has."""
        return self.unallocated_usd < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IncreaseCase:
    """A request for more budget as its decider and its requester read it."""

    request: BudgetRequest
    row: BudgetRow
    forecast_usd: Decimal | None
    parent: Parent | None
    owner_text: str
    deciders: tuple[str, ...]
    may_decide: bool
    for_whom: str
    may_see_budget: bool
    why_not: str
    history: tuple[Event, ...]


def increase_case(user: User, request: BudgetRequest) -> IncreaseCase:
    """Return what the page says of a request that `selectors` found. Six queries, two more for a delegate."""
    row = budget_rows(Budget.objects.filter(pk=request.budget_id))[0]
    forecast = forecast_budgets([row]).get(row.id)
    holders = role_holders()
    is_open = request.state is RequestStatus.PENDING
    can = able_owners(request, holders) if is_open else {}
    giver = can.get(user.pk)
    why_not = why_not_owner(user, request, holders) if is_open else "This request is over."
    phrase = owner_phrase(deciding_role(request, holders), request)
    return IncreaseCase(
        request=request,
        row=row,
        forecast_usd=forecast.end_usd if forecast else None,
        parent=parent_of(row, request.limit_usd),
        owner_text=f"{phrase[0].upper()}{phrase[1:]} decides",
        deciders=names_of_owners(request, holders) if can else (),
        may_decide=user.pk in can,
        for_whom=holders.names[giver] if giver else "",
        may_see_budget=_may_see_budget(user, request),
        why_not="" if user.pk in can else why_not,
        history=tuple(_history(request)),
    )


def parent_of(row: BudgetRow, wanted_usd: Decimal) -> Parent | None:
    """Return the nearest limited budget above for the same window, if there is one. Three queries."""
    place = scope_place(row.scope_kind, row.scope_id)
    above = budget_rows(open_budgets_above(place).filter(window=row.window, **_UNFILTERED))
    wider = [
        each
        for each in above
        if each.limit_usd is not None
        and WIDEST_FIRST.index(each.scope_kind) < WIDEST_FIRST.index(row.scope_kind)
        and each.mode is not Mode.NOTIFY
    ]
    if not wider:
        return None
    nearest = wider[-1]
    others: dict[int, Decimal] = {}
    for each in _siblings(nearest, row, place):
        if each.limit_usd is not None and each.scope_id != row.scope_id:
            others[each.scope_id] = max(others.get(each.scope_id, ZERO), each.limit_usd)
    limit_usd = nearest.limit_usd or ZERO
    return Parent(row=nearest, unallocated_usd=limit_usd - sum(others.values(), ZERO) - wanted_usd)


def _may_see_budget(user: User, request: BudgetRequest) -> bool:
    """Whether the page of the budget opens for the reader: whom a role was lent may be an outsider there."""
    if not any(row["taker_id"] == user.pk for row in lent_rows_of(request)):
        return True
    keys = ApiKey.objects.visible_to(user).order_by().values_list("pk", flat=True)
    return visible_budgets(user, key_ids=keys).filter(pk=request.budget_id).exists()


_UNFILTERED = {"only_tier__isnull": True, "only_model__isnull": True}


def _siblings(parent: BudgetRow, row: BudgetRow, place: ScopePlace) -> list[BudgetRow]:
    """Return the budgets of the same kind and window below the parent."""
    above = ScopePlace(
        kind=parent.scope_kind,
        id=parent.scope_id,
        project_id=place.project_id if parent.scope_kind is ScopeKind.PROJECT else None,
        team_id=place.team_id if parent.scope_kind in {ScopeKind.PROJECT, ScopeKind.TEAM} else None,
        department_id=None if parent.scope_kind is ScopeKind.ORGANISATION else place.department_id,
    )
    below = open_budgets_below(above).filter(window=row.window, scope_kind=row.scope_kind, **_UNFILTERED)
    return budget_rows(below.exclude(mode=Mode.NOTIFY))


def _history(request: BudgetRequest) -> list[Event]:
    lines = [Event(at=request.created_at, text=f"{request.requester} asked for more budget")]
    if request.revision > 1:
        changed_at = request.decide_by - timedelta(hours=DECIDE_WITHIN_HOURS)
        lines.append(Event(at=changed_at, text=f"{request.requester} changed it"))
    if request.state is RequestStatus.EXPIRED:
        return [*lines, Event(at=request.decide_by, text="Nobody decided in time")]
    if request.decided_at is None:
        return lines
    closed = request.status == RequestStatus.CLOSED
    who = "Purser" if closed else request.decided_by or request.requester
    giver = f" for {request.on_behalf_of}" if request.on_behalf_of else ""
    did = DID[RequestStatus(request.status)]
    comment = f": {request.comment}" if request.comment else ""
    return [*lines, Event(at=request.decided_at, text=f"{who}{giver} {did} it{comment}")]
