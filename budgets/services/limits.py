"""Opens budgets and changes limits. A limit is a row, never edited; the newest is in force at its commit."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import available_timezones

import structlog
from django.db import IntegrityError, transaction

from budgets import selectors
from budgets.allocation import Node
from budgets.authority import Change, powers, require_room
from budgets.errors import BudgetExistsError
from budgets.expressions import ClockTimestamp
from budgets.models import (
    HIGHEST_PERCENT,
    MOST_PERCENTS,
    Allocation,
    Budget,
    BudgetLimit,
    LimitKind,
    Mode,
    RollOver,
    ScopeKind,
    Window,
    usual_percents,
)
from budgets.schedules import Schedule, Step
from budgets.services.common import (
    LockedBudget,
    clean_reason,
    lock_budget,
    lock_limits,
    record,
    require_confirmation,
)
from budgets.types import Mandate, ScopePlace
from catalog.models import LlmModel, Tier
from core.errors import InvalidInputError, NotFoundError
from core.money import format_usd
from teams.errors import RoleNeededError
from teams.models import Department, User

log = structlog.get_logger(__name__)

ANCHORS = {Window.WEEK: 7, Window.FISCAL_YEAR: 12}
NO_ZONES = {"Factory", "localtime"}  # of the machine, not of a place: PostgreSQL refuses them
MOST_OVERCOMMIT = Decimal("999.99")
ONE_OPEN_PER_SLOT = "budget_one_open_per_scope_window_mode_filter"


@transaction.atomic
def open_budget(
    *,
    actor: User | None,
    scope_kind: ScopeKind,
    scope_id: int,
    department: Department | None,
    window: Window,
    mode: Mode,
    amount_usd: Decimal | None,
    reason: str,
    only_tier: Tier | None = None,
    only_model: LlmModel | None = None,
    time_zone: str = "UTC",
    window_anchor: int = 1,
    allocation: Allocation = Allocation.POOL,
    overcommit_ratio: Decimal = Decimal(1),
    roll_over: RollOver = RollOver.NONE,
    alert_percents: Sequence[int] | None = None,
) -> Budget:
    """Open a budget with its first limit, in force at once; `actor` None is the system itself.

    `amount_usd` None is no limit, 0 refuses everything. Raises InvalidInputError for a scope, zone, anchor or
    rule that cannot be, RoleNeededError, HeadroomError with the numbers, and BudgetExistsError.
    """
    text = clean_reason(reason)
    _require_amount(amount_usd)
    _require_calendar(window, window_anchor, time_zone)
    require_rules(window, allocation, overcommit_ratio, roll_over)
    if only_tier is not None and only_model is not None:
        raise InvalidInputError("A budget is for one tier or for one model, not both.", field="only_model")
    place = selectors.scope_place(scope_kind, scope_id)
    if scope_kind is not ScopeKind.ORGANISATION and place.department_id != (department and department.pk):
        raise InvalidInputError("This scope does not exist in this department.", field="scope_id")
    budget = Budget(
        scope_kind=scope_kind,
        scope_id=scope_id,
        department=department,
        window=window,
        window_anchor=window_anchor,
        time_zone=time_zone,
        mode=mode,
        allocation=allocation,
        overcommit_ratio=overcommit_ratio,
        roll_over=roll_over,
        only_tier=only_tier,
        only_model=only_model,
        alert_percents=require_percents(alert_percents or usual_percents()),
    )
    node = _require_opening(actor, budget, place, amount_usd)
    write_once(budget)
    _write(actor=actor, budget=budget, amount_usd=amount_usd, reason=text)
    what = ("scope_kind", "window", "mode", "allocation", "overcommit_ratio", "roll_over", "alert_percents")
    after = {"limit_usd": amount_usd, **{name: getattr(budget, name) for name in what}}
    record(actor, "budget.opened", budget, node, after=after, reason=text)
    return budget


@transaction.atomic
def change_limit(
    *,
    actor: User | None,
    budget: Budget,
    amount_usd: Decimal | None,
    reason: str,
    valid_from: datetime | None = None,
    confirm: bool = False,
    mandate: Mandate | None = None,
) -> BudgetLimit:
    """Give a budget another base limit, in force on the next call or from `valid_from` on.

    With a `mandate` the actor does it for its giver, within what that role may. The same as is in force then
    writes nothing. Raises RoleNeededError, HeadroomError with the numbers,
    BudgetClosedError, InvalidInputError for a `valid_from` that is not to come, and NeedsConfirmationError
    when the new limit is below what is spent and held and `confirm` is not set.
    """
    text = clean_reason(reason)
    _require_amount(amount_usd)
    here = lock_budget(actor, budget, mandate=mandate)
    if valid_from is not None and valid_from <= here.now:
        raise InvalidInputError("Enter a moment that is still to come.", field="valid_from")
    at = valid_from or here.now
    ruling = here.node.schedule.base_at(at)
    if ruling is not None and ruling.amount_usd == amount_usd:
        return BudgetLimit.objects.get(pk=ruling.number)
    asked = "No limit" if amount_usd is None else format_usd(amount_usd)
    after = here.node.plus(Step(amount_usd=amount_usd, valid_from=at))
    _require(here, after, asked=asked, asked_usd=amount_usd)
    if not confirm:
        require_confirmation(here, after, at=at)
    limit = _write(actor=actor, budget=here.budget, amount_usd=amount_usd, reason=text, valid_from=valid_from)
    record(
        actor,
        "budget.limit_planned" if valid_from else "budget.limit_changed",
        here.budget,
        here.node,
        before={"limit_usd": ruling.amount_usd if ruling else None},
        after={"limit_usd": amount_usd, **({"valid_from": valid_from} if valid_from else {})},
        reason=text,
        on_behalf_of=here.on_behalf_of,
    )
    return limit


@transaction.atomic
def withdraw_plan(*, actor: User | None, budget: Budget, valid_from: datetime, reason: str) -> BudgetLimit:
    """Take back what was planned for a moment, by another row of that moment: the limit from before goes on.

    Raises NotFoundError when nothing is planned for it, and what `change_limit` raises: others may have
    counted on the plan.
    """
    here = lock_budget(actor, budget)
    plans = {step.valid_from: step for step in here.node.schedule.plans_after(here.now)}
    if valid_from not in plans:
        raise NotFoundError("No limit is planned for this moment. It may be in force already.")
    earlier = [step for step in here.node.schedule.steps if step.valid_from < valid_from]
    ruling = Schedule(steps=tuple(earlier)).base_at(valid_from)
    return change_limit(
        actor=actor,
        budget=here.budget,
        amount_usd=ruling.amount_usd if ruling else None,
        reason=reason,
        valid_from=valid_from,
        confirm=True,
    )


@transaction.atomic
def top_up(
    *,
    actor: User | None,
    budget: Budget,
    amount_usd: Decimal,
    valid_until: datetime,
    reason: str,
    mandate: Mandate | None = None,
) -> BudgetLimit:
    """Add to a budget's limit from the next call until `valid_until`, in US dollars; `actor` approves it.

    With a `mandate` he does it for its giver, within what that role may. The same again by the same person
    while it is valid (a second click) writes nothing. Raises InvalidInputError for nothing to add, no limit
    to add to, or an end that is past, RoleNeededError, HeadroomError with the numbers, and BudgetClosedError.
    """
    text = clean_reason(reason)
    if amount_usd <= 0:
        raise InvalidInputError("A top-up is more than 0.", field="amount_usd")
    here = lock_budget(actor, budget, mandate=mandate)
    if valid_until <= here.now:
        raise InvalidInputError("Enter an end that is still to come.", field="valid_until")
    limit_usd = here.node.schedule.limit_at(here.now)
    if limit_usd is None:
        raise InvalidInputError("There is no limit here to add to.", field="amount_usd")
    terms: dict[str, Any] = {"amount_usd": amount_usd, "valid_until": valid_until, "actor": actor}
    same = here.budget.limits.filter(**terms, kind=LimitKind.TOP_UP, reason=text).order_by("pk").first()
    if same is not None:
        return same
    after = here.node.plus(Step(amount_usd=amount_usd, valid_from=here.now, valid_until=valid_until))
    _require(here, after, asked=f"{format_usd(amount_usd)} on top", asked_usd=amount_usd)
    limit = _write(budget=here.budget, reason=text, kind=LimitKind.TOP_UP, **terms)
    record(
        actor,
        "budget.topped_up",
        here.budget,
        here.node,
        before={"limit_usd": limit_usd},
        after={"limit_usd": limit_usd + amount_usd, "top_up_usd": amount_usd, "valid_until": valid_until},
        reason=text,
        on_behalf_of=here.on_behalf_of,
    )
    return limit


def require_rules(
    window: Window, allocation: Allocation, overcommit_ratio: Decimal, roll_over: RollOver
) -> None:
    """Raise InvalidInputError for rules that cannot be: the table's constraints as sentences."""
    if allocation is Allocation.OVERCOMMIT and not 1 <= overcommit_ratio <= MOST_OVERCOMMIT:
        raise InvalidInputError(
            f"Enter a ratio from 1 to {MOST_OVERCOMMIT}, such as 1.5.", field="overcommit_ratio"
        )
    if allocation is not Allocation.OVERCOMMIT and overcommit_ratio != 1:
        raise InvalidInputError("Only overcommit has a ratio.", field="overcommit_ratio")
    if overcommit_ratio != overcommit_ratio.quantize(Decimal("0.01")):
        raise InvalidInputError("A ratio has two decimals at most.", field="overcommit_ratio")
    if window is Window.LIFETIME and roll_over is not RollOver.NONE:
        raise InvalidInputError("A lifetime has no next window to roll over into.", field="roll_over")


