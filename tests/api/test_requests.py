"""Requests over the API: the answers of the decision table, word for word what the service says."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals.models import AccessRequest, Decision
from approvals.services import amend
from catalog.models import Tier
from core import clock
from keys.models import Grant
from teams.models import Membership, Role, RoleAssignment
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Caller, World
from tests.browsing import own_queries
from tests.cast import Cast

REASON = "The small models miss one answer in three."


@pytest.fixture
def ask(cast: Cast) -> dict[str, Any]:
    """Give the body of a request that is in order."""
    return {
        "project": cast.ranking.public_id,
        "tier": 2,
        "models": ["large"],
        "reason": REASON,
        "expected_monthly_usd": "400.50",
    }


@pytest.fixture
def path(ada: Caller, ask: dict[str, Any]) -> str:
    """Let Ada ask, and give the address of her request."""
    made = ada.post("requests/", ask)
    assert made.status_code == 201, made.content
    return str(made["Location"])


def test_request_holds_what_was_asked_and_who_decides(ada: Caller, cast: Cast, path: str) -> None:
    request = ada.get(path).json()
    assert request["status"] == "pending"
    assert request["revision"] == 1
    assert request["models"] == ["large"]
    assert request["expected_monthly_usd"] == "400.500000000000"
    assert request["duration_days"] == 90
    assert request["requester"] == {"id": cast.ada.public_id, "name": "Ada Moreno"}
    assert request["stages"] == [{"role": "lead", "quorum": 1, "agreed": 0}]
    assert request["deciders"] == ["Ben Okafor"]
    assert request["may_decide"] is False
    assert request["decisions"] == []
    assert request["key"] is None


def test_answer_carries_the_revision_as_its_tag(ben: Caller, path: str) -> None:
    assert ben.get(path)["ETag"] == '"1"'
    assert ben.get(path).json()["may_decide"] is True


def test_it_says_whether_it_can_be_approved(ada: Caller, ben: Caller, path: str) -> None:
    assert ada.get(path).json()["may_approve"] is False
    assert ben.get(path).json()["may_approve"] is True
    ben.post(f"{path}decide/", {"verdict": "approve", "seen_revision": 1})
    assert ben.get(path).json()["may_approve"] is False


def test_what_lacks_what_the_rules_ask_for_can_only_be_denied(ben: Caller, cast: Cast) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], needs_ticket=True)
    factories.AccessRequestFactory.create(requester=cast.ada, project=cast.ranking)
    [lacks] = ben.get("requests/").json()["results"]
    assert (lacks["may_decide"], lacks["may_approve"]) == (True, False)

    factories.new_policy(cast.tier2, [("lead", 1)])
    [let_off] = ben.get("requests/").json()["results"]
    assert (let_off["may_decide"], let_off["may_approve"]) == (True, True)


def test_replaced_rules_cost_one_query_for_all_requests(ben: Caller, cast: Cast) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], needs_ticket=True)
    for _ in range(3):
        factories.AccessRequestFactory.create(project=cast.ranking)
    asked = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as captured:
            assert len(ben.get("requests/").json()["results"]) == 3
        asked.append(len(own_queries(captured)))
        factories.new_policy(cast.tier2, [("lead", 1)])
    assert asked[1] == asked[0] + 1


def test_nobody_may_approve_for_somebody_who_left_the_team(ben: Caller, cast: Cast, path: str) -> None:
    Membership.objects.filter(user=cast.ada).delete()
    request = ben.get(path).json()
    assert (request["may_decide"], request["may_approve"]) == (True, False)
    assert ben.post(f"{path}decide/", {"verdict": "approve", "seen_revision": 1}).status_code == 409


def test_it_says_when_a_decision_should_come_for_as_long_as_one_can(ada: Caller, path: str) -> None:
    asked = AccessRequest.objects.get()
    assert datetime.fromisoformat(ada.get(path).json()["sla_at"]) == asked.sla_at
    assert ada.post(f"{path}withdraw/").json()["sla_at"] is None


def test_lead_approves_and_a_key_awaits_its_owner(ada: Caller, ben: Caller, path: str) -> None:
    body = {"verdict": "approve", "seen_revision": 1, "monthly_cap_usd": "300", "duration_days": 30}
    decided = ben.post(f"{path}decide/", body)
    assert decided.status_code == 200
    assert decided.json()["status"] == "approved"
    assert decided.json()["decisions"][0]["monthly_cap_usd"] == "300.000000000000"
    key = ada.get(f"keys/{decided.json()['key']}/").json()
    assert key["tiers"] == [1, 2]
    assert key["state"] == "awaiting_reveal"


def test_same_verdict_again_changes_nothing_and_answers_the_same(ben: Caller, path: str) -> None:
    body = {"verdict": "approve", "seen_revision": 1}
    first, second = (ben.post(f"{path}decide/", body) for _ in range(2))
    assert second.status_code == 200
    assert second.json() == first.json()
    assert Grant.objects.count() == Decision.objects.count() == 1


def test_what_was_said_and_offered_is_read_where_it_was(ada: Caller, ben: Caller, path: str) -> None:
    ben.post(f"{path}comment/", {"text": "Would Tier 1 do?", "offered_tier": 1})
    (said,) = ada.get(path).json()["comments"]
    assert (said["who"], said["text"], said["revision"], said["offered_tier"]) == (
        "Ben Okafor",
        "Would Tier 1 do?",
        1,
        1,
    )
    assert ada.get("requests/").json()["results"][0]["comments"] == [said]


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"'])
def test_tag_stands_for_the_revision(ben: Caller, path: str, tag: str) -> None:
    decided = ben.post(f"{path}decide/", {"verdict": "approve"}, headers={"If-Match": tag})
    assert decided.status_code == 200


def test_verdict_without_the_revision_is_refused(ben: Caller, path: str) -> None:
    document = problem(ben.post(f"{path}decide/", {"verdict": "approve"}), 422, "invalid_input")
    assert list(document["errors"]) == ["seen_revision"]


@pytest.mark.parametrize("tag", ["1", "*", '"x"', '"0"', '"1", "2"', '"99999999999999999999"'])
def test_tag_that_is_not_of_the_request_is_412(ben: Caller, path: str, tag: str) -> None:
    response = ben.post(f"{path}decide/", {"verdict": "approve"}, headers={"If-Match": tag})
    problem(response, 412, "changed_since_read")
    assert not Decision.objects.exists()


def test_tag_and_revision_that_differ_are_refused(ben: Caller, path: str) -> None:
    body = {"verdict": "approve", "seen_revision": 2}
    problem(ben.post(f"{path}decide/", body, headers={"If-Match": '"1"'}), 422, "invalid_input")
    assert not Decision.objects.exists()


def test_other_verdict_after_the_decision_is_409_with_who_when_what(
    ben: Caller, path: str, cast: Cast
) -> None:
    ben.post(f"{path}decide/", {"verdict": "approve", "seen_revision": 1})
    body = {"verdict": "deny", "seen_revision": 1, "comment": "No."}
    document = problem(ben.post(f"{path}decide/", body), 409, "already_decided")
    assert document["by"] == "Ben Okafor"
    assert document["what"] == "approved"
    assert document["at"]


def test_verdict_on_an_old_revision_is_412_with_the_difference(ben: Caller, path: str, cast: Cast) -> None:
    amend(
        actor=cast.ada,
        request=AccessRequest.objects.get(),
        seen_revision=1,
        reason=REASON,
        expected_monthly_usd=AccessRequest.objects.get().expected_monthly_usd,
        model_names=["large"],
        duration_days=30,
    )
    document = problem(
        ben.post(f"{path}decide/", {"verdict": "approve", "seen_revision": 1}), 412, "changed_since_read"
    )
    assert document["difference"] == {"duration_days": {"before": 90, "after": 30}}
    assert ben.get(path)["ETag"] == '"2"'


def test_requester_deciding_is_403_and_told_who_can(ada: Caller, path: str) -> None:
    document = problem(
        ada.post(f"{path}decide/", {"verdict": "approve", "seen_revision": 1}), 403, "not_eligible"
    )
    assert document["who_can"] == ["Ben Okafor"]


def test_verdict_past_its_time_is_410(ben: Caller, cast: Cast) -> None:
    late = factories.AccessRequestFactory.create(
        requester=cast.ada, project=cast.ranking, created_at=clock.now() - timedelta(days=8)
    )
    response = ben.post(f"requests/{late.public_id}/decide/", {"verdict": "approve", "seen_revision": 1})
    problem(response, 410, "past_its_time")


def test_denial_without_a_comment_is_422(ben: Caller, path: str) -> None:
    response = ben.post(f"{path}decide/", {"verdict": "deny", "seen_revision": 1})
    assert list(problem(response, 422, "invalid_input")["errors"]) == ["comment"]


@pytest.mark.parametrize(("name", "value"), [("monthly_cap_usd", "400.51"), ("duration_days", 91)])
def test_approver_cannot_raise_what_was_asked(ben: Caller, path: str, name: str, value: object) -> None:
    response = ben.post(f"{path}decide/", {"verdict": "approve", "seen_revision": 1, name: value})
    assert list(problem(response, 422, "invalid_input")["errors"]) == [name]


def test_approval_for_somebody_who_left_is_409(ben: Caller, path: str, cast: Cast) -> None:
    Membership.objects.filter(user=cast.ada).update(valid_until=clock.now())
    problem(ben.post(f"{path}decide/", {"verdict": "approve", "seen_revision": 1}), 409, "beneficiary_left")


def test_request_that_nobody_could_approve_is_422(ada: Caller, ask: dict[str, Any], cast: Cast) -> None:
    RoleAssignment.objects.filter(role=Role.LEAD, team=cast.search).delete()
    document = problem(ada.post("requests/", ask), 422, "nobody_can_approve")
    assert document["role"] == "lead"


def test_second_request_for_the_same_is_409_and_names_the_first(
    ada: Caller, ask: dict[str, Any], path: str
) -> None:
    document = problem(ada.post("requests/", ask), 409, "already_asked")
    assert path.endswith(f"{document['request']}/")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tier", 1),
        ("tier", 9),
        ("models", ["frontier"]),
        ("reason", "Please."),
        ("expected_monthly_usd", "0"),
        ("duration_days", 91),
        ("extends_key", "key_" + "a" * 18),
    ],
)
def test_wish_that_the_policy_does_not_allow_is_422_by_its_field(
    ada: Caller, ask: dict[str, Any], name: str, value: object
) -> None:
    response = ada.post("requests/", {**ask, name: value})
    assert list(problem(response, 422, "invalid_input")["errors"]) == [name]
    assert not AccessRequest.objects.exists()


@pytest.mark.parametrize("name", ["beneficiary", "requester", "policy", "decide_by", "status", "stages"])
def test_what_the_server_owns_is_refused_from_the_caller(ada: Caller, ask: dict[str, Any], name: str) -> None:
    response = ada.post("requests/", {**ask, name: "approved"})
    assert list(problem(response, 400, "invalid_request")["errors"]) == [name]


def test_key_of_a_colleague_cannot_be_raised(ben: Caller, ask: dict[str, Any], world: World) -> None:
    response = ben.post("requests/", {**ask, "tier": 3, "models": [], "extends_key": world.key.public_id})
    assert list(problem(response, 422, "invalid_input")["errors"]) == ["extends_key"]


def test_own_key_can_be_raised(ada: Caller, ask: dict[str, Any], cast: Cast) -> None:
    key = factories.ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    made = ada.post("requests/", {**ask, "extends_key": key.public_id}).json()
    assert made["extends_key"] == key.public_id


def test_requester_withdraws_once_and_for_all(ada: Caller, ben: Caller, path: str) -> None:
    first, second = (ada.post(f"{path}withdraw/") for _ in range(2))
    assert first.json()["status"] == "withdrawn"
    assert second.json() == first.json()
    problem(ben.post(f"{path}decide/", {"verdict": "approve", "seen_revision": 1}), 409, "already_decided")


def test_requests_can_be_listed_by_what_became_of_them(ben: Caller, world: World) -> None:
    late = factories.AccessRequestFactory.create(
        project=world.cast.ranking, created_at=clock.now() - timedelta(days=8)
    )
    found = {
        status: [row["id"] for row in ben.get("requests/", status=status).json()["results"]]
        for status in ("pending", "expired", "approved", "denied")
    }
    assert found["pending"] == [world.request.public_id]
    assert found["expired"] == [late.public_id]
    assert found["approved"] == [world.grant.source_request]
    assert found["denied"] == []


def test_requests_can_be_listed_by_project_tier_and_requester(ben: Caller, world: World) -> None:
    for query, number in (
        ({"project": world.cast.ranking.public_id}, 2),
        ({"project": world.cast.fraud.public_id}, 0),
        ({"tier": 2}, 2),
        ({"tier": 3}, 0),
        ({"requester": world.cast.ada.public_id}, 2),
        ({"requester": world.cast.dan.public_id}, 0),
    ):
        assert len(ben.get("requests/", **query).json()["results"]) == number, query


def test_approver_finds_what_waits_for_him(ben: Caller, ada: Caller, world: World) -> None:
    director_decides = factories.AccessRequestFactory.create(
        project=world.cast.ranking, tier=Tier.objects.get(number=3)
    )
    waiting = [row["id"] for row in ben.get("requests/", waiting_for="me").json()["results"]]
    assert waiting == [world.request.public_id]
    assert director_decides.public_id not in waiting
    assert ada.get("requests/", waiting_for="me").json()["results"] == []
