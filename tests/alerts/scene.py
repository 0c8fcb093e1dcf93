"""Budgets with limits and spend at moments that a test names, without a gateway and without waiting."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db import connection
from django.db.models import QuerySet

from budgets.models import Budget, BudgetAlert, LimitKind, ScopeKind, Window
from budgets.windows import window_at
from core.models import Outbox, OutboxKind
from keys.models import ApiKey
from teams.models import Department, Project, Team
from tests.budgets.conftest import department_of
from tests.factories import BudgetFactory, BudgetLimitFactory
from usage.services import tell_of_forecasts, tell_of_spend

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)  # a Tuesday in the middle of a month
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LONG_BEFORE = NOW - 300 * DAY
KINDS = {
    Department: ScopeKind.DEPARTMENT,
    Team: ScopeKind.TEAM,
    Project: ScopeKind.PROJECT,
    ApiKey: ScopeKind.KEY,
}
Place = Department | Team | Project | ApiKey | None


def budget_of(place: Place, amount: str | None, *, since: datetime = LONG_BEFORE, **fields: object) -> Budget:
    """Open a budget (a hard monthly one unless told otherwise) whose limit is in force since a moment."""
    made = BudgetFactory.create(
        project=None,
        scope_kind=KINDS[type(place)] if place else ScopeKind.ORGANISATION,
        scope_id=place.pk if place else 0,
        department=department_of(place),
        created_at=since,
        **{"window": Window.MONTH, **fields},
    )
    limit(made, amount, at=since)
    return made


def limit(budget: Budget, amount: str | None, *, at: datetime) -> None:
    """Give a budget another limit from a moment on."""
    usd = None if amount is None else Decimal(amount)
    BudgetLimitFactory.create(budget=budget, amount_usd=usd, valid_from=at)


def top_up(budget: Budget, amount: str, *, at: datetime, until: datetime) -> None:
    """Add to a budget's limit for a while."""
    BudgetLimitFactory.create(
        budget=budget, amount_usd=Decimal(amount), valid_from=at, valid_until=until, kind=LimitKind.TOP_UP
    )


def spent(budget: Budget, amount: str, *, at: datetime = NOW, held: str = "0") -> None:
    """Let a budget's window of a moment come to an amount spent, with some held."""
    window = window_at(budget.window, at, time_zone=budget.time_zone, anchor=budget.window_anchor)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO budgets_balance (budget_id, window_start, window_end, spent_usd, reserved_usd)"
            " VALUES (%(id)s, %(start)s, %(end)s, %(spent)s, %(held)s) ON CONFLICT (budget_id, window_start)"
            " DO UPDATE SET spent_usd = EXCLUDED.spent_usd, reserved_usd = EXCLUDED.reserved_usd",
            {
                "id": budget.pk, "start": window.starts_at, "end": window.ends_at,
                "spent": Decimal(amount), "held": Decimal(held),
            },
        )  # fmt: skip


def look(at: datetime = NOW) -> list[int]:
    """Let the job look at a moment, and return the shares that people were told of by it."""
    seen = BudgetAlert.objects.count()
    number = tell_of_spend(at=at)
    told = told_shares()[-number:] if number else []
    assert BudgetAlert.objects.count() >= seen + number
    return told


def look_ahead(at: datetime = NOW) -> int:
    """Let the job look at forecasts at a moment, and return of how many people were told."""
    return tell_of_forecasts(at=at)


def told_shares() -> list[int]:
    """Return every share of which people were told, in order."""
    return list(BudgetAlert.objects.filter(is_told=True).order_by("pk").values_list("percent", flat=True))


def passed_shares() -> list[int]:
    """Return every share that was passed, in order, told or not."""
    return list(BudgetAlert.objects.order_by("pk").values_list("percent", flat=True))


def mails() -> QuerySet[Outbox]:
    """Return the mails of alerts, in order."""
    return Outbox.objects.filter(kind=OutboxKind.MAIL, topic="budget.alert").order_by("pk")


def readers() -> set[str]:
    """Return the addresses that mails of alerts go to."""
    return set(mails().values_list("recipient", flat=True))


def days_before(number: int) -> list[date]:
    """Return so many days before today, the oldest first."""
    return [(NOW - back * DAY).date() for back in range(number, 0, -1)]
