"""Sets what a request for more budget asks for, as somebody; or only finds out whether he could."""

from datetime import datetime
from decimal import Decimal

import structlog
from django.db import transaction

from budgets.errors import HeadroomError
from budgets.expressions import ClockTimestamp
from budgets.models import Budget, BudgetLimit, LimitKind
from budgets.selectors import budget_rows
from budgets.services.limits import change_limit, top_up
from budgets.types import BudgetRow, Mandate
from core.errors import AlreadyDoneError, DomainError, InvalidInputError
from core.money import format_usd
from teams.errors import RoleNeededError
from teams.models import User


class _UndoneError(Exception):
    """Takes a trial back."""


def row_of_budget(budget: Budget) -> BudgetRow:
    """Return a budget as it stands now. One query."""
    return budget_rows(Budget.objects.filter(pk=budget.pk))[0]


def raise_limit(
    *,
    actor: User,
    budget: Budget,
    limit_usd: Decimal,
    until: datetime | None,
    reason: str,
    mandate: Mandate | None = None,
) -> BudgetLimit:
    """Raise a limit to an amount as the actor: for good, or by a top-up until a moment; return its row.

    With a `mandate` he raises it for its giver, no higher than that role may.

    Raises HeadroomError, RoleNeededError, BudgetClosedError, InvalidInputError for what is no more than now,
    and AlreadyDoneError when somebody set the same meanwhile.
    """
    row = row_of_budget(budget)
    require_more(budget, row, limit_usd, until)
    try:
        if until is None:
            limit = change_limit(
                actor=actor, budget=budget, amount_usd=limit_usd, reason=reason, mandate=mandate
            )
        else:
            more_usd = limit_usd - (row.limit_usd or limit_usd)
            limit = top_up(
                actor=actor,
                budget=budget,
                amount_usd=more_usd,
                valid_until=until,
                reason=reason,
                mandate=mandate,
            )
    except HeadroomError as error:
        error.field = "limit_usd"
        raise
    if limit.actor_id != actor.pk:
        raise AlreadyDoneError(f"{limit.actor or 'Purser'} set this limit a moment ago.")
    return limit


def obstacle(
    *, actor: User, budget: Budget, limit_usd: Decimal, until: datetime | None
) -> DomainError | None:
    """Return what would refuse the actor if he raised the limit himself; None when nothing would.

    The service itself is asked, and what it did is taken back, so that two answers cannot differ.
    """
    try:
        with transaction.atomic(), structlog.contextvars.bound_contextvars(trial=True):
            raise_limit(actor=actor, budget=budget, limit_usd=limit_usd, until=until, reason="A trial.")
            raise _UndoneError
    except _UndoneError:
        return None
    except (HeadroomError, RoleNeededError) as error:
        return error


def require_more(budget: Budget, row: BudgetRow, limit_usd: Decimal, until: datetime | None) -> None:
    """Refuse to ask for what is there already. Raises InvalidInputError."""
    now_usd = row.limit_usd if until else _base_usd(budget, row)
    if row.limit_usd is None or now_usd is None:
        raise InvalidInputError(
            f"{row.name} has no limit of its own here: look at the budgets above it.", field="limit_usd"
        )
    if not limit_usd.is_finite() or limit_usd <= now_usd:
        raise InvalidInputError(
            f"Enter more than the limit of {format_usd(now_usd)} that is in force.", field="limit_usd"
        )


def _base_usd(budget: Budget, row: BudgetRow) -> Decimal | None:
    """Return the limit without its top-ups. One query."""
    if row.limit_usd is None:
        return None
    extra = budget.limits.filter(
        kind=LimitKind.TOP_UP, valid_from__lte=ClockTimestamp(), valid_until__gt=ClockTimestamp()
    ).values_list("amount_usd", flat=True)
    return row.limit_usd - sum((usd for usd in extra if usd is not None), Decimal(0))