def require_percents(percents: Sequence[int]) -> tuple[int, ...]:
    """Return shares of a limit, each once and in order. Raises InvalidInputError for those that cannot be."""
    chosen = tuple(sorted(set(percents)))
    if not 1 <= len(chosen) <= MOST_PERCENTS or chosen[0] < 1 or chosen[-1] > HIGHEST_PERCENT:
        raise InvalidInputError(
            f"Name 1 to {MOST_PERCENTS} shares of the limit, from 1 to {HIGHEST_PERCENT} per cent.",
            field="alert_percents",
        )
    return chosen


def write_once(budget: Budget) -> None:
    """Save a new budget or its new mode. Raises BudgetExistsError when there is such an open one already."""
    try:
        with transaction.atomic():
            budget.save()
    except IntegrityError as error:
        if ONE_OPEN_PER_SLOT not in str(error):
            raise
        mode, window = Mode(budget.mode).label.lower(), Window(budget.window).label.lower()
        raise BudgetExistsError(
            f"There is a {mode} {window} budget here already. Change its limit."
        ) from error


def _require_opening(
    actor: User | None, budget: Budget, place: ScopePlace, amount_usd: Decimal | None
) -> Node:
    """Check a budget that is not there yet against its neighbours, under the lock."""
    now = lock_limits(Window(budget.window))
    may = powers(actor, place)
    if not may.may_change:
        raise RoleNeededError(f"You may not set this limit. Ask {may.who_may}.")
    node = Node(
        id=0,
        place=place,
        name="it",
        window=Window(budget.window),
        only_tier=budget.only_tier_id,
        only_model_id=budget.only_model_id,
        mode=Mode(budget.mode),
        allocation=Allocation(budget.allocation),
        overcommit_ratio=budget.overcommit_ratio,
        schedule=Schedule(steps=(Step(amount_usd=amount_usd, valid_from=now),)),
    )
    change = Change(
        before=None,
        after=node,
        around=selectors.neighbourhood(place, Window(budget.window)),
        asked=format_usd(amount_usd),
        asked_usd=amount_usd,
    )
    require_room(change, may, now=now)
    return node


