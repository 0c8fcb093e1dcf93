"""Why a key is no longer good: people who look after it read the reason, and its caller never does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core import clock
from keys import secrets
from keys.models import ApiKey
from keys.services import revoke
from tests import factories
from tests.browsing import Visitor
from tests.factories import RoleAssignmentFactory, UserFactory
from tests.gateway.conftest import World
from tests.gateway.test_leases import take
from tests.gateway.test_rotated import rotated
from usage.models import BlockedHour
from usage.reasons import REASONS


def dead(world: World, reason: str) -> str:
    """Return the secret of a key of Ada's that is not good for this reason."""
    if reason == "key_expired":  # a key cannot be made expired; this one is made anew in the past
        long_ago = clock.now() - timedelta(days=9)
        return factories.revealed(
            ApiKey.objects.create(
                name="old",
                project=world.project,
                owner=world.ada,
                created_at=long_ago,
                expires_at=clock.now() - timedelta(seconds=1),
            )
        )
    if reason == "key_revoked":
        revoke(actor=world.ada, key=world.key, reason="Leaked.")
    elif reason == "key_owner_inactive":
        world.ada.is_active = False
        world.ada.save()
    elif reason == "key_project_archived":
        world.project.archived_at = clock.now()
        world.project.save()
    else:
        rotated(world, overlap_hours=0)
    return world.token


@pytest.mark.parametrize(
    "reason",
    ["key_revoked", "key_expired", "key_owner_inactive", "key_project_archived", "key_replaced"],
)
def test_reason_is_counted_by_the_hour_and_the_caller_reads_what_all_read(world: World, reason: str) -> None:
    unknown = world.gus.authorize(secrets.new_token())
    token = dead(world, reason)

    answers = [world.gus.authorize(token) for _ in range(3)]

    assert {(answer.status_code, answer.content) for answer in answers} == {(401, unknown.content)}
    assert list(BlockedHour.objects.values_list("code", "calls", "project_id")) == [
        (reason, 3, world.project.pk)
    ]
    lead = UserFactory.create(name="Ben Lead")
    RoleAssignmentFactory.create(user=lead, role="lead", team=world.team)
    [line] = Visitor(lead).get("/blocked/").rows("calls-h")
    assert line[3] == f"{REASONS[reason].happened} {reason}"


@pytest.mark.parametrize("reason", ["key_revoked", "key_expired", "key_replaced"])
def test_lease_that_is_refused_for_it_is_counted_as_a_call_is(world: World, reason: str) -> None:
    token = dead(world, reason)

    asked = [take(world, key=token, lease=f"wish_{number}") for number in range(2)]
    world.gus.authorize(token)

    assert [answer.status_code for answer in asked] == [401, 401]
    assert list(BlockedHour.objects.values_list("code", "calls", "project_id")) == [
        (reason, 3, world.project.pk)
    ]


def test_lease_for_a_secret_that_nobody_has_is_in_nobodys_count(world: World) -> None:
    assert take(world, key=secrets.new_token()).status_code == 401
    assert not BlockedHour.objects.exists()


def test_secret_that_nobody_has_is_in_nobodys_count(world: World) -> None:
    world.gus.authorize(secrets.new_token())
    world.gus.authorize("psr_live_typo")

    assert not BlockedHour.objects.exists()
