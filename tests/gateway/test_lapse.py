"""A grant that lapses or is revoked is refused on the next call, with no worker and no queue there."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import redis
from celery.app.task import Task
from django.db import connection

from catalog.models import Tier
from keys.models import Grant
from keys.services import revoke, revoke_grant, shrink_grant
from keys.services.capping import follow_grants
from tests import factories
from tests.gateway.conftest import World

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
