"""A grant raises what a key may call, with a cap, for a time; it is taken back alone."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import IntegrityError, transaction

from budgets.models import Budget, Mode, ScopeKind, Window
from budgets.selectors import budget_rows
from core import clock
from core.errors import AlreadyDoneError
from core.models import AuditEvent, Outbox
from keys.errors import KeyEndedError
from keys.models import ApiKey, Grant, GrantState
from keys.services import grant, issue_key, revoke, revoke_grant
from teams.errors import RoleNeededError
from tests import factories
from tests.cast import Cast


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    return issue_key(actor=cast.ada, project=cast.ranking, name="laptop")


def give(cast: Cast, key: ApiKey, *, cap: str | None = "400", days: int = 30) -> Grant:
    """Give Tier 2 on an approval that is written first."""
    request = factories.AccessRequestFactory.create(
        requester=key.owner, project=key.project, duration_days=days, expected_monthly_usd=Decimal(cap or 1)
    )
    factories.approve(request, cast.ben, key=key)
    return grant(
        actor=cast.ben,
        key=key,
        tier=cast.tier2,
        model_ids=[],
        monthly_cap_usd=None if cap is None else Decimal(cap),
        days=days,
        source_request=request.public_id,
    )


def cap_of(key: ApiKey) -> Decimal | None:
    """Return the limit of the key's own budget."""
    return budget_rows(Budget.objects.filter(scope_kind=ScopeKind.KEY, scope_id=key.pk))[0].limit_usd


def test_a_grant_starts_now_and_ends_in_its_days(cast: Cast, key: ApiKey) -> None:
    with time_machine.travel(clock.now() + timedelta(seconds=1), tick=False):
        given = give(cast, key, days=30)
        assert (given.starts_at, given.expires_at) == (clock.now(), clock.now() + timedelta(days=30))
        assert given.state == GrantState.ACTIVE


def test_no_grant_outlives_its_key(cast: Cast) -> None:
    end = clock.now() + timedelta(days=20)
    key = issue_key(actor=cast.ada, project=cast.ranking, name="short", expires_at=end)
    assert give(cast, key, days=30).expires_at == end


def test_the_cap_becomes_a_hard_monthly_budget_of_the_key_for_the_tier(cast: Cast, key: ApiKey) -> None:
    given = give(cast, key, cap="400")
    budget = Budget.objects.get()
    assert (budget.scope_kind, budget.scope_id) == (ScopeKind.KEY, key.pk)
    assert (budget.window, budget.mode, budget.only_tier) == (Window.MONTH, Mode.HARD, cast.tier2)
    limit = budget.limits.get()
    assert (limit.amount_usd, limit.actor) == (Decimal(400), cast.ben)
    assert limit.reason == f"Approved request {given.source_request}"


def test_the_largest_cap_of_the_active_grants_is_in_force(cast: Cast, key: ApiKey) -> None:
    first = give(cast, key, cap="400")
    give(cast, key, cap="100")
    assert cap_of(key) == Decimal(400)
    revoke_grant(actor=cast.ben, grant=first, reason="Too much.")
    assert cap_of(key) == Decimal(100)


def test_an_owner_gives_up_the_larger_grant_without_the_right_to_set_limits(cast: Cast, key: ApiKey) -> None:
    first = give(cast, key, cap="400")
    give(cast, key, cap="100")
    revoke_grant(actor=cast.ada, grant=first, reason="Not needed.")
    assert cap_of(key) == Decimal(100)


def test_a_key_that_has_ended_gets_no_grant(cast: Cast, key: ApiKey) -> None:
    revoke(actor=cast.ada, key=key, reason="Lost.")
    with pytest.raises(KeyEndedError, match="was revoked"), transaction.atomic():
        give(cast, key)


@pytest.mark.parametrize("name", ["ada", "ben", "cleo", "ann"])
def test_who_may_revoke_the_key_may_end_its_grant(cast: Cast, key: ApiKey, name: str) -> None:
    actor = getattr(cast, name)
    ended = revoke_grant(actor=actor, grant=give(cast, key), reason="Not used.")
    assert (ended.state, ended.revoked_by) == (GrantState.REVOKED, actor)
    assert ApiKey.objects.get().revoked_at is None
    assert AuditEvent.objects.get(action="grant.revoked").actor_id == actor.pk
    assert Outbox.objects.filter(topic="grant.revoked").count() == (name != "ada")


@pytest.mark.parametrize("name", ["dan", "eve", "olga", "fay", "audrey"])
def test_others_do_not_end_a_grant(cast: Cast, key: ApiKey, name: str) -> None:
    given = give(cast, key)
    with pytest.raises(RoleNeededError):
        revoke_grant(actor=getattr(cast, name), grant=given, reason="Because.")


def test_the_second_end_says_who_was_first(cast: Cast, key: ApiKey) -> None:
    given = give(cast, key)
    revoke_grant(actor=cast.ben, grant=given, reason="Not used.")
    with pytest.raises(AlreadyDoneError, match=r"Ben Okafor ended Tier 2 for laptop on .* UTC: Not used"):
        revoke_grant(actor=cast.ada, grant=given, reason="Again.")
    assert AuditEvent.objects.filter(action="grant.revoked").count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": "2100-01-01T00:00Z"},
        {"monthly_cap_usd": Decimal(401)},
        {"monthly_cap_usd": None},
        {"source_request": "req_another"},
        {"tier_id": 3},
    ],
)
def test_raw_sql_cannot_widen_a_grant(cast: Cast, key: ApiKey, change: dict[str, object]) -> None:
    given = give(cast, key)
    with pytest.raises(IntegrityError, match="may only shrink"), transaction.atomic():
        Grant.objects.filter(pk=given.pk).update(**change)
    assert Grant.objects.filter(pk=given.pk).update(monthly_cap_usd=Decimal(1)) == 1
