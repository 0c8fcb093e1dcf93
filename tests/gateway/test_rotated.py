"""During a rotation both secrets call; then the older one is as unknown as any other."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection

from budgets.models import Lease, Reservation
from core import clock
from keys import secrets
from keys.models import ApiKey
from keys.services import end_previous_secret, reveal, revoke, rotate
from tests.gateway.conftest import World


def test_both_secrets_call_as_one_key_until_the_older_is_ended(world: World) -> None:
    fresh = rotated(world)
    for token in (world.token, fresh):
        assert world.gus.authorize(token).json()["key_id"] == world.key.public_id
    assert set(Reservation.objects.values_list("key_id", flat=True)) == {world.key.pk}

    end_previous_secret(actor=world.ada, key=world.key)

    unknown = world.gus.authorize(secrets.new_token())
    refused = world.gus.authorize(world.token)
    assert (refused.status_code, refused.json()) == (401, unknown.json())
    assert world.gus.authorize(fresh).status_code == 200


def test_without_an_overlap_the_older_secret_ends_at_once(world: World) -> None:
    fresh = rotated(world, overlap_hours=0)
    assert world.gus.authorize(world.token).status_code == 401
    assert world.gus.authorize(fresh).status_code == 200


def test_a_revoked_key_refuses_both(world: World) -> None:
    fresh = rotated(world)
    revoke(actor=world.ada, key=world.key, reason="Leaked.")
    assert {world.gus.authorize(token).status_code for token in (world.token, fresh)} == {401}


def test_leases_of_before_are_recalled_when_the_older_secret_ends(world: World) -> None:
    rotated(world)
    lease = open_lease(world)
    assert recalled() == []
    end_previous_secret(actor=world.ada, key=world.key)
    assert recalled() == [lease.public_id]


def test_leases_of_the_newer_secret_stay(world: World) -> None:
    rotated(world, overlap_hours=0)
    open_lease(world)
    assert recalled() == []


def rotated(world: World, *, overlap_hours: int = 24) -> str:
    """Rotate Ada's key and return its new secret."""
    rotate(actor=world.ada, key=world.key, overlap_hours=overlap_hours)
    return reveal(actor=world.ada, key=ApiKey.objects.get(pk=world.key.pk)).token


def open_lease(world: World) -> Lease:
    now = clock.now()
    return Lease.objects.create(
        source=world.gus.gateway.public_id,
        node="node-1",
        key_id=world.key.pk,
        owner=world.ada,
        project=world.project,
        team=world.team,
        department=world.team.department,
        model=world.small,
        tier_id=1,
        budget_ids=[],
        window_starts=[],
        granted_usd=0,
        held_usd=0,
        opened_at=now,
        expires_at=now + timedelta(seconds=30),
        reclaim_at=now + timedelta(minutes=10),
    )


def recalled() -> list[str]:
    """Return what the node is told to stop."""
    (source,) = set(Lease.objects.values_list("source", flat=True))
    with connection.cursor() as cursor:
        cursor.execute("SELECT gateway_recalled(%s, 'node-1')", [source])
        return [name for (name,) in cursor.fetchall()]
