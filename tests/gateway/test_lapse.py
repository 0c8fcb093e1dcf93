"""A grant that lapses or is revoked is refused on the next call, with no worker and no queue there."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import redis
from celery.app.task import Task
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.models import Tier
from keys.models import Grant, GrantState
from keys.services import revoke, revoke_grant, shrink_grant
from keys.services.capping import follow_grants
from tests import factories
from tests.gateway.conftest import World, make_model

SOON = timedelta(seconds=3)


@pytest.fixture(autouse=True)
def _no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Valkey be gone and Celery unable to send: what decides needs neither."""

    def gone(*arguments: object, **options: object) -> None:
        raise redis.ConnectionError("stopped")

    monkeypatch.setattr(redis.connection.AbstractConnection, "connect", gone)
    monkeypatch.setattr(Task, "apply_async", gone)


def database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def give(world: World, *, ends_in: timedelta, cap: str = "100") -> Grant:
    now = database_now()
    return factories.approved_grant(
        world.key,
        tier_number=2,
        monthly_cap_usd=Decimal(cap),
        starts_at=now - timedelta(hours=1),
        expires_at=now + ends_in,
    )


def test_no_call_after_a_grants_end_is_allowed_and_the_key_keeps_tier_1(world: World) -> None:
    given = give(world, ends_in=SOON)
    asked: list[tuple[datetime, int]] = []
    while not asked or asked[-1][0] < given.expires_at:
        asked.append((database_now(), world.gus.authorize(world.token, model="large").status_code))
    assert asked[0][1] == 200
    assert asked[-1][1] == 403
    assert {status for at, status in asked[:-1]} <= {200, 403}
    assert world.gus.authorize(world.token, model="small").status_code == 200


def test_a_revoked_grant_is_refused_on_the_next_call(world: World) -> None:
    given = give(world, ends_in=timedelta(days=1))
    assert world.gus.authorize(world.token, model="large").status_code == 200
    revoke_grant(actor=world.ada, grant=given, reason="Done.")
    refused = world.gus.authorize(world.token, model="large")
    assert (refused.status_code, refused.json()["code"]) == (403, "tier_not_granted")
    assert world.gus.authorize(world.token, model="small").status_code == 200


def test_a_revoked_key_is_refused_on_the_next_call_and_its_lease_at_the_next_poll(world: World) -> None:
    wish = {
        "node": "node-1",
        "key": world.token,
        "model": "small",
        "route": "/v1/chat/completions",
        "want_usd": "1",
    }
    lease = world.gus.post("/gateway/v1/leases", wish).json()["lease"]
    poll = {"node": "node-1"}
    assert world.gus.post("/gateway/v1/leases/poll", poll).json() == {"stop": []}
    assert world.gus.authorize(world.token, model="small").status_code == 200
    revoke(actor=world.ada, key=world.key, reason="Leaked.")
    assert world.gus.authorize(world.token, model="small").status_code == 401
    assert world.gus.post("/gateway/v1/leases/poll", poll).json() == {"stop": [lease]}
    assert world.gus.post("/gateway/v1/leases", wish).status_code == 401


def test_ending_one_grant_leaves_the_other_in_force(world: World) -> None:
    first = give(world, ends_in=timedelta(days=1))
    give(world, ends_in=timedelta(days=2))
    revoke_grant(actor=world.ada, grant=first, reason="Done.")
    assert world.gus.authorize(world.token, model="large").status_code == 200


def test_the_smaller_cap_binds_from_the_end_of_the_larger_grant_on(world: World) -> None:
    # One call holds 1,000 bytes at 10 µ$ and 100 tokens at 40 µ$: 0.014.
    larger = give(world, ends_in=timedelta(days=1), cap="1")
    give(world, ends_in=timedelta(days=2), cap="0.01")
    follow_grants(actor=None, key=world.key, tier=Tier.objects.get(number=2), reason="Two grants.")
    assert world.gus.authorize(world.token, model="large").status_code == 200
    ends_at = database_now() + SOON
    shrink_grant(actor=world.ada, grant=larger, expires_at=ends_at, reason="It ends soon.")
    while database_now() < ends_at:
        pass
    refused = world.gus.authorize(world.token, model="large")
    assert (refused.status_code, refused.json()["code"]) in {(429, "budget_exhausted"), (429, "budget_held")}


# ------------------------------------------------------------- every kind of grant at once (I9, I10)

HOUR = timedelta(hours=1)
given_to_the_key = st.lists(
    st.tuples(
        st.integers(-48, 48).filter(bool),  # hours until it starts
        st.integers(1, 96),  # hours that it lasts
        st.booleans(),  # whether it was revoked
        st.sampled_from([2, 3]),
        st.sampled_from(["every model", "large", "another"]),
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(grants=given_to_the_key, ended=st.integers(0, 3))
def test_a_call_is_allowed_only_while_an_active_grant_covers_it(
    world: World, grants: list[tuple[int, int, bool, int, str]], ended: int
) -> None:
    """And ending one of them changes no other, nor what the others allow."""
    with transaction.atomic():
        another = make_model("another", tier=2)
        models = {"every model": (), "large": (world.large.pk,), "another": (another.pk,)}
        now = database_now()
        made = [
            (
                factories.approved_grant(
                    world.key, tier_number=tier, model_ids=models[covers],
                    starts_at=now + starts * HOUR, expires_at=now + (starts + lasts) * HOUR - HOUR / 2,
                ),
                not revoked and tier == 2 and covers != "another" and starts < 0 < starts + lasts - 0.5,
            )
            for starts, lasts, revoked, tier, covers in grants
        ]  # fmt: skip
        for (grant, _), (_, _, revoked, _, _) in zip(made, grants, strict=True):
            if revoked:
                Grant.objects.filter(pk=grant.pk).update(
                    revoked_at=now, revoked_by=world.ada, revoked_reason="Done."
                )
        assert is_allowed(world) == any(covers for _, covers in made)
        others = Grant.objects.exclude(pk=made[ended][0].pk) if ended < len(made) else Grant.objects.none()
        before = list(others.order_by("pk").values())
        if ended < len(made) and made[ended][0].state is GrantState.ACTIVE and not grants[ended][2]:
            revoke_grant(actor=world.ada, grant=made[ended][0], reason="Done.")
            assert list(others.order_by("pk").values()) == before
            assert is_allowed(world) == any(covers for n, (_, covers) in enumerate(made) if n != ended)
        transaction.set_rollback(True)


def is_allowed(world: World) -> bool:
    answer = world.gus.authorize(world.token, model="large")
    assert answer.status_code in {200, 403}, answer.content
    return bool(answer.status_code == 200)


def test_an_extension_leaves_no_moment_without_access(world: World) -> None:
    """One grant ends and the other begins at the same instant; calls go through all the while (I11)."""
    first = give(world, ends_in=timedelta(seconds=2))
    second = factories.approved_grant(
        world.key,
        tier_number=2,
        monthly_cap_usd=Decimal(100),
        starts_at=first.expires_at,
        expires_at=first.expires_at + timedelta(days=1),
    )
    statuses: set[int] = set()
    at = database_now()
    while at <= second.starts_at + timedelta(seconds=0.5):
        statuses.add(world.gus.authorize(world.token, model="large").status_code)
        at = database_now()
    assert statuses == {200}
