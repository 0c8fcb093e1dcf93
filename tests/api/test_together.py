"""Several small requests approved at a time over the API, each by itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from approvals.models import AccessRequest
from keys.models import Grant
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Answer, Caller
from tests.cast import Cast

KEY = {"Idempotency-Key": "a-7c1"}
PATH = "requests/approve-together/"


@pytest.fixture
def two(cast: Cast) -> list[AccessRequest]:
    """Let small requests of Tier 2 be approved together, and ask for two: as Ada, and as Dan who came."""
    policy = factories.new_policy(cast.tier2, [("lead", 1)], together_cap_usd=Decimal(500))
    factories.MembershipFactory.create(user=cast.dan, team=cast.search)
    return [
        factories.AccessRequestFactory.create(requester=person, project=cast.ranking, policy=policy)
        for person in (cast.ada, cast.dan)
    ]


def approve(caller: Caller, seen: list[tuple[AccessRequest, int]], **headers: Any) -> Answer:
    body = [{"id": each.public_id, "seen_revision": revision} for each, revision in seen]
    return caller.post(PATH, {"requests": body}, **headers)


def test_several_are_approved_once(ben: Caller, two: list[AccessRequest]) -> None:
    seen = [(each, 1) for each in two]

    first, again = (approve(ben, seen, headers=KEY) for _ in range(2))

    assert first.status_code == 200
    assert again.json() == first.json()
    told = {each["request"]: (each["status"], each["refusal"]) for each in first.json()["answered"]}
    assert told == {each.public_id: ("approved", None) for each in two}
    assert Grant.objects.count() == 2


def test_what_is_refused_is_told_and_stops_no_other(ben: Caller, two: list[AccessRequest]) -> None:
    ours, changed = two

    answered = approve(ben, [(ours, 1), (changed, 7)]).json()["answered"]

    told = {each["request"]: each for each in answered}
    assert told[ours.public_id]["refusal"] is None
    assert told[changed.public_id]["status"] == "pending"
    assert told[changed.public_id]["refusal"]["code"] == "changed_since_read"
    assert Grant.objects.count() == 1


def test_where_none_is_approved_the_refusal_is_the_answer(
    ada: Caller, ben: Caller, two: list[AccessRequest]
) -> None:
    problem(approve(ada, [(two[0], 1)]), 403, "not_eligible")
    problem(approve(ben, [(two[0], 7)]), 412, "changed_since_read")
    assert not Grant.objects.exists()


def test_what_does_not_fit_together_is_refused_whole(
    ben: Caller, cast: Cast, two: list[AccessRequest]
) -> None:
    project = factories.ProjectFactory.create(team=cast.search, owner=cast.ben)
    dear = factories.AccessRequestFactory.create(
        requester=cast.ada, project=project, policy=two[0].policy, expected_monthly_usd=Decimal(501)
    )
    for seen in ([(two[0], 1), (dear, 1)], [(two[0], 1), (two[0], 1)]):
        problem(approve(ben, seen), 422, "invalid_input")
    hidden = factories.AccessRequestFactory.create(requester=cast.eve, project=cast.fraud)
    refused = problem(approve(ben, [(two[0], 1), (hidden, 1)]), 422, "invalid_input")
    assert list(refused["errors"]) == ["requests"]
    assert hidden.public_id in refused["detail"]
    assert not Grant.objects.exists()
