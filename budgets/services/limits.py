"""Opens budgets and changes limits. A limit is a row, never edited; the newest is in force at its commit."""

from decimal import Decimal
from typing import Any
from zoneinfo import available_timezones

import structlog
from django.db import IntegrityError, transaction

from budgets import selectors
from budgets.authority import Authority, Slot, authority, slot_of
from budgets.errors import BudgetClosedError, BudgetExistsError, HeadroomError, NeedsConfirmationError
from budgets.expressions import ClockTimestamp
from budgets.models import Budget, BudgetLimit, Mode, ScopeKind, Window
from budgets.types import BudgetRow
from catalog.models import LlmModel, Tier
from core import audit
from core.errors import InvalidInputError
from core.money import format_usd
from teams.errors import RoleNeededError
from teams.models import Department, User

log = structlog.get_logger(__name__)

ANCHORS = {Window.WEEK: 7, Window.FISCAL_YEAR: 12}
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
) -> Budget:
    """Open a budget with its first limit, in force at once; `actor` None is the system itself.

    `amount_usd` None is no limit, 0 refuses everything. Raises InvalidInputError for a scope, zone or anchor
    that does not exist, RoleNeededError, HeadroomError with the numbers, and BudgetExistsError.
    """
    _require_reason(reason)
    _require_calendar(window, window_anchor, time_zone)
    place = selectors.scope_place(scope_kind, scope_id)
    if scope_kind is not ScopeKind.ORGANISATION and place.department_id != (department and department.pk):
        raise InvalidInputError("This scope does not exist in this department.", field="scope_id")
    slot = Slot(
        place=place,
        window=window,
        only_tier=only_tier.pk if only_tier else None,
        only_model_id=only_model.pk if only_model else None,
    )
    _lock_around(slot)
    _require(authority(actor, slot), amount_usd)
    try:
        with transaction.atomic():
            budget = Budget.objects.create(
                scope_kind=scope_kind,
                scope_id=scope_id,
                department=department,
                window=window,
                window_anchor=window_anchor,
                time_zone=time_zone,
                mode=mode,
                only_tier=only_tier,
                only_model=only_model,
            )
    except IntegrityError as error:
        if ONE_OPEN_PER_SLOT not in str(error):
            raise
        raise BudgetExistsError(
            f"There is a {mode.label.lower()} {window.label.lower()} budget here already. Change its limit."
        ) from error
    _write_limit(actor=actor, budget=budget, amount_usd=amount_usd, reason=reason)
    _record(actor, "budget.opened", budget, slot, before=None, after_usd=amount_usd, reason=reason)
    return budget


@transaction.atomic
def change_limit(
    *, actor: User | None, budget: Budget, amount_usd: Decimal | None, reason: str, confirm: bool = False
) -> BudgetLimit:
    """Give a budget another limit, in force on the next call; the same again writes nothing.

    Raises RoleNeededError, HeadroomError with the numbers, BudgetClosedError, and NeedsConfirmationError when
    the new limit is below what is spent and held and `confirm` is not set.
    """
    _require_reason(reason)
    slot = slot_of(budget)
    _lock_around(slot)
    mine = Budget.objects.select_for_update(no_key=True).order_by("pk").get(pk=budget.pk)
    if mine.closed_at:
        raise BudgetClosedError(f"This budget was closed on {mine.closed_at:%d %B %Y}. Open another.")
    row = selectors.budget_rows(Budget.objects.filter(pk=mine.pk))[0]
    _require(authority(actor, slot, current=row), amount_usd)
    if not confirm:
        _require_room_for_what_is_spent(mine, row, amount_usd)
    newest = mine.limits.filter(kind="base").order_by("-valid_from", "-pk").first()
    if newest is not None and newest.amount_usd == amount_usd:
        return newest
    limit = _write_limit(actor=actor, budget=mine, amount_usd=amount_usd, reason=reason)
    _record(actor, "budget.limit_changed", mine, slot, before=row, after_usd=amount_usd, reason=reason)
    return limit


