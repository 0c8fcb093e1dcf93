"""What the stories of an approval start from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from approvals.models import AccessRequest, Delegation
from approvals.services import submit
from core import clock
from teams.models import Role
from tests import factories
from tests.approvals.by_hand import DECIDE, END, execute
from tests.cast import Cast

REASON = "The small models miss one answer in three on our 2,000 queries."

Ask = Callable[..., AccessRequest]


def ask_for(cast: Cast, **changes: Any) -> AccessRequest:
    """Submit a request: Ada's for the large model in Ranking, unless said otherwise."""
    wish: dict[str, Any] = {
        "actor": cast.ada,
        "project": cast.ranking,
        "tier": cast.tier2,
        "model_names": ["large"],
        "reason": REASON,
        "duration_days": 60,
        "expected_monthly_usd": Decimal(420),
    }
    return submit(**wish | changes)


def lend(cast: Cast, giver: str, taker: str, **terms: Any) -> Delegation:
    """Let somebody of the cast decide for another: for a lead of Search, a director of Product, an admin."""
    role = terms.pop("role", {"cleo": Role.DIRECTOR, "ann": Role.ADMIN}.get(giver, Role.LEAD))
    place = {"team": cast.search if role == Role.LEAD else None}
    place |= {"department": cast.product if role == Role.DIRECTOR else None}  # type: ignore[dict-item]
    return factories.DelegationFactory.create(
        giver=getattr(cast, giver), taker=getattr(cast, taker), role=role, **place | terms
    )


@pytest.fixture
def ask(cast: Cast) -> Ask:
    """Return the way to submit a request of the cast."""
    return lambda **changes: ask_for(cast, **changes)


@pytest.fixture
def asked(ask: Ask) -> AccessRequest:
    """Return Ada's pending request for Tier 2, which Ben decides."""
    return ask()


@pytest.fixture
def decision(cast: Cast, asked: AccessRequest) -> dict[str, Any]:
    """Return the parameters of a lawful approval by Ben."""
    return {
        "request": asked.pk,
        "revision": 1,
        "stage": 0,
        "actor": cast.ben.pk,
        "on_behalf_of": None,
        "verdict": "approve",
        "cap": None,
        "days": None,
        "at": clock.now(),
    }


@pytest.fixture
def grant(cast: Cast, asked: AccessRequest, decision: dict[str, Any]) -> dict[str, Any]:
    """Write Ben's approval and return the parameters of the lawful grant that must follow."""
    key = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    execute(DECIDE, decision)
    execute(END, ["approved", decision["at"], key.pk, asked.pk])
    starts_at = clock.now()
    return {
        "key": key.pk,
        "tier": 2,
        "models": [cast.large.pk],
        "cap": Decimal(420),
        "starts_at": starts_at,
        "expires_at": starts_at + timedelta(days=60),
        "source": asked.public_id,
        "actor": cast.ben.pk,
    }
