"""Calls as a gateway's log tells them, the same every time for the same numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from budgets.models import ScopeKind, Window
from catalog.models import LlmModel, Unit
from core import clock
from gateway.models import Gateway
from keys.models import ApiKey
from portal import ledger
from tests.cast import Cast
from tests.factories import (
    AliasFactory,
    ApiKeyFactory,
    BudgetFactory,
    BudgetLimitFactory,
    GatewayFactory,
    PriceFactory,
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """A gateway and two keys of the cast, on the budgets of every scope and of several windows."""

    cast: Cast
    gateway: Gateway
    keys: tuple[ApiKey, ...]
    models: tuple[LlmModel, ...]
    start: datetime

    def row(self, number: int, **fields: Any) -> Row:
        """Tell call `number`: half an hour apart, of each key and model in turn, with parts of every kind."""
        tokens = 1_000 + number * 37
        return {
            "external_id": f"call-{number:06d}",
            "at": (self.start + timedelta(minutes=31 * number)).isoformat(),
            "key": self.keys[number % len(self.keys)].public_id,
            "model": ("small", "large", "quick")[number % 3],
            "input_tokens": tokens,
            "cached_tokens": tokens // 3,
            "cache_write_tokens": tokens // 7,
            "output_tokens": number * 11,
            "reasoning_tokens": number * 2,
            "provider_call_id": f"chatcmpl-{number}",
            **fields,
        }

    def rows(self, count: int) -> list[Row]:
        """Tell the first calls."""
        return [self.row(number) for number in range(count)]


@pytest.fixture
def telling(cast: Cast) -> Telling:
    """Make the gateway, the keys, and budgets by the quarter, day, week and for ever."""
    return make_telling(cast)


def make_telling(cast: Cast) -> Telling:
    """Make the gateway, the keys, and budgets by the quarter, day, week and for ever."""
    keys = (
        ApiKeyFactory.create(project=cast.ranking, owner=cast.ada),
        ApiKeyFactory.create(project=cast.fraud, owner=cast.dan),
    )
    AliasFactory.create(name="quick", model=cast.small)
    start = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=6)
    for model in (cast.small, cast.large):
        PriceFactory.create(model=model, unit=Unit.CACHED, usd_per_unit=Decimal("0.000000033333333"))
    for kind, scope, department, window in (
        (ScopeKind.PROJECT, cast.ranking.pk, cast.product, Window.QUARTER),
        (ScopeKind.TEAM, cast.search.pk, cast.product, Window.DAY),
        (ScopeKind.DEPARTMENT, cast.payments.pk, cast.payments, Window.WEEK),
        (ScopeKind.KEY, keys[1].pk, cast.payments, Window.LIFETIME),
    ):
        budget = BudgetFactory.create(
            project=cast.ranking, scope_kind=kind, scope_id=scope, department=department, window=window
        )
        BudgetLimitFactory.create(budget=budget, amount_usd=Decimal(1_000))
    return Telling(
        cast=cast,
        gateway=GatewayFactory.create(name="log"),
        keys=keys,
        models=(cast.small, cast.large),
        start=start,
    )


def books() -> dict[str, list[tuple[Any, ...]]]:
    """Return all that money can be read from: events, roll-ups, balances, and the entries as sums."""
    queries = {
        "events": "SELECT external_id, at, key_id, model_id, cost_usd, input_tokens FROM usage_event",
        "days": "SELECT day, key_id, model_id, team_id, calls, cost_usd, input_tokens, cached_tokens,"
        " cache_write_tokens, output_tokens, reasoning_tokens FROM usage_day",
        "hours": "SELECT hour, project_id, model_id, calls, cost_usd, input_tokens, output_tokens"
        " FROM usage_hour",
        "balances": "SELECT budget_id, window_start, window_end, spent_usd, reserved_usd"
        " FROM budgets_balance",
        "entries": "SELECT key_id, model_id, budget_ids, window_starts, sum(amount_usd)"
        " FROM budgets_entry GROUP BY 1, 2, 3, 4",
    }
    found = {}
    with connection.cursor() as cursor:
        for name, query in queries.items():
            cursor.execute(f"{query} ORDER BY 1, 2, 3")
            found[name] = cursor.fetchall()
    return found


def wrong() -> list[str]:
    """Return what the verification of the books finds."""
    return ledger.lines(ledger.verify().findings)
