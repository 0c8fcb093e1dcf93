"""A key's monthly limit for a tier is the largest cap of its grants, at every moment, without a job."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from budgets.models import Budget, BudgetLimit
from core import clock
from core.errors import InvalidInputError
from core.models import AuditEvent, Outbox
from keys.errors import GrantEndedError
from keys.models import ApiKey, Grant
from keys.services import grant, issue_key, revoke_grant, revoke_keys_of, shrink_grant
from teams.errors import RoleNeededError
from tests import factories
from tests.cast import Cast


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    return issue_key(actor=cast.ada, project=cast.ranking, name="laptop")


def give(cast: Cast, key: ApiKey, *, cap: str | None, days: int) -> Grant:
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


def limit_at(moment: datetime) -> Decimal | None:
    """Return the limit of the only budget as the decision reads it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_limit_at(%s, %s)", [Budget.objects.get().pk, moment])
        amount: Decimal | None = cursor.fetchone()[0]
    return amount


def after(given: Grant) -> datetime:
    return given.expires_at + timedelta(microseconds=1)


def just_before(given: Grant) -> datetime:
    return given.expires_at - timedelta(microseconds=1)


def test_a_grant_that_lapses_takes_its_larger_cap_along(cast: Cast, key: ApiKey) -> None:
    large = give(cast, key, cap="400", days=10)
    small = give(cast, key, cap="100", days=30)
    assert limit_at(just_before(large)) == Decimal(400)
    assert limit_at(large.expires_at) == limit_at(just_before(small)) == Decimal(100)


def test_caps_step_down_grant_by_grant(cast: Cast, key: ApiKey) -> None:
    grants = [give(cast, key, cap=cap, days=days) for cap, days in (("100", 30), ("400", 10), ("250", 20))]
    first, second, third = grants
    steps = [limit_at(at) for at in (clock.now(), second.expires_at, third.expires_at, just_before(first))]
    assert steps == [Decimal(400), Decimal(250), Decimal(100), Decimal(100)]


def test_what_was_planned_for_a_revoked_grant_no_longer_holds(cast: Cast, key: ApiKey) -> None:
    large = give(cast, key, cap="400", days=10)
    small = give(cast, key, cap="100", days=30)
    give(cast, key, cap="250", days=60)
    revoke_grant(actor=cast.ben, grant=large, reason="Too much.")
    assert limit_at(clock.now()) == limit_at(large.expires_at) == Decimal(250)
    revoke_grant(actor=cast.ben, grant=small, reason="Too little.")
    assert limit_at(after(small)) == Decimal(250)


def test_a_shrunk_grant_moves_the_step(cast: Cast, key: ApiKey) -> None:
    large = give(cast, key, cap="400", days=20)
    give(cast, key, cap="100", days=30)
    sooner = clock.now() + timedelta(days=5)
    was = large.expires_at

    shrunk = shrink_grant(
        actor=cast.ben, grant=large, expires_at=sooner, monthly_cap_usd=Decimal(300), reason="Enough."
    )

    assert (shrunk.expires_at, shrunk.monthly_cap_usd) == (sooner, Decimal(300))
    assert limit_at(clock.now()) == Decimal(300)
    assert limit_at(sooner) == limit_at(was) == Decimal(100)
    event = AuditEvent.objects.get(action="grant.shrunk")
    assert (event.before["monthly_cap_usd"], event.after["monthly_cap_usd"]) == ("400.000000000000", "300")
    assert Outbox.objects.filter(topic="grant.shrunk", recipient=cast.ada.email).count() == 1


def test_a_persons_own_plan_for_another_moment_stays(cast: Cast, key: ApiKey) -> None:
    give(cast, key, cap="400", days=10)
    budget = Budget.objects.get()
    planned_for = clock.now() + timedelta(days=3)
    BudgetLimit.objects.create(
        budget=budget, amount_usd=Decimal(50), valid_from=planned_for, actor=cast.ben, reason="A pause."
    )
    give(cast, key, cap="100", days=30)
    assert limit_at(planned_for) == Decimal(50)


def test_the_same_shrink_again_changes_nothing(cast: Cast, key: ApiKey) -> None:
    given = give(cast, key, cap="400", days=20)
    for _ in range(2):
        shrink_grant(actor=cast.ada, grant=given, monthly_cap_usd=Decimal(300), reason="Enough.")
    assert AuditEvent.objects.filter(action="grant.shrunk").count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"expires_at": timedelta(days=21)}, "expires_at"),
        ({"expires_at": timedelta(days=-1)}, "expires_at"),
        ({"monthly_cap_usd": Decimal(401)}, "monthly_cap_usd"),
        ({"model_ids": []}, "models"),
    ],
)
def test_a_grant_never_grows(cast: Cast, key: ApiKey, change: dict[str, object], field: str) -> None:
    given = give(cast, key, cap="400", days=20)
    if field == "models":
        given = shrink_grant(actor=cast.ada, grant=given, model_ids=[cast.large.pk], reason="One will do.")
    wanted = {name: clock.now() + v if isinstance(v, timedelta) else v for name, v in change.items()}
    with pytest.raises(InvalidInputError) as refused:
        shrink_grant(actor=cast.ann, grant=given, reason="More.", **wanted)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_an_ended_grant_does_not_shrink(cast: Cast, key: ApiKey) -> None:
    given = give(cast, key, cap="400", days=20)
    revoke_grant(actor=cast.ada, grant=given, reason="Done.")
    with pytest.raises(GrantEndedError):
        shrink_grant(actor=cast.ada, grant=given, monthly_cap_usd=Decimal(1), reason="Less.")


@pytest.mark.parametrize("who", ["dan", "eve", "olga", "fay", "audrey"])
def test_others_do_not_shrink_a_grant(cast: Cast, key: ApiKey, who: str) -> None:
    given = give(cast, key, cap="400", days=20)
    with pytest.raises(RoleNeededError):
        shrink_grant(actor=getattr(cast, who), grant=given, monthly_cap_usd=Decimal(1), reason="Less.")


def test_a_leaver_has_no_live_key_and_no_live_grant(cast: Cast, key: ApiKey) -> None:
    given = give(cast, key, cap="400", days=20)
    other = issue_key(actor=cast.ben, project=cast.ranking, name="lead's")

    assert revoke_keys_of(actor=cast.ann, person=cast.ada, reason="Ada left.") == [key]
    assert revoke_keys_of(actor=cast.ann, person=cast.ada, reason="Ada left.") == []

    for row in (key, given, other):
        row.refresh_from_db()
    assert (key.revoked_by, key.revoked_reason) == (cast.ann, "Ada left.")
    assert (given.revoked_by, given.revoked_reason) == (cast.ann, "Ada left.")
    assert other.revoked_at is None
    assert AuditEvent.objects.filter(action__in=("key.revoked", "grant.revoked")).count() == 2


def test_a_person_removed_by_his_identity_provider_is_recorded_as_the_system(cast: Cast, key: ApiKey) -> None:
    revoke_keys_of(actor=None, person=cast.ada, reason="Removed by the identity provider.")
    assert AuditEvent.objects.get(action="key.revoked").actor_label == "purser"
