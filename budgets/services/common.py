"""What every change of a budget does: lock, look around, check, record."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from budgets import selectors
from budgets.allocation import Node
from budgets.authority import Powers, powers
from budgets.errors import BudgetClosedError, NeedsConfirmationError
from budgets.models import Budget, Mode, ScopeKind, Window
from budgets.types import BudgetRow, Mandate
from core import audit
from core.money import format_usd
from core.reasons import LONGEST, checked_reason
from teams.errors import RoleNeededError
from teams.models import User

LIMITS_LOCK = 0x62_75_64_67  # the first half of an advisory lock's key; the second is the window


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBudget:
    """An open budget under the lock, with all that a change of it is checked against."""

    budget: Budget
    row: BudgetRow
    node: Node
    around: tuple[Node, ...]
    powers: Powers
    now: datetime
    on_behalf_of: User | None = None


def lock_limits(window: Window) -> datetime:
    """Let one change of limits and rules of a window go on at a time, and return the database's time.

    Changes are checked against each other across scopes, and against budgets that are not there yet, so no
    row is theirs to lock. People make them, a few a minute, and each takes milliseconds.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LIMITS_LOCK, list(Window).index(window)])
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    assert isinstance(now, datetime)
    return now


def lock_budget(
    actor: User | None,
    budget: Budget,
    *,
    mandate: Mandate | None = None,
    refusal: str = "You may not set this limit.",
) -> LockedBudget:
    """Lock a budget and return it as it stands, for an actor or for whom he acts.

    Raises BudgetClosedError, and RoleNeededError for somebody who may not change it at all.
    """
    now = lock_limits(Window(budget.window))
    mine = Budget.objects.select_for_update(no_key=True).order_by("pk").get(pk=budget.pk)
    place = selectors.scope_place(ScopeKind(mine.scope_kind), mine.scope_id)
    may = powers(actor, place, mandate=mandate)
    if not may.may_change:
        raise RoleNeededError(f"{refusal} Ask {may.who_may}.")
    if mine.closed_at:
        raise BudgetClosedError(f"This budget was closed on {mine.closed_at:%d %B %Y}. Open another.")
    around = selectors.neighbourhood(place, Window(mine.window))
    return LockedBudget(
        budget=mine,
        row=selectors.budget_rows(Budget.objects.filter(pk=mine.pk))[0],
        node=next(node for node in around if node.id == mine.pk),
        around=around,
        powers=may,
        now=now,
        on_behalf_of=mandate.giver if mandate else None,
    )


def clean_reason(reason: str) -> str:
    """Return the reason without surrounding space. Raises InvalidInputError when nothing is left."""
    return checked_reason(reason, kept="it stays in the history of the budget", most=LONGEST)


def require_confirmation(before: LockedBudget, after: Node, *, at: datetime) -> None:
    """Raise NeedsConfirmationError if calls would be refused that are not refused by this budget now.

    That is when a hard limit comes to be below what is spent and held in the window.
    """
    row, limit_usd = before.row, after.limit_at(at)
    if limit_usd is None or after.mode is not Mode.HARD or at >= row.window_ends_at:
        return
    was_usd = before.node.limit_at(at) if row.mode is Mode.HARD else None
    if limit_usd >= row.spent_usd + row.held_usd or (was_usd is not None and was_usd <= limit_usd):
        return
    raise NeedsConfirmationError(
        f"{format_usd(row.spent_usd)} is spent and {format_usd(row.held_usd)} is held in this window, more"
        f" than {format_usd(limit_usd)}: the next calls would be refused. Confirm to do it anyway.",
        key_ids=selectors.keys_spending_on(before.budget),
        spent_usd=f"{row.spent_usd:f}",
        held_usd=f"{row.held_usd:f}",
    )


def record(
    actor: User | None,
    action: str,
    subject: Any,
    node: Node,
    *,
    after: Mapping[str, Any],
    reason: str,
    before: Mapping[str, Any] | None = None,
    on_behalf_of: User | None = None,
) -> None:
    """Write the audit row of a change of a budget."""
    audit.record(
        actor=actor,
        action=action,
        subject=subject,
        before=before,
        after=after,
        reason=reason,
        department_id=node.place.department_id,
        team_id=node.place.team_id,
        on_behalf_of=on_behalf_of,
    )


def changed(
    before: Mapping[str, Any], after: Mapping[str, Any], *, names: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what differs, before and after."""
    differing = [name for name in names if before[name] != after[name]]
    return {name: before[name] for name in differing}, {name: after[name] for name in differing}
