"""Requests for more budget in the API: what is shown, what is given, and each answer of the table."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine

from approvals.models import BudgetRequest
from budgets.models import BudgetLimit
from core import clock
from tests.api.world import Caller, World
from tests.factories import RoleAssignmentFactory

WHY = "A launch in December."


@pytest.fixture
def wish(world: World) -> dict[str, Any]:
    """Return Ada's wish for 600 where 500 is the limit."""
    return {"budget": world.budget.public_id, "limit_usd": "600", "reason": WHY}


@pytest.fixture
def path(ada: Caller, wish: dict[str, Any]) -> str:
    """Return the address of Ada's request."""
    made = ada.post("budget-requests/", wish)
    assert made.status_code == 201, made.content
    return str(made["Location"])


def approve(caller: Caller, path: str, **given: Any) -> Any:
    return caller.post(f"{path}decide/", {"verdict": "approve", "seen_revision": 1, **given})


def test_it_holds_what_was_asked_and_who_decides(ada: Caller, path: str) -> None:
    asked = ada.get(path).json()
    assert (asked["status"], asked["limit_usd"], asked["until"]) == ("pending", "600.000000000000", None)
    assert (asked["role"], asked["deciders"], asked["may_decide"]) == ("lead", ["Ben Okafor"], False)
    assert (asked["given_usd"], asked["comments"]) == (None, [])


def test_it_says_when_a_decision_should_come_for_as_long_as_one_can(ada: Caller, path: str) -> None:
    """The clock is that of the owner whose turn it is; nothing runs once it is over."""
    asked = BudgetRequest.objects.get()
    turns = [asked.revised_at + timedelta(hours=48 * number) for number in (1, 2)]
    with time_machine.travel(asked.revised_at, tick=False) as time:
        assert datetime.fromisoformat(ada.get(path).json()["sla_at"]) == turns[0]
        time.move_to(turns[0])
        assert datetime.fromisoformat(ada.get(path).json()["sla_at"]) == turns[1]
        time.move_to(asked.decide_by)
        assert ada.get(path).json()["sla_at"] is None


def test_each_answer_carries_the_revision_as_its_tag_and_takes_it_back(
    ada: Caller, ben: Caller, wish: dict[str, Any]
) -> None:
    made = ada.post("budget-requests/", wish)
    path = str(made["Location"])
    assert (made["ETag"], ada.get(path)["ETag"]) == ('"1"', '"1"')
    changed = ada.post(f"{path}amend/", {"limit_usd": "650", "reason": WHY, "seen_revision": 1})
    assert changed["ETag"] == '"2"'
    old = ben.post(f"{path}decide/", {"verdict": "approve"}, headers={"If-Match": made["ETag"]})
    assert (old.status_code, old.json()["code"]) == (412, "changed_since_read")
    decided = ben.post(f"{path}decide/", {"verdict": "approve"}, headers={"If-Match": changed["ETag"]})
    assert (decided.status_code, decided["ETag"], decided.json()["status"]) == (200, '"2"', "approved")


def test_verdict_without_the_revision_is_refused(ben: Caller, path: str) -> None:
    refused = ben.post(f"{path}decide/", {"verdict": "approve"})
    assert (refused.status_code, list(refused.json()["errors"])) == (422, ["seen_revision"])


def test_the_same_verdict_again_answers_the_same(ben: Caller, path: str) -> None:
    first, second = (approve(ben, path) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json() == first.json()
    assert BudgetLimit.objects.filter(request__isnull=False).count() == 1


def test_less_is_given_and_never_more(ben: Caller, path: str) -> None:
    more = approve(ben, path, limit_usd="601")
    assert (more.status_code, list(more.json()["errors"])) == (422, ["limit_usd"])
    given = approve(ben, path, limit_usd="550").json()
    assert (given["limit_usd"], given["given_usd"]) == ("600.000000000000", "550.000000000000")
    assert given["given_until"] is None


def test_a_temporary_limit_is_given_for_less_time(ada: Caller, ben: Caller, wish: dict[str, Any]) -> None:
    until, sooner = (clock.now() + timedelta(days=number) for number in (9, 3))
    made = ada.post("budget-requests/", wish | {"until": until.isoformat()})
    given = approve(ben, str(made["Location"]), until=sooner.isoformat()).json()
    assert (given["given_usd"], given["given_until"][:10]) == ("100.000000000000", f"{sooner:%Y-%m-%d}")


def test_who_decided_is_409_with_who_when_what(ben: Caller, path: str, world: World) -> None:
    RoleAssignmentFactory.create(user=world.cast.eve, role="lead", team=world.cast.search)
    approve(ben, path)
    late = approve(Caller(world.cast.eve), path)
    assert late.status_code == 409
    assert (late.json()["code"], late.json()["by"], late.json()["what"]) == (
        "already_decided",
        "Ben Okafor",
        "approved",
    )
    assert late.json()["at"].startswith(f"{clock.now():%Y-%m-%d}")


def test_an_old_revision_is_412_with_the_difference(ada: Caller, ben: Caller, path: str) -> None:
    ada.post(f"{path}amend/", {"seen_revision": 1, "limit_usd": "650", "reason": WHY})
    stale = approve(ben, path)
    assert stale.status_code == 412
    assert stale.json()["difference"] == {
        "limit_usd": {"before": "600.000000000000", "after": "650.000000000000"}
    }
    assert approve(ben, path, seen_revision=2).status_code == 200


def test_whoever_may_not_is_403_and_told_who_can(ada: Caller, path: str) -> None:
    refused = approve(ada, path)
    assert (refused.status_code, refused.json()["who_can"]) == (403, ["Ben Okafor"])


def test_past_its_time_is_410(world: World, path: str) -> None:
    with time_machine.travel(BudgetRequest.objects.get().decide_by, tick=False):
        assert approve(Caller(world.cast.ben), path).status_code == 410


def test_nobody_to_decide_is_422_naming_the_role(ada: Caller, wish: dict[str, Any], world: World) -> None:
    world.cast.ben.role_assignments.update(valid_until=clock.now())
    world.cast.cleo.role_assignments.update(valid_until=clock.now())
    refused = ada.post("budget-requests/", wish)
    assert (refused.status_code, refused.json()["code"]) == (422, "nobody_can_approve")
    assert refused.json()["role"] == "director"


def test_a_question_and_its_answer_are_read_where_they_were_asked(
    ada: Caller, ben: Caller, path: str
) -> None:
    ben.post(f"{path}comment/", {"text": "Why so much?"})
    said = ada.post(f"{path}comment/", {"text": "The launch."}).json()["comments"]
    assert [(each["who"], each["text"], each["revision"]) for each in said] == [
        ("Ben Okafor", "Why so much?", 1),
        ("Ada Moreno", "The launch.", 1),
    ]
    assert ben.post(f"{path}comment/", {"text": " "}).status_code == 422
