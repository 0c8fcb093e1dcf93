"""Asks for more of a budget, and takes it back."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import IntegrityError, transaction

from approvals.errors import AlreadyAskedError, NobodyCanApproveError
from approvals.models import BudgetRequest, RequestStatus
from approvals.models.increases import DECIDE_WITHIN
from approvals.owners import OWNERS, deciders_of, owner_phrase, who_can_decide
from approvals.services.common import past_its_time
from approvals.services.increases.common import (
    asked_facts,
    end,
    locked_increase,
    record_increase,
    require_open,
    write_expiry,
)
from approvals.services.increases.raising import obstacle, require_more, row_of_budget
from approvals.services.mails import mail_about_budget
from budgets.models import Budget, ScopeKind
from budgets.selectors import scope_place, seen_by
from core import clock
from core.errors import InvalidInputError, NotAllowedError
from core.money import format_usd, quantise
from core.reasons import checked_purpose
from keys.models import ApiKey
from teams.models import Role, User
from teams.selectors import RoleHolders, names_of, role_holders
from teams.services.members import locked_person

LONGEST = timedelta(days=366)
MIN_REASON_CHARACTERS, MAX_REASON_CHARACTERS = 10, 2_000
RESTARTED = ("role", "revision", "revised_at", "revised_in", "decide_by", "reminders")
ONE_PENDING = "budget_request_one_pending_per_person_and_budget"


@transaction.atomic
def ask_increase(
    *, actor: User, budget: Budget, limit_usd: Decimal, reason: str, until: datetime | None = None
) -> BudgetRequest:
    """Ask the owner of the parent for a higher limit: for good, or until a moment, as a top-up.

    The caller has checked that the actor may see the budget; who leaves meanwhile asks for nothing. Raises
    InvalidInputError, also for what he may set himself, NotAllowedError, NobodyCanApproveError, and
    AlreadyAskedError naming the request that waits.
    """
    _require_sight(locked_person(actor), budget)
    wanted_usd, text = checked_wish(budget, limit_usd, reason, until)
    _require_out_of_reach(actor, budget, wanted_usd, until)
    _require_no_other(actor, budget)
    request = BudgetRequest(
        requester=actor,
        budget=budget,
        limit_usd=wanted_usd,
        until=until,
        reason=text,
        created_at=clock.now(),
        **_place(budget),
    )
    _begin(request)
    try:
        with transaction.atomic():
            request.save()
    except IntegrityError as error:
        if ONE_PENDING not in str(error):
            raise
        raise AlreadyAskedError("You asked for more of this budget a moment ago, and it waits.") from error
    record_increase(actor, "budget_increase.asked", request, after=asked_facts(request), reason=text)
    _tell_deciders(request)
    return request


def start_again(request: BudgetRequest, *fields: str) -> None:
    """Write a locked request as its next revision; `fields` are those that the caller set on it.

    Raises NobodyCanApproveError.
    """
    request.revision += 1
    request.reminders = 0
    _begin(request)
    request.save(update_fields=[*fields, *RESTARTED])
    _tell_deciders(request)


def _begin(request: BudgetRequest) -> None:
    """Start the clock, and find out whose decision it is where the budget is now."""
    request.revised_at = clock.now()
    request.revised_in = request.project.team if request.project else None
    request.decide_by = request.revised_at + DECIDE_WITHIN
    request.role = _owner_role(request)


@transaction.atomic
def withdraw_increase(*, actor: User, request: BudgetRequest) -> BudgetRequest:
    """Take a pending request back; only its requester may, and the second time changes nothing."""
    mine = locked_increase(request)
    require_asker(actor, mine)
    if mine.status == RequestStatus.WITHDRAWN:
        return mine
    require_open(mine)
    end(mine, RequestStatus.WITHDRAWN)
    record_increase(actor, "budget_increase.withdrawn", mine, after={"status": mine.status})
    return mine


def checked_wish(
    budget: Budget, limit_usd: Decimal, reason: str, until: datetime | None
) -> tuple[Decimal, str]:
    """Return the amount and the reason when one can ask for them. Raises InvalidInputError."""
    text = checked_purpose(
        reason, purpose="what the money is for", least=MIN_REASON_CHARACTERS, most=MAX_REASON_CHARACTERS
    )
    if until is not None and not clock.now() < until <= clock.now() + LONGEST:
        raise InvalidInputError("Enter an end that is still to come, within a year.", field="until")
    if budget.closed_at is not None:
        raise InvalidInputError("This budget is closed. Look at those that are open.", field="limit_usd")
    require_more(budget, row_of_budget(budget), limit_usd, until)
    return quantise(limit_usd), text


def _require_out_of_reach(actor: User, budget: Budget, limit_usd: Decimal, until: datetime | None) -> None:
    if obstacle(actor=actor, budget=budget, limit_usd=limit_usd, until=until) is None:
        raise InvalidInputError(
            f"You may set {format_usd(limit_usd)} yourself: change the limit on the page of the budget.",
            field="limit_usd",
        )


def _require_sight(actor: User, budget: Budget) -> None:
    """Refuse who does not see the budget any more, behind the lock of the person. Raises NotAllowedError."""
    keys = ApiKey.objects.visible_to(actor).order_by().values_list("pk", flat=True)
    if not Budget.objects.filter(seen_by(actor, key_ids=keys), pk=budget.pk).exists():
        raise NotAllowedError("You do not see this budget any more, so you cannot ask for more of it.")


def _require_no_other(actor: User, budget: Budget) -> None:
    waiting = BudgetRequest.objects.filter(requester=actor, budget=budget, status=RequestStatus.PENDING)
    found = waiting.select_for_update(no_key=True).order_by("pk").first()
    if found is None:
        return
    same = BudgetRequest.objects.placed().get(pk=found.pk)
    if past_its_time(same):
        write_expiry(same)
        return
    raise AlreadyAskedError(
        f"You asked for {format_usd(same.limit_usd)} on {same.created_at:%d %B %Y}, and"
        f" {names_of(who_can_decide(same))} can decide it. Change that request or withdraw it.",
        request=same.public_id,
        at=same.created_at.isoformat(),
    )


def _place(budget: Budget) -> dict[str, int | None]:
    """Return where a budget is, as the request keeps it."""
    kind = ScopeKind(budget.scope_kind)
    place = scope_place(kind, budget.scope_id)
    match kind:
        case ScopeKind.KEY | ScopeKind.PROJECT:
            return {"project_id": place.project_id}
        case ScopeKind.TEAM:
            return {"team_id": place.team_id}
        case _:
            return {"department_id": place.department_id}


def _owner_role(request: BudgetRequest) -> Role:
    """Return whose decision it is: of the nearest owner of the parent who could set what is asked for.

    Raises NobodyCanApproveError naming the role that nobody else holds.
    """
    holders = role_holders()
    *nearer, last = OWNERS[ScopeKind(request.budget.scope_kind)]
    for role in nearer:
        if _could_set(request, role, holders):
            return role
    request.role = last
    if not deciders_of(request, holders):
        raise NobodyCanApproveError(
            f"It needs {owner_phrase(last, request)}, and nobody else holds that role now."
            " Ask an administrator to name somebody, then ask again.",
            role=last,
        )
    return last


def _could_set(request: BudgetRequest, role: Role, holders: RoleHolders) -> bool:
    """Whether somebody in this very role, who does not ask, could set the limit himself now."""
    request.role = role
    team = request.home_team
    leads = holders.leads.get(team.pk, frozenset()) if team else frozenset[int]()
    people = User.objects.filter(pk__in=(deciders_of(request, holders) & leads)).order_by("pk")
    return any(
        obstacle(actor=person, budget=request.budget, limit_usd=request.limit_usd, until=request.until)
        is None
        for person in people
    )


def require_asker(actor: User, request: BudgetRequest) -> None:
    """Let only the person who asked change or withdraw. Raises NotAllowedError."""
    if actor.pk != request.requester_id or not actor.is_active:
        raise NotAllowedError(f"Only {request.requester}, who made this request, may change or withdraw it.")


def _tell_deciders(request: BudgetRequest) -> None:
    span = f"until {request.until:%d %B %Y at %H:%M} UTC" if request.until else "for good"
    body = (
        f"{request.requester} asks for a limit of {format_usd(request.limit_usd)} {span}.\n\n"
        f"{request.reason}\n\nDecide by {request.decide_by:%d %B %Y at %H:%M} UTC."
        " Opening the page decides nothing."
    )
    for person in who_can_decide(request):
        mail_about_budget(
            request,
            person,
            event=f"waiting:{request.revision}",
            subject=f"{request.requester} asks for more budget for {request.place_name}",
            body=body,
        )