def _lock_around(slot: Slot) -> None:
    """Serialise changes that are checked against each other, on the budgets that they all share."""
    above = selectors.open_budgets_above(slot.place).values("pk")
    rows = Budget.objects.filter(window=slot.window, pk__in=above)
    list(rows.select_for_update(no_key=True).order_by("pk").values_list("pk"))


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidInputError("Enter a reason: it stays in the history of the budget.", field="reason")


def _require_calendar(window: Window, anchor: int, time_zone: str) -> None:
    if time_zone not in available_timezones():
        raise InvalidInputError(
            f"{time_zone!r} is not a time zone. Use a name such as Europe/Berlin.", field="time_zone"
        )
    if not 1 <= anchor <= ANCHORS.get(window, 1):
        raise InvalidInputError(f"A {window.label.lower()} cannot start at {anchor}.", field="window_anchor")


def _require(allowed: Authority, amount_usd: Decimal | None) -> None:
    if not allowed.may_change:
        raise RoleNeededError(f"You may not set this limit. Ask {allowed.who_may}.")
    highest, lowest = allowed.highest, allowed.lowest
    if amount_usd is None:
        if not allowed.may_be_unlimited and highest is not None:
            raise _too_high("No limit", highest.why, highest.usd, allowed.who_may)
        return
    if amount_usd < 0:
        raise InvalidInputError("A limit is 0 or more.", field="amount_usd")
    if highest is not None and amount_usd > highest.usd:
        raise _too_high(format_usd(amount_usd), highest.why, highest.usd, allowed.who_may)
    if lowest is not None and amount_usd < lowest.usd:
        raise HeadroomError(
            f"{format_usd(amount_usd)} is too low: {lowest.why}. Lower that one first.",
            field="amount_usd",
            key_ids=lowest.key_ids,
            lowest_usd=f"{lowest.usd:f}",
        )


def _too_high(asked: str, why: str, highest_usd: Decimal, who_may: str) -> HeadroomError:
    return HeadroomError(
        f"{asked} is more than there is room for: {why}. You may go up to {format_usd(highest_usd)};"
        f" for more ask {who_may}.",
        field="amount_usd",
        highest_usd=f"{highest_usd:f}",
    )


def _require_room_for_what_is_spent(budget: Budget, row: BudgetRow, amount_usd: Decimal | None) -> None:
    used_usd = row.spent_usd + row.held_usd
    is_lower = amount_usd is not None and (row.limit_usd is None or amount_usd < row.limit_usd)
    if row.mode is not Mode.HARD or not is_lower or amount_usd is None or amount_usd >= used_usd:
        return
    raise NeedsConfirmationError(
        f"{format_usd(row.spent_usd)} is spent and {format_usd(row.held_usd)} is held in this window, more"
        f" than {format_usd(amount_usd)}: the next calls would be refused. Confirm to do it anyway.",
        key_ids=selectors.keys_spending_on(budget),
        spent_usd=f"{row.spent_usd:f}",
        held_usd=f"{row.held_usd:f}",
    )


def _write_limit(
    *, actor: User | None, budget: Budget, amount_usd: Decimal | None, reason: str
) -> BudgetLimit:
    # By the database's clock, which decides calls: a web server whose clock is ahead would delay the limit.
    limit = BudgetLimit.objects.create(
        budget=budget, amount_usd=amount_usd, valid_from=ClockTimestamp(), actor=actor, reason=reason.strip()
    )
    limit.refresh_from_db(fields=["valid_from"])
    log.info("budget.limit_set", budget=budget.public_id, amount_usd=format_usd(amount_usd))
    return limit


def _record(
    actor: User | None,
    action: str,
    budget: Budget,
    slot: Slot,
    *,
    before: BudgetRow | None,
    after_usd: Decimal | None,
    reason: str,
) -> None:
    what: dict[str, Any] = {"scope": budget.scope_kind, "window": budget.window, "mode": budget.mode}
    audit.record(
        actor=actor,
        action=action,
        subject=budget,
        before={"limit_usd": before.limit_usd} if before else None,
        after={"limit_usd": after_usd, **({} if before else what)},
        reason=reason.strip(),
        department_id=slot.place.department_id,
        team_id=slot.place.team_id,
    )
