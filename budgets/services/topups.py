"""Adds to a limit for a time: a dated row that ends by itself."""

from datetime import datetime
from decimal import Decimal

import structlog
from django.db import connection, transaction

from budgets import selectors
from budgets.authority import authority, slot_of
from budgets.errors import BudgetClosedError, HeadroomError
from budgets.expressions import ClockTimestamp
from budgets.models import Budget, BudgetLimit, LimitKind
from core import audit
from core.errors import InvalidInputError
from core.money import format_usd
from teams.errors import RoleNeededError
from teams.models import User

log = structlog.get_logger(__name__)


@transaction.atomic
def top_up(
    *, actor: User | None, budget: Budget, amount_usd: Decimal, valid_until: datetime, reason: str
) -> BudgetLimit:
    """Add US dollars to a budget's limit from the next call until `valid_until`; `actor` approves it.

    Raises InvalidInputError for nothing to add, no limit to add to, or an end that is past, RoleNeededError,
    HeadroomError with the numbers, and BudgetClosedError.
    """
    text = reason.strip()
    if not text:
        raise InvalidInputError("Enter a reason: it stays in the history of the budget.", field="reason")
    if amount_usd <= 0:
        raise InvalidInputError("A top-up is more than 0.", field="amount_usd")
    slot = slot_of(budget)
    around = Budget.objects.filter(pk__in=selectors.open_budgets_above(slot.place).values("pk"))
    list(around.filter(window=slot.window).select_for_update(no_key=True).order_by("pk").values_list("pk"))
    mine = Budget.objects.select_for_update(no_key=True).order_by("pk").get(pk=budget.pk)
    if mine.closed_at:
        raise BudgetClosedError(f"This budget was closed on {mine.closed_at:%d %B %Y}. Open another.")
    if valid_until <= _database_now():
        raise InvalidInputError("Enter an end that is still to come.", field="valid_until")
    row = selectors.budget_rows(Budget.objects.filter(pk=mine.pk))[0]
    if row.limit_usd is None:
        raise InvalidInputError("There is no limit here to add to.", field="amount_usd")
    total_usd = row.limit_usd + amount_usd
    allowed = authority(actor, slot, current=row)
    if not allowed.may_change:
        raise RoleNeededError(f"You may not set this limit. Ask {allowed.who_may}.")
    if allowed.highest is not None and total_usd > allowed.highest.usd:
        raise HeadroomError(
            f"{format_usd(total_usd)} is more than there is room for: {allowed.highest.why}. You may go up to"
            f" {format_usd(allowed.highest.usd)}; for more ask {allowed.who_may}.",
            field="amount_usd",
            highest_usd=f"{allowed.highest.usd:f}",
        )
    limit = BudgetLimit.objects.create(
        budget=mine,
        kind=LimitKind.TOP_UP,
        amount_usd=amount_usd,
        valid_from=ClockTimestamp(),
        valid_until=valid_until,
        actor=actor,
        reason=text,
    )
    audit.record(
        actor=actor,
        action="budget.topped_up",
        subject=mine,
        before={"limit_usd": row.limit_usd},
        after={"limit_usd": total_usd, "top_up_usd": amount_usd, "valid_until": valid_until},
        reason=text,
        department_id=slot.place.department_id,
        team_id=slot.place.team_id,
    )
    log.info("budget.topped_up", budget=mine.public_id, amount_usd=format_usd(amount_usd))
    return limit


def _database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        at: datetime = cursor.fetchone()[0]
    return at
