"""Budgets over the API: opened, planned, topped up, ruled and closed; and rates of calls."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from budgets.models import Budget, BudgetLimit, RateLimit, ScopeKind, Window
from core import clock
from core.models import AuditEvent
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Caller, World, open_budget
from tests.budgets.conftest import spend


def opening(world: World, **fields: Any) -> dict[str, Any]:
    """Return a body that opens a daily budget of Ranking."""
    return {
        "scope": {"kind": "project", "id": world.cast.ranking.public_id},
        "window": "day",
        "mode": "hard",
        "amount_usd": "20",
        "reason": "A quiet day.",
        **fields,
    }


def in_days(number: int) -> str:
    """Return a moment so many days from now."""
    return (clock.now() + timedelta(days=number)).isoformat()


def test_budget_is_opened_with_all_its_rules(ben: Caller, world: World) -> None:
    body = opening(
        world, window="fiscal_year", window_anchor=4, time_zone="Asia/Kolkata", mode="soft", only_tier=2,
        allocation="overcommit", overcommit_ratio="1.5", roll_over="unused", amount_usd="1234.5",
    )  # fmt: skip
    answer = ben.post("budgets/", body)
    assert answer.status_code == 201
    budget = answer.json()
    assert answer["Location"].endswith(f"/api/v1/budgets/{budget['id']}/")
    assert ben.get(answer["Location"]).json() == budget
    assert budget["scope"] == {"kind": "project", "id": world.cast.ranking.public_id, "name": "Ranking"}
    shown = {name: budget[name] for name in body if name in budget and name not in {"scope", "amount_usd"}}
    assert shown == {name: body[name] for name in shown} | {"overcommit_ratio": "1.50"}
    assert (budget["only"], budget["limit_usd"]) == ("Tier 2", "1234.500000000000")


@pytest.mark.parametrize("kind", ["organisation", "department", "team", "key"])
def test_budget_is_opened_at_every_scope(ann: Caller, world: World, kind: str) -> None:
    cast = world.cast
    ids = {"department": cast.product.public_id, "team": cast.search.public_id, "key": world.key.public_id}
    scope = {"kind": kind, "id": ids.get(kind)}
    answer = ann.post("budgets/", opening(world, scope=scope, only_model=cast.large.public_id))
    assert answer.status_code == 201
    assert {name: answer.json()["scope"][name] for name in scope} == scope
    assert answer.json()["only"] == "large"


@pytest.mark.parametrize(
    ("fields", "status", "name"),
    [
        ({"scope": {"kind": "project", "id": "prj_" + "x" * 18}}, 422, "scope"),
        ({"scope": {"kind": "organisation", "id": "tem_x"}}, 422, "scope"),
        ({"scope": {"kind": "galaxy"}}, 400, "scope.kind"),
        ({"only_tier": 99}, 422, "only_tier"),
        ({"only_tier": 2, "only_model": "mdl_" + "x" * 18}, 422, "only_model"),
        ({"time_zone": "Mars/Olympus"}, 422, "time_zone"),
        ({"window_anchor": 2}, 422, "window_anchor"),
        ({"overcommit_ratio": "1.5"}, 422, "overcommit_ratio"),
        ({"allocation": "overcommit", "overcommit_ratio": 1.5}, 400, "overcommit_ratio"),
        ({"allocation": "overcommit", "overcommit_ratio": "0.5"}, 400, "overcommit_ratio"),
        ({"window": "lifetime", "roll_over": "debt"}, 422, "roll_over"),
        ({"reason": " "}, 422, "reason"),
        ({"opened_by": "usr_x"}, 400, "opened_by"),
    ],
)
def test_budget_that_cannot_be_is_refused_by_the_field(
    ann: Caller, world: World, fields: dict[str, Any], status: int, name: str
) -> None:
    before = Budget.objects.count()
    response = ann.post("budgets/", opening(world, **fields))
    assert response.status_code == status
    assert list(response.json()["errors"]) == [name]
    assert Budget.objects.count() == before


def test_tier_and_model_together_are_refused(ann: Caller, world: World) -> None:
    body = opening(world, only_tier=2, only_model=world.cast.large.public_id)
    assert list(problem(ann.post("budgets/", body), 422, "invalid_input")["errors"]) == ["only_model"]


def test_same_budget_again_is_refused(ben: Caller, world: World) -> None:
    answers = [ben.post("budgets/", opening(world)) for _ in range(2)]
    assert answers[0].status_code == 201
    problem(answers[1], 409, "budget_exists")


def test_more_than_the_parent_hands_out_is_refused_with_the_numbers(ann: Caller, world: World) -> None:
    team = open_budget(world.cast, ScopeKind.TEAM, world.cast.search.pk, "1000")
    strict = {"mode": "hard", "allocation": "strict", "reason": "Order."}
    assert ann.post(f"budgets/{team.public_id}/rules/", strict).json()["allocation"] == "strict"
    other = factories.ProjectFactory.create(team=world.cast.search)
    scope = {"kind": "project", "id": other.public_id}
    body = opening(world, scope=scope, window="month", amount_usd="500.01")
    document = problem(ann.post("budgets/", body), 422, "no_headroom")
    assert document["highest_usd"] == "500.000000000000"
    assert "of which $500.00 is allocated to others" in document["detail"]
    lower = ann.post(f"budgets/{team.public_id}/limits/", {"amount_usd": "499", "reason": "Less."})
    assert problem(lower, 422, "no_headroom")["lowest_usd"] == "500.000000000000"


def test_plan_is_in_the_history_and_can_be_withdrawn(ben: Caller, world: World) -> None:
    path, day = f"budgets/{world.budget.public_id}/limits/", in_days(9)
    planned = ben.post(path, {"amount_usd": "900", "reason": "A launch.", "valid_from": day})
    assert planned.json()["limit_usd"] == "500.000000000000"
    newest, now = ben.get(path).json()["results"]
    assert (newest["state"], newest["amount_usd"]) == ("planned", "900.000000000000")
    assert (now["state"], now["until"]) == ("in_force", newest["in_force_since"])

    withdrawn = ben.post(f"{path}withdraw/", {"valid_from": newest["in_force_since"], "reason": "Off."})
    assert withdrawn.status_code == 200
    states = [row["state"] for row in ben.get(path).json()["results"]]
    assert states == ["planned", "replaced", "in_force"]
    again = ben.post(f"{path}withdraw/", {"valid_from": in_days(3), "reason": "Off."})
    problem(again, 404, "not_found")


def test_plan_for_yesterday_is_refused(ben: Caller, world: World) -> None:
    body = {"amount_usd": "900", "reason": "A launch.", "valid_from": in_days(-1)}
    response = ben.post(f"budgets/{world.budget.public_id}/limits/", body)
    assert list(problem(response, 422, "invalid_input")["errors"]) == ["valid_from"]


def test_top_up_adds_once(ben: Caller, world: World) -> None:
    path = f"budgets/{world.budget.public_id}/"
    body = {"amount_usd": "25.5", "valid_until": in_days(2), "reason": "Launch week."}
    answers = [ben.post(f"{path}top-ups/", body).json()["limit_usd"] for _ in range(2)]
    assert answers == ["525.500000000000"] * 2
    top_up = ben.get(f"{path}limits/").json()["results"][0]
    assert (top_up["kind"], top_up["set_by"], top_up["state"]) == ("top_up", "Ben Okafor", "in_force")
    for wrong, name in (({"amount_usd": "0"}, "amount_usd"), ({"valid_until": in_days(-1)}, "valid_until")):
        response = ben.post(f"{path}top-ups/", {**body, **wrong})
        assert list(problem(response, 422, "invalid_input")["errors"]) == [name]


def test_rules_that_refuse_calls_want_confirmation_and_name_the_keys(ben: Caller, world: World) -> None:
    path = f"budgets/{world.budget.public_id}/"
    assert ben.post(f"{path}rules/", {"mode": "soft", "reason": "A pilot."}).json()["mode"] == "soft"
    spend(world.key, world.cast.large, "600")
    body = {"mode": "hard", "reason": "Enough."}
    document = problem(ben.post(f"{path}rules/", body), 409, "needs_confirmation")
    assert document["keys"] == [{"id": world.key.public_id, "name": "prod"}]
    assert ben.post(f"{path}rules/", {**body, "confirm": True}).json()["mode"] == "hard"


def test_closed_budget_is_gone_from_the_api_and_stays_in_the_audit(ben: Caller, world: World) -> None:
    path = f"budgets/{world.budget.public_id}/"
    assert ben.post(f"{path}close/", {"reason": "The pilot ends."}).status_code == 200
    problem(ben.get(path), 404, "not_found")
    problem(ben.post(f"{path}close/", {"reason": "Again."}), 404, "not_found")
    assert AuditEvent.objects.get(action="budget.closed").reason == "The pilot ends."
    assert BudgetLimit.objects.filter(budget=world.budget).exists()


def test_rate_is_set_listed_and_removed(ben: Caller, dan: Caller, world: World) -> None:
    scope = {"kind": "key", "id": world.key.public_id}
    body = {"scope": scope, "requests_per_minute": 60, "tokens_per_minute": 2**53, "reason": "It floods."}
    made = ben.post("rate-limits/", body).json()
    assert made["scope"] == {**scope, "name": "prod"}
    assert (made["requests_per_minute"], made["tokens_per_minute"], made["parallel_calls"]) == (
        60,
        2**53,
        None,
    )
    assert [row["id"] for row in ben.get("rate-limits/", scope="key").json()["results"]] == [made["id"]]
    assert ben.get(f"rate-limits/{made['id']}/").json() == made
    problem(dan.get(f"rate-limits/{made['id']}/"), 404, "not_found")

    slower = ben.post("rate-limits/", {**body, "requests_per_minute": 30}).json()
    assert (slower["id"], slower["requests_per_minute"]) == (made["id"], 30)
    removed = ben.post(f"rate-limits/{made['id']}/remove/", {"reason": "Calm."}).json()
    assert (removed["requests_per_minute"], removed["tokens_per_minute"]) == (None, None)
    problem(ben.get(f"rate-limits/{made['id']}/"), 404, "not_found")
    assert RateLimit.objects.filter(scope_kind=ScopeKind.KEY).count() == 1


@pytest.mark.parametrize(
    ("fields", "status", "name"),
    [
        ({"scope": {"kind": "organisation"}}, 422, "scope"),
        ({"scope": {"kind": "key", "id": "key_" + "x" * 18}}, 422, "scope"),
        ({"parallel_calls": 0}, 400, "parallel_calls"),
        ({"requests_per_minute": "60"}, 400, "requests_per_minute"),
        ({"requests_per_minute": 2**31}, 400, "requests_per_minute"),
    ],
)
def test_rate_that_cannot_be_is_refused_by_the_field(
    ann: Caller, world: World, fields: dict[str, Any], status: int, name: str
) -> None:
    scope = {"kind": "team", "id": world.cast.search.public_id}
    response = ann.post("rate-limits/", {"scope": scope, "reason": "It floods.", **fields})
    assert response.status_code == status
    assert list(response.json()["errors"]) == [name]


def test_lead_does_not_speed_up_his_own_team(ben: Caller, ann: Caller, world: World) -> None:
    body = {"scope": {"kind": "team", "id": world.cast.search.public_id}, "reason": "It floods."}
    assert ann.post("rate-limits/", {**body, "requests_per_minute": 60}).status_code == 200
    document = problem(ben.post("rate-limits/", {**body, "requests_per_minute": 61}), 403, "role_needed")
    assert "Ask Ann Keller, Cleo Hart or Fay Tanaka." in document["detail"]
    assert ben.post("rate-limits/", {**body, "requests_per_minute": 59}).status_code == 200


def test_window_of_a_budget_is_the_one_that_was_asked_for(ann: Caller, world: World) -> None:
    for window in Window:
        body = opening(world, window=window.value, only_tier=3)
        assert ann.post("budgets/", body).json()["window"] == window.value
