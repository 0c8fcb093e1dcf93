"""What the page of a request for more budget says, derived at this moment from the books."""

from dataclasses import dataclass
from decimal import Decimal

from django.db.models import QuerySet

from approvals.cases import Check, Remark, remarks
from approvals.eligibility import may_lend, nobody_decides
from approvals.facts import shown
from approvals.models import BudgetRequest, RequestStatus
from approvals.owners import (
    able_owners,
    escalation_text,
    holders_here,
    lent_rows_of,
    names_of_owners,
    owner_text,
    why_not_owner,
)
from approvals.services.common import revisions_of
from approvals.services.increases.common import outcome_text
from budgets.models import Budget, Mode, ScopeKind
from budgets.selectors import (
    budget_rows,
    open_budgets_above,
    open_budgets_below,
    scope_place,
    visible_budgets,
)
from budgets.types import BudgetRow, ScopePlace
from catalog.selectors import models_with_prices
from core.money import ZERO
from core.shapes import Event
from keys.models import ApiKey
from teams.models import Project, Role, User
from teams.selectors import RoleHolders, names_of, role_holders
from usage.selectors import forecast_budgets, project_usage_last_30_days, reprice
from usage.types import Alternative

WIDEST_FIRST = tuple(ScopeKind)
EARLIER_SHOWN = 8
FIELD_NAMES = {"limit_usd": "the limit", "until": "its end", "reason": "the reason"}


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
    """A request for more budget as its decider and its requester read it; `lead` is empty above teams.

    `alternatives` are for what the project used in the last 30 days, against the model it spends most on.
    """

    request: BudgetRequest
    row: BudgetRow
    forecast_usd: Decimal | None
    parent: Parent | None
    alternatives: tuple[Alternative, ...]
    lead: str
    owner_text: str
    deciders: tuple[str, ...]
    stuck: str
    may_decide: bool
    for_whom: str
    may_lend: bool
    escalates_to: str
    may_see_budget: bool
    why_not: str
    checks: tuple[Check, ...]
    comments: tuple[Remark, ...]
    earlier: tuple[BudgetRequest, ...]
    history: tuple[Event, ...]


def increase_case(user: User, request: BudgetRequest) -> IncreaseCase:
    """Return what the page says of a request that `selectors` found.

    Seven queries, two more for a project's, two more for a delegate, one more for a changed one.
    """
    row = budget_rows(Budget.objects.filter(pk=request.budget_id))[0]
    forecast = forecast_budgets([row]).get(row.id)
    forecast_usd = forecast.end_usd if forecast else None
    holders = role_holders()
    is_open = request.state is RequestStatus.PENDING
    can = able_owners(request, holders) if is_open else {}
    giver = can.get(user.pk)
    why_not = why_not_owner(user, request, holders) if is_open else "This request is over."
    phrase = owner_text(request, holders)
    parent = parent_of(row, request.limit_usd)
    return IncreaseCase(
        request=request,
        row=row,
        forecast_usd=forecast_usd,
        parent=parent,
        alternatives=_alternatives(request.project) if request.project and is_open else (),
        lead=_lead(request, holders),
        owner_text=f"{phrase[0].upper()}{phrase[1:]} decides",
        deciders=names_of_owners(request, holders) if can else (),
        stuck=nobody_decides(phrase) if is_open and not can else "",
        may_decide=user.pk in can,
        for_whom=holders.names[giver] if giver else "",
        may_lend=user.pk in can and may_lend(user, holders_here(request, holders)),
        escalates_to=escalation_text(request) if is_open else "",
        may_see_budget=_may_see_budget(user, request),
        why_not="" if user.pk in can else why_not,
        checks=tuple(_checks(request, row, forecast_usd, parent)) if is_open else (),
        comments=remarks(request.said),
        earlier=tuple(_earlier(request)),
        history=tuple(sorted(_history(request), key=lambda line: line.at)),
    )


def _lead(request: BudgetRequest, holders: RoleHolders) -> str:
    """Return who leads the team that the budget is in; empty where it is in none."""
    team = request.home_team
    if team is None:
        return ""
    leads = holders.for_place(team.pk, team.department_id)[Role.LEAD]
    return names_of(sorted(holders.names[person] for person in leads))


def _alternatives(project: Project) -> tuple[Alternative, ...]:
    """Return what the last 30 days would cost on the model that costs most, and on cheaper ones."""
    usage = project_usage_last_30_days(project)
    if not usage:
        return ()
    offered = models_with_prices()
    prices = {model.pk: rows for model, rows in offered.items()}
    return shown(reprice(usage, list(offered), asked=[usage[0].model_id], prices=prices))


def _checks(
    request: BudgetRequest, row: BudgetRow, forecast_usd: Decimal | None, parent: Parent | None
) -> list[Check]:
    """Return what whoever decides should look at."""
    who = request.requester
    checks = [Check(tone="ok", text=f"Somebody else than {who}, who asks, decides it.")]
    if forecast_usd is not None and row.limit_usd is not None:
        checks.append(_forecast_check(forecast_usd, row.limit_usd, request.limit_usd))
    if parent and parent.is_short:
        text = f"An approval hands out more than the budget of {parent.row.name} has."
        checks.append(Check(tone="warn", text=text))
    elif parent:
        checks.append(Check(tone="ok", text=f"It fits what the budget of {parent.row.name} has left."))
    return checks


def _forecast_check(forecast_usd: Decimal, limit_usd: Decimal, asked_usd: Decimal) -> Check:
    if forecast_usd > asked_usd:
        return Check(
            tone="warn", text="At this pace even what is asked for is passed before the window ends."
        )
    if forecast_usd > limit_usd:
        return Check(
            tone="ok", text="At this pace the limit of now is passed, and what is asked for is enough."
        )
    return Check(tone="warn", text="At this pace the limit of now is enough.")


def _earlier(request: BudgetRequest) -> QuerySet[BudgetRequest]:
    """Return what the same person asked for besides, the newest first. One query."""
    others = BudgetRequest.objects.filter(requester=request.requester_id).exclude(pk=request.pk)
    return others.placed()[:EARLIER_SHOWN]


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
        lines += _revisions(request)
    if request.state is RequestStatus.EXPIRED:
        return [*lines, Event(at=request.decide_by, text="Nobody decided in time")]
    if request.decided_at is None:
        return lines
    match request.status:
        case RequestStatus.WITHDRAWN:
            text = f"{request.requester} withdrew it"
        case RequestStatus.CLOSED:
            text = f"Closed: {request.comment}"
        case _:
            text = outcome_text(request)
    return [*lines, Event(at=request.decided_at, text=text)]


def _revisions(request: BudgetRequest) -> list[Event]:
    """Return what was changed, and when it started again. One query."""
    lines = []
    for event in revisions_of(request):
        changed = [
            label for name, label in FIELD_NAMES.items() if event.before.get(name) != event.after.get(name)
        ]
        text = (
            f"It started again: {event.reason}"
            if event.action == "budget_increase.restarted"
            else f"{request.requester} changed {', '.join(changed)}"
        )
        lines.append(Event(at=event.at, text=text))
    return lines
