"""Budgets over the API: where they stand, and a change of limit by those who may."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from budgets.models import BudgetLimit, ScopeKind
from core import clock
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Caller, World, open_budget
from tests.budgets.conftest import spend


def test_budget_says_what_is_spent_held_and_left(ada: Caller, world: World) -> None:
    spend(world.key, world.cast.large, "12.5", held="1.000000000001")
    budget = ada.get(f"budgets/{world.budget.public_id}/").json()
    assert budget["limit_usd"] == "500.000000000000"
    assert budget["spent_usd"] == "12.500000000000"
    assert budget["held_usd"] == "1.000000000001"
    assert budget["left_usd"] == "486.499999999999"
    assert budget["mode"] == "hard"
    assert budget["window"] == "month"
    assert budget["resets_at"] == budget["window_ends_at"]


def test_budget_names_its_scope_by_public_id(ann: Caller, world: World) -> None:
    cast = world.cast
    whole = open_budget(cast, ScopeKind.DEPARTMENT, cast.product.pk, "9000")
    team = open_budget(cast, ScopeKind.TEAM, cast.search.pk, "5000")
    scopes = {row["id"]: row["scope"] for row in ann.get("budgets/").json()["results"]}
    assert scopes == {
        whole.public_id: {"kind": "department", "id": cast.product.public_id, "name": "Product"},
        team.public_id: {"kind": "team", "id": cast.search.public_id, "name": "Search"},
        world.budget.public_id: {"kind": "project", "id": cast.ranking.public_id, "name": "Ranking"},
        world.key_budget.public_id: {"kind": "key", "id": world.key.public_id, "name": "prod"},
    }


def test_budget_of_the_organisation_has_no_id(ann: Caller, dan: Caller, world: World) -> None:
    budget = factories.BudgetFactory.create(
        scope_kind=ScopeKind.ORGANISATION, scope_id=0, department=None, window="day"
    )
    factories.BudgetLimitFactory.create(budget=budget)
    scope = ann.get(f"budgets/{budget.public_id}/").json()["scope"]
    assert scope == {"kind": "organisation", "id": None, "name": "Organisation"}
    problem(dan.get(f"budgets/{budget.public_id}/"), 404, "not_found")


def test_key_budget_of_a_colleague_is_not_shown(world: World) -> None:
    zoe = factories.MembershipFactory.create(team=world.cast.search).user
    problem(Caller(zoe).get(f"budgets/{world.key_budget.public_id}/"), 404, "not_found")
    assert Caller(zoe).get(f"budgets/{world.budget.public_id}/").status_code == 200


def test_limit_change_is_in_force_and_in_the_history(ben: Caller, world: World) -> None:
    path = f"budgets/{world.budget.public_id}/"
    changed = ben.post(f"{path}limits/", {"amount_usd": "750.25", "reason": "A launch."})
    assert changed.status_code == 200
    assert changed.json() == ben.get(path).json()
    assert changed.json()["limit_usd"] == "750.250000000000"
    assert changed.json()["set_by"] == "Ben Okafor"
    newest, first = ben.get(f"{path}limits/").json()["results"]
    assert (newest["amount_usd"], newest["reason"], newest["kind"]) == (
        "750.250000000000",
        "A launch.",
        "base",
    )
    assert first["until"] == newest["in_force_since"]


def test_the_limit_of_any_moment_is_told_as_it_was_known_at_any_other(ben: Caller, world: World) -> None:
    path = f"budgets/{world.budget.public_id}/limits/"
    [first] = ben.get(path).json()["results"]
    before, day = clock.now(), clock.now() + timedelta(days=9)
    then = day.isoformat().replace("+00:00", "Z")
    planned = {"amount_usd": "900", "reason": "A launch.", "valid_from": then}
    assert ben.post(path, planned).status_code == 200
    top_up = {"amount_usd": "50", "reason": "A test.", "valid_until": then}
    assert ben.post(f"budgets/{world.budget.public_id}/top-ups/", top_up).status_code == 200

    def limit(**query: datetime) -> str:
        answer = ben.get(path, **{name: at.isoformat() for name, at in query.items()})
        assert answer.status_code == 200, answer.json()
        return str(answer.json()["limit_usd"])

    usual = Decimal(first["amount_usd"])
    assert Decimal(limit()) == usual + 50
    assert Decimal(limit(at=day)) == 900
    assert Decimal(limit(at=day, known=before)) == usual
    assert Decimal(limit(at=before)) == Decimal(limit(known=before)) == usual
    assert limit(at=before - timedelta(days=999)) == "None"
    assert [row["reason"] for row in ben.get(path, known=before.isoformat()).json()["results"]] == [
        first["reason"]
    ]
    problem(ben.get(path, at="yesterday"), 400, "invalid_request")


def test_same_limit_again_writes_nothing(ben: Caller, world: World) -> None:
    path = f"budgets/{world.budget.public_id}/limits/"
    first, second = (ben.post(path, {"amount_usd": "600", "reason": "A launch."}) for _ in range(2))
    assert first.json() == second.json()
    assert BudgetLimit.objects.filter(budget=world.budget).count() == 2


def test_null_is_no_limit(ann: Caller, world: World) -> None:
    path = f"budgets/{world.budget.public_id}/limits/"
    assert ann.post(path, {"amount_usd": None, "reason": "It runs apart."}).json()["limit_usd"] is None


def test_limit_beyond_the_room_is_refused_with_the_numbers(ann: Caller, world: World) -> None:
    open_budget(world.cast, ScopeKind.TEAM, world.cast.search.pk, "1000")
    response = ann.post(
        f"budgets/{world.budget.public_id}/limits/", {"amount_usd": "1001", "reason": "A launch."}
    )
    document = problem(response, 422, "no_headroom")
    assert list(document["errors"]) == ["amount_usd"]
    assert Decimal(document["highest_usd"]) == 1000


def test_limit_below_what_is_spent_wants_confirmation_and_names_the_keys(ben: Caller, world: World) -> None:
    spend(world.key, world.cast.large, "100")
    path = f"budgets/{world.budget.public_id}/limits/"
    body = {"amount_usd": "50", "reason": "Stop."}
    document = problem(ben.post(path, body), 409, "needs_confirmation")
    assert document["keys"] == [{"id": world.key.public_id, "name": "prod"}]
    assert ben.post(path, {**body, "confirm": True}).json()["limit_usd"] == "50.000000000000"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"amount_usd": 50, "reason": "A launch."}, "amount_usd"),
        ({"reason": "A launch."}, "amount_usd"),
        ({"amount_usd": "50", "reason": "A launch.", "confirm": "yes"}, "confirm"),
        ({"amount_usd": "50", "reason": "A launch.", "actor": "usr_x"}, "actor"),
    ],
)
def test_body_of_another_shape_is_refused_by_the_field(
    ann: Caller, world: World, body: dict[str, object], name: str
) -> None:
    response = ann.post(f"budgets/{world.budget.public_id}/limits/", body)
    assert list(problem(response, 400, "invalid_request")["errors"]) == [name]


def test_limit_needs_a_reason(ann: Caller, world: World) -> None:
    response = ann.post(f"budgets/{world.budget.public_id}/limits/", {"amount_usd": "50", "reason": " "})
    assert list(problem(response, 422, "invalid_input")["errors"]) == ["reason"]


def test_budgets_can_be_listed_by_scope_window_project_and_team(ann: Caller, world: World) -> None:
    team = open_budget(world.cast, ScopeKind.TEAM, world.cast.search.pk, "5000")
    for query, budgets in (
        ({"scope": "key"}, [world.key_budget]),
        ({"project": world.cast.ranking.public_id}, [world.budget]),
        ({"team": world.cast.search.public_id}, [team]),
        ({"window": "day"}, []),
    ):
        found = [row["id"] for row in ann.get("budgets/", **query).json()["results"]]
        assert found == [budget.public_id for budget in budgets], query
