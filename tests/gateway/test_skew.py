"""The statement of a decision goes by the database's clock: that of the portal is ten minutes off here, and
nobody sets it right.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.conf import settings

from budgets.models import Reservation
from keys.models import ApiKey
from tests import factories
from tests.gateway.conftest import World
from tests.gateway.test_lapse import database_now, give

LITTLE = timedelta(minutes=5)


@pytest.fixture(params=[-10, 10])
def skewed(request: pytest.FixtureRequest, world: World) -> Iterator[World]:
    """Move the clock of the portal, and of the gateway that signs by it."""
    with time_machine.travel(database_now() + timedelta(minutes=request.param), tick=True):
        yield world


@pytest.mark.parametrize(("ends_in", "status"), [(LITTLE, 200), (-LITTLE, 403)])
def test_grant_ends_at_its_end(skewed: World, ends_in: timedelta, status: int) -> None:
    give(skewed, ends_in=ends_in)
    assert skewed.gus.authorize(skewed.token, model="large").status_code == status


@pytest.mark.parametrize(("ends_in", "status"), [(LITTLE, 200), (-LITTLE, 401)])
def test_key_ends_at_its_end(skewed: World, ends_in: timedelta, status: int) -> None:
    day, now = timedelta(days=1), database_now()
    key = factories.ApiKeyFactory.create(
        project=skewed.project, owner=skewed.ada, created_at=now - day, expires_at=now + day
    )
    token = factories.revealed(key)
    ApiKey.objects.filter(pk=key.pk).update(expires_at=now + ends_in)
    assert skewed.gus.authorize(token).status_code == status


def test_call_holds_its_money_for_as_long_as_everywhere(skewed: World) -> None:
    assert skewed.gus.authorize(skewed.token).status_code == 200
    held = Reservation.objects.first()
    assert held is not None
    left = held.expires_at - database_now()
    assert abs(left - timedelta(seconds=settings.HOLD_SECONDS)) < timedelta(minutes=1)
