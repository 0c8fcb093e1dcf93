"""Who sees which keys, and what a key may call."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine

from core import clock
from keys.models import ApiKey, GrantState
from keys.selectors import active_grants, listed, tiers_now
from keys.services import issue_key, revoke_grant
from tests import factories
from tests.cast import Cast


@pytest.fixture
def key(cast: Cast) -> ApiKey:
    return issue_key(actor=cast.ada, project=cast.ranking, name="laptop")


@pytest.mark.parametrize(
    ("name", "sees"),
    [
        ("ada", True),
        ("ben", True),
        ("cleo", True),
        ("fay", True),
        ("audrey", True),
        ("ann", True),
        ("dan", False),
        ("eve", False),
        ("olga", False),
    ],
)
def test_keys_are_seen_by_owner_and_overseers(cast: Cast, key: ApiKey, name: str, sees: bool) -> None:
    assert listed(getattr(cast, name)).filter(pk=key.pk).exists() == sees


def test_a_colleague_does_not_see_the_key(cast: Cast, key: ApiKey) -> None:
    colleague = factories.MembershipFactory.create(team=cast.search).user
    assert not listed(colleague).exists()


def test_tiers_are_the_default_one_and_those_of_active_grants(cast: Cast, key: ApiKey) -> None:
    factories.approved_grant(key, tier_number=2)
    later = factories.approved_grant(key, tier_number=3, starts_at=clock.now() + timedelta(days=1))
    assert tiers_now(key) == [1, 2]
    assert later.state == GrantState.SCHEDULED
    with time_machine.travel(clock.now() + timedelta(days=2)):
        assert tiers_now(key) == [1, 2, 3]
    with time_machine.travel(clock.now() + timedelta(days=40)):
        assert tiers_now(key) == [1]


def test_ending_one_grant_leaves_the_other(cast: Cast, key: ApiKey) -> None:
    first, second = factories.approved_grant(key), factories.approved_grant(key, tier_number=3)
    revoke_grant(actor=cast.ben, grant=first, reason="Not used.")
    assert active_grants(ApiKey.objects.get(pk=key.pk)) == [second]
    assert tiers_now(ApiKey.objects.get(pk=key.pk)) == [1, 3]


@pytest.mark.parametrize("keys", [5, 50])
def test_a_list_costs_two_queries_however_long(cast: Cast, keys: int, django_assert_num_queries: Any) -> None:
    factories.ApiKeyFactory.create_batch(keys, project=cast.ranking, owner=cast.ada)
    factories.approved_grant(ApiKey.objects.earliest("pk"))
    with django_assert_num_queries(2):
        shown = [
            (str(key.project.team.department), str(key.owner), tiers_now(key)) for key in listed(cast.ben)
        ]
    assert len(shown) == keys
