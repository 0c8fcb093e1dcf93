"""Between what a call sees of a balance and what it takes of it, nobody else takes anything. The moment
between the two is held open here, so that the order of the calls is no matter of luck.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import Client

from budgets.models import Balance, Reservation, ScopeKind
from budgets.selectors import unbalanced_balances
from core import clock
from keys.models import ApiKey
from tests import factories
from tests.gateway.conftest import Gus, World, build_world
from tests.racing import wait_until, waiting_for_locks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]


def test_what_one_call_was_cut_down_to_is_not_taken_by_another_before_it_is_booked() -> None:
    world = build_world()
    type(world.small.tier).objects.filter(number=1).update(floor_max_output_tokens=10)
    world.budget("key", kind=ScopeKind.KEY, limit="0.0011")  # a call of 0.0012 is cut down to all of it
    token = another_token(world)  # before anything of the first key is remembered: it makes that void
    first = world.gus.authorize(world.token)
    assert (first.status_code, first.json()["max_output_tokens"]) == (200, 50)
    world.gus.release(first.json()["reservation"])

    with ThreadPoolExecutor(max_workers=2) as pool:
        with transaction.atomic():  # the id of the first call is taken, so it waits once it is cut down
            assert world.gus.authorize(token, request_id="the-same").status_code == 200
            cut_down = pool.submit(status_of, world, request_id="the-same")
            wait_until(lambda: waiting_for_locks() == 1)
            meanwhile = pool.submit(status_of, world)
            wait_until(lambda: meanwhile.done() or waiting_for_locks() == 2)
            transaction.set_rollback(True)
        answers = [each.result(timeout=20) for each in (cut_down, meanwhile)]

    assert answers == [200, 429]
    assert Reservation.objects.get(state="open").held_usd == Decimal("0.0011")
    assert Balance.objects.get().reserved_usd == Decimal("0.0011")
    assert unbalanced_balances() == []


def status_of(world: World, **changes: Any) -> int:
    """Ask for a call on a connection of its own."""
    try:
        status: int = Gus(world.gus.gateway, Client()).authorize(world.token, **changes).status_code
        return status
    finally:
        connections.close_all()


def another_token(world: World) -> str:
    """Give a second key of the project, which no budget binds."""
    ends = clock.now() + timedelta(days=90)
    return factories.revealed(
        ApiKey.objects.create(name="another", project=world.project, owner=world.ada, expires_at=ends)
    )
