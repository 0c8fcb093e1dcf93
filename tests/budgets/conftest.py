"""Budgets of the cast's organisation, and spending on them without a gateway."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from budgets import selectors
from budgets.models import Balance, Budget, Entry, Mode, Reservation, ScopeKind, Window
from budgets.services import limits
from catalog.models import LlmModel
from core import clock
from keys.models import ApiKey
from teams.models import Department, Project, Team
from tests.factories import ApiKeyFactory

OpenBudget = Callable[..., Budget]
Spend = Callable[..., None]
_KINDS = {
    Department: ScopeKind.DEPARTMENT,
    Team: ScopeKind.TEAM,
    Project: ScopeKind.PROJECT,
    ApiKey: ScopeKind.KEY,
}


def department_of(scope: Department | Team | Project | ApiKey | None) -> Department | None:
    """Return the department that a scope is part of."""
    match scope:
        case Team():
            return scope.department
        case Project():
            return scope.team.department
        case ApiKey():
            return scope.project.team.department
    return scope


@pytest.fixture
def budget() -> OpenBudget:
    """Open a budget of a scope (None is the organisation); a hard monthly one unless told otherwise."""

    def make(
        scope: Department | Team | Project | ApiKey | None, amount: str | None, **fields: object
    ) -> Budget:
        values: dict[str, object] = {
            "actor": None,
            "window": Window.MONTH,
            "mode": Mode.HARD,
            "reason": "A test.",
        }
        return limits.open_budget(
            scope_kind=_KINDS[type(scope)] if scope else ScopeKind.ORGANISATION,
            scope_id=scope.pk if scope else 0,
            department=department_of(scope),
            amount_usd=None if amount is None else Decimal(amount),
            **{**values, **fields},  # type: ignore[arg-type]
        )

    return make


@pytest.fixture
def key(cast: object) -> ApiKey:
    """Give ada a key of her project."""
    return ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)  # type: ignore[attr-defined]


def spend(key: ApiKey, model: LlmModel, amount: str, *, at: datetime | None = None, held: str = "0") -> None:
    """Book an entry on every budget of the key's path, and hold money for a call in flight."""
    moment = at or clock.now()
    rows = selectors.headroom(key.project, key_id=key.pk, at=moment).rows
    path = [row.id for row in rows]
    starts = [row.window_starts_at for row in rows]
    home = {"project": key.project, "team": key.project.team, "department": key.project.team.department}
    Entry.objects.create(
        kind="adjust", reason="A test.", amount_usd=Decimal(amount), budget_ids=path, window_starts=starts,
        key_id=key.pk, model=model, effective_at=moment, recorded_at=moment, **home,
    )  # fmt: skip
    if Decimal(held):
        Reservation.objects.create(
            source="gw_test", request_id=f"hold-{moment.timestamp()}-{amount}", request_hash=bytes(32),
            key_id=key.pk, owner=key.owner, model=model, tier=model.tier, context="standard",
            route="/v1/chat/completions", input_bound_tokens=1, held_usd=Decimal(held), input_floor_usd=0,
            budget_ids=path, window_starts=starts, authorized_at=moment,
            expires_at=moment + timedelta(hours=1), **home,
        )  # fmt: skip
    for row in rows:
        Balance.objects.get_or_create(
            budget_id=row.id, window_start=row.window_starts_at, defaults={"window_end": row.window_ends_at}
        )
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE budgets_balance SET spent_usd = spent_usd + %s, reserved_usd = reserved_usd + %s"
                " WHERE budget_id = %s AND window_start = %s",
                [Decimal(amount), Decimal(held), row.id, row.window_starts_at],
            )
