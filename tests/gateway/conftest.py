"""A small organisation with one live key, and a gateway that signs like a real one."""

from __future__ import annotations

import json
import secrets as random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from budgets.models import Budget, BudgetLimit, Mode, ScopeKind, Window
from budgets.selectors import unbalanced_balances
from catalog.models import LlmModel, Price, PriceSource
from core import clock
from gateway import views
from gateway.auth import credential_of, signed_headers
from gateway.hot.credentials import CredentialCache
from gateway.models import Gateway
from keys.models import ApiKey, Grant
from teams.models import Department, Project, Team, User
from tests import factories

LONG_AGO = timedelta(days=30)


@dataclass
class Gus:
    """The gateway: signs what it sends."""

    gateway: Gateway
    client: Client = field(default_factory=Client)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """Send one signed call; `headers` replace what the signature made."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        signed = signed_headers(
            credential=credential_of(self.gateway),
            method="POST",
            target=path,
            body=raw,
            now_seconds=clock.now().timestamp(),
        )
        return self.client.post(path, raw, content_type="application/json", headers={**signed, **headers})

    def authorize(self, token: str, **changes: Any) -> Any:
        """Ask for one call of 1,000 input bytes and 100 output tokens on the cheap model."""
        body = {
            "request_id": random.token_hex(12),
            "key": token,
            "model": "small",
            "route": "/v1/chat/completions",
            "project_id": None,
            "input_bytes": 1000,
            "max_output_tokens": 100,
        } | changes
        return self.post(
            "/gateway/v1/authorize", {name: value for name, value in body.items() if value is not ...}
        )

    def settle(
        self, reservation: str, *, input_tokens: int = 200, output_tokens: int = 50, **changes: Any
    ) -> Any:
        """Report one finished call."""
        usage = {"input_tokens": input_tokens, "output_tokens": output_tokens, **changes.pop("usage", {})}
        return self.post(
            "/gateway/v1/settle", {"reservation": reservation, "usage": usage, "finish": "stop", **changes}
        )

    def release(self, reservation: str) -> Any:
        """Say that nothing was consumed."""
        return self.post("/gateway/v1/release", {"reservation": reservation, "reason": "upstream_refused"})


@dataclass
class World:
    """Who and what the decision tests talk about. Prices: small 1/2 µ$ a token in/out, large 10/40,
    nameless none.
    """

    gus: Gus
    token: str
    key: ApiKey
    project: Project
    team: Team
    ada: User
    small: LlmModel
    large: LlmModel
    budgets: dict[str, Budget] = field(default_factory=dict)

    def budget(
        self,
        name: str,
        *,
        kind: ScopeKind,
        limit: str | None,
        window: Window = Window.DAY,
        mode: Mode = Mode.HARD,
        **filters: Any,
    ) -> Budget:
        """Open one budget on the path of the key."""
        scope_id = {
            ScopeKind.KEY: self.key.pk,
            ScopeKind.PROJECT: self.project.pk,
            ScopeKind.TEAM: self.team.pk,
            ScopeKind.DEPARTMENT: self.team.department_id,
            ScopeKind.ORGANISATION: 0,
        }[kind]
        budget = Budget.objects.create(
            scope_kind=kind,
            scope_id=scope_id,
            department=None if kind == ScopeKind.ORGANISATION else self.team.department,
            window=window,
            mode=mode,
            **filters,
        )
        self.limit(budget, limit)
        self.budgets[name] = budget
        return budget

    def limit(self, budget: Budget, amount: str | None) -> None:
        """Put a limit in force a moment ago."""
        BudgetLimit.objects.create(
            budget=budget,
            amount_usd=None if amount is None else Decimal(amount),
            valid_from=clock.now() - timedelta(seconds=1),
            reason="a test",
        )

    def grant(
        self, *, tier: int, ends_in: timedelta = timedelta(days=30), model_ids: Sequence[int] = ()
    ) -> Grant:
        """Let the key call a tier since two hours ago, with the approved request that the database asks
        for.
        """
        with transaction.atomic():
            return factories.approved_grant(
                self.key,
                tier_number=tier,
                model_ids=model_ids,
                starts_at=clock.now() - timedelta(hours=2),
                expires_at=clock.now() + ends_in,
            )

    def price(self, model: LlmModel, unit: str, usd: str, **changes: Any) -> Price:
        """Price one unit of a model since long ago."""
        return Price.objects.create(
            model=model,
            unit=unit,
            usd_per_unit=Decimal(usd),
            valid_from=changes.pop("valid_from", clock.now() - LONG_AGO),
            source=PriceSource.MANUAL,
            source_version="test",
            **changes,
        )


def make_model(name: str, *, tier: int, **changes: Any) -> LlmModel:
    """Make one chat model with a window of 100,000 tokens."""
    fields = {
        "provider": "openai",
        "provider_model": name,
        "context_window_tokens": 100_000,
        "max_output_tokens": 8_000,
    } | changes
    return LlmModel.objects.create(name=name, tier_id=tier, **fields)


def build_world() -> World:
    """Write the organisation into the database."""
    views._credentials = CredentialCache()
    factories.tier(1)
    for number in (2, 3):  # the policies are gone as well when a test before has emptied the tables
        factories.policy_of(factories.tier(number))
    department = Department.objects.create(code="product", name="Product")
    team = Team.objects.create(code="search", name="Search", department=department)
    ada = User.objects.create_user("ada@example.com", name="Ada Engineer")
    project = Project.objects.create(
        code="search-rank", name="Search rank", team=team, owner=ada, cost_centre="CC-1"
    )
    key = ApiKey.objects.create(
        name="ada's key", project=project, owner=ada, expires_at=clock.now() + timedelta(days=90)
    )
    gateway = Gateway.objects.create(name="gus", live_versions=[1])
    world = World(
        gus=Gus(gateway),
        token=factories.revealed(key),
        key=key,
        project=project,
        team=team,
        ada=ada,
        small=make_model("small", tier=1),
        large=make_model("large", tier=2),
    )
    for model, price_in, price_out in (
        (world.small, "0.000001", "0.000002"),
        (world.large, "0.000010", "0.000040"),
    ):
        world.price(model, "input", price_in)
        world.price(model, "output", price_out)
    return world


@pytest.fixture
def world(db: None) -> Iterator[World]:
    """Return the organisation; a balance that does not equal its entries fails the test that made it so."""
    built = build_world()
    yield built
    assert unbalanced_balances() == []