def _require(here: LockedBudget, after: Node, *, asked: str, asked_usd: Decimal | None) -> None:
    change = Change(before=here.node, after=after, around=here.around, asked=asked, asked_usd=asked_usd)
    require_room(change, here.powers, now=here.now)


def _require_amount(amount_usd: Decimal | None) -> None:
    if amount_usd is not None and amount_usd < 0:
        raise InvalidInputError("A limit is 0 or more.", field="amount_usd")


def _require_calendar(window: Window, anchor: int, time_zone: str) -> None:
    if time_zone not in available_timezones() - NO_ZONES:
        raise InvalidInputError(
            f"{time_zone!r} is not a time zone. Use a name such as Europe/Berlin.", field="time_zone"
        )
    if not 1 <= anchor <= ANCHORS.get(window, 1):
        raise InvalidInputError(f"A {window.label.lower()} cannot start at {anchor}.", field="window_anchor")


def _write(
    *, budget: Budget, amount_usd: Decimal | None, valid_from: datetime | None = None, **fields: Any
) -> BudgetLimit:
    # By the database's clock, which decides calls: a web server whose clock is ahead would delay the limit.
    limit = BudgetLimit.objects.create(
        budget=budget, amount_usd=amount_usd, valid_from=valid_from or ClockTimestamp(), **fields
    )
    limit.refresh_from_db(fields=["valid_from"])
    log.info("budget.limit_set", budget=budget.public_id, amount_usd=format_usd(amount_usd))
    return limit
