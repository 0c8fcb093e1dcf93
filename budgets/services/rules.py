"""Changes what happens at a limit and how it is shared, and closes budgets."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import structlog
from django.db import transaction

from budgets.authority import Change, binds_lead, require_room
from budgets.models import Allocation, Budget, Mode, RollOver
from budgets.services.common import (
    LockedBudget,
    changed,
    clean_reason,
    lock_budget,
    record,
    require_confirmation,
)
from budgets.services.limits import require_percents, require_rules, write_once
from budgets.services.rollover import open_window
from core import clock
from core.money import format_usd
from teams.errors import RoleNeededError
from teams.models import User

log = structlog.get_logger(__name__)

RULES = ("mode", "allocation", "overcommit_ratio", "roll_over", "alert_percents")
# From the tightest to the loosest.
MODES = (Mode.HARD, Mode.SOFT, Mode.NOTIFY)
ROLL_OVERS = (RollOver.DEBT, RollOver.NONE, RollOver.UNUSED)


@transaction.atomic
def set_rules(
    *,
    actor: User | None,
    budget: Budget,
    mode: Mode,
    allocation: Allocation,
    roll_over: RollOver,
    reason: str,
    overcommit_ratio: Decimal = Decimal(1),
    alert_percents: Sequence[int] | None = None,
    confirm: bool = False,
) -> Budget:
    """Give a budget other rules, in force on the next call; roll-over from the next window on.

    `alert_percents` stay as they are where none are given. The same again writes nothing. Who is bound as a
    lead may tighten and not loosen: a weaker mode, a looser allocation, more that rolls over. Raises
    InvalidInputError, RoleNeededError, HeadroomError with the numbers, BudgetExistsError, BudgetClosedError,
    and NeedsConfirmationError when a limit that becomes hard is below what is spent and held and `confirm` is
    not set.
    """
    text = clean_reason(reason)
    here = lock_budget(actor, budget, refusal="You may not set these rules.")
    wanted = {
        "mode": mode,
        "allocation": allocation,
        "overcommit_ratio": overcommit_ratio,
        "roll_over": roll_over,
        "alert_percents": here.row.alert_percents
        if alert_percents is None
        else require_percents(alert_percents),
    }
    before, after = changed({name: getattr(here.row, name) for name in RULES}, wanted, names=RULES)
    if not after:
        return here.budget
    require_rules(here.row.window, allocation, overcommit_ratio, roll_over)
    _require_tightening(here, mode, allocation, overcommit_ratio, roll_over)
    node = replace(here.node, mode=mode, allocation=allocation, overcommit_ratio=overcommit_ratio)
    limit = format_usd(here.node.schedule.limit_at(here.now))
    shared = "" if allocation is Allocation.POOL else f", {allocation.value},"
    change = Change(
        before=here.node,
        after=node,
        around=here.around,
        asked=f"A {mode.label.lower()} limit of {limit}{shared}",
        field="mode" if mode is not here.node.mode else "allocation",
    )
    require_room(change, here.powers, now=here.now)
    if not confirm:
        require_confirmation(here, node, at=here.now)
    if "roll_over" in after:
        open_window(here.budget)  # or windows that nobody opened would pass on by a rule that they never had
    for name, value in after.items():
        setattr(here.budget, name, value)
    write_once(here.budget)
    record(actor, "budget.rules_changed", here.budget, here.node, before=before, after=after, reason=text)
    log.info("budget.rules_changed", budget=here.budget.public_id, rules=sorted(after))
    return here.budget


@transaction.atomic
def close_budget(*, actor: User | None, budget: Budget, reason: str) -> Budget:
    """End a budget on the next call; what it spent stays, and another may be opened in its place.

    Raises RoleNeededError for a lead whose team has a limit, HeadroomError when what is below would count
    on a budget above that has no room for it, and BudgetClosedError the second time.
    """
    text = clean_reason(reason)
    here = lock_budget(actor, budget, refusal="You may not close this budget.")
    if here.powers.as_lead and binds_lead(here.node, here.around, here.now):
        raise RoleNeededError(
            f"To close a budget is to take its limit away, which a lead may not. Ask {here.powers.who_may}."
        )
    change = Change(
        before=here.node,
        after=replace(here.node, mode=Mode.NOTIFY),
        around=here.around,
        asked="Closing this budget",
        field="reason",
    )
    require_room(change, here.powers, now=here.now)
    here.budget.closed_at = clock.now()
    here.budget.save(update_fields=["closed_at"])
    record(
        actor,
        "budget.closed",
        here.budget,
        here.node,
        before={"limit_usd": here.row.limit_usd},
        after={"closed_at": here.budget.closed_at},
        reason=text,
    )
    log.info("budget.closed", budget=here.budget.public_id)
    return here.budget


def _require_tightening(
    here: LockedBudget, mode: Mode, allocation: Allocation, ratio: Decimal, roll_over: RollOver
) -> None:
    """Refuse a lead what weakens a limit that his team shares."""
    if not here.powers.as_lead or not binds_lead(here.node, here.around, here.now):
        return
    row = here.row
    loosened = [
        what
        for what, is_looser in (
            ("mode", MODES.index(mode) > MODES.index(row.mode)),
            ("allocation", _looseness(allocation, ratio) > _looseness(row.allocation, row.overcommit_ratio)),
            ("roll-over", ROLL_OVERS.index(roll_over) > ROLL_OVERS.index(row.roll_over)),
        )
        if is_looser
    ]
    if loosened:
        raise RoleNeededError(
            f"A lead may tighten the rules of this budget, not loosen its {' and '.join(loosened)}."
            f" Ask {here.powers.who_may}."
        )


def _looseness(allocation: Allocation, ratio: Decimal) -> Decimal:
    return Decimal("Infinity") if allocation is Allocation.POOL else ratio
