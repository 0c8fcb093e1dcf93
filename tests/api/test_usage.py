"""Usage over the API: the very figures of the pages, line by line."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from core import clock
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Caller, World
from tests.usage.books import book, refuse
from usage.selectors import organisation_today, scope_for, this_month, totals
from usage.serializers import run_id


def test_lines_add_up_to_the_figure_of_the_pages(ann: Caller, world: World) -> None:
    today, cast = organisation_today(), world.cast
    book(cast.ranking, cast.small, today, "0.000000000001", calls=3)
    book(cast.fraud, cast.large, today, "7.25")
    book(cast.fraud, cast.large, today - timedelta(days=70), "1000")
    lines = ann.get("usage/days/").json()["results"]
    figures = totals(scope_for(cast.ann), this_month(today))
    assert sum(Decimal(line["cost_usd"]) for line in lines) == figures.cost_usd == Decimal("19.750000000001")
    assert sum(line["calls"] for line in lines) == figures.calls
    assert sum(line["input_tokens"] for line in lines) == figures.input_tokens


def test_line_says_whose_it_is(ada: Caller, world: World) -> None:
    cast = world.cast
    [line] = ada.get("usage/days/").json()["results"]
    assert line["project"] == {"id": cast.ranking.public_id, "name": "Ranking", "code": "ranking"}
    assert line["team"] == {"id": cast.search.public_id, "name": "Search", "code": "search"}
    assert line["model"] == {"id": cast.large.public_id, "name": "large"}
    assert line["tier"] == 2
    assert line["cost_usd"] == "12.500000000000"


def test_usage_of_other_teams_is_not_shown_even_by_name(dan: Caller, world: World) -> None:
    book(world.cast.fraud, world.cast.small, organisation_today(), "3")
    assert [line["cost_usd"] for line in dan.get("usage/days/").json()["results"]] == ["3.000000000000"]
    assert dan.get("usage/days/", project=world.cast.ranking.public_id).json()["results"] == []


def test_lines_can_be_narrowed_down(ann: Caller, world: World) -> None:
    cast, today = world.cast, organisation_today()
    book(cast.fraud, cast.small, today, "3")
    for query, costs in (
        ({"project": cast.fraud.public_id}, ["3.000000000000"]),
        ({"team": cast.search.public_id}, ["12.500000000000"]),
        ({"model": cast.small.public_id}, ["3.000000000000"]),
        ({"from": today, "to": today, "model": cast.frontier.public_id}, []),
        ({"to": today - timedelta(days=62)}, []),
    ):
        lines = ann.get("usage/days/", **query).json()["results"]
        assert [line["cost_usd"] for line in lines] == costs, query


@pytest.mark.parametrize(("first", "last"), [("2026-11-02", "2026-11-01"), ("2020-01-01", "2026-11-01")])
def test_period_that_cannot_be_is_refused(ada: Caller, first: str, last: str) -> None:
    problem(ada.get("usage/days/", **{"from": first, "to": last}), 422, "invalid_input")


@pytest.mark.parametrize("day", ["2026-02-30", "20261101", "today", "2026-W01-1", "0000-01-01"])
def test_day_of_another_shape_is_refused(ada: Caller, day: str) -> None:
    document = problem(ada.get("usage/days/", **{"from": day}), 400, "invalid_request")
    assert list(document["errors"]) == ["from"]


@pytest.mark.parametrize("address", ["usage/days/", "blocked-calls/"])
@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_day_that_the_calendar_ends_at_is_refused(ada: Caller, address: str, day: str) -> None:
    problem(ada.get(address, to=day), 422, "invalid_input")


def test_run_is_known_by_its_day_and_source(ann: Caller, world: World) -> None:
    name = run_id(world.run)
    run = ann.get(f"reconciliation/runs/{name}/").json()
    assert run["id"] == name
    assert run["state"] == "different"
    [difference] = ann.get("reconciliation/discrepancies/", run=name).json()["results"]
    assert difference["run"] == name
    assert difference["amount_usd"] == "0.250000000000"
    assert difference["detail"] == {
        "portal": {"input": 10, "output": 2},
        "gateway": {"input": 12, "output": 2},
    }


def test_discrepancies_can_be_narrowed_down(ann: Caller, world: World) -> None:
    for query, number in (
        ({"state": "open"}, 1),
        ({"state": "accepted"}, 0),
        ({"kind": "token_mismatch"}, 1),
        ({"kind": "missing_at_portal"}, 0),
        ({"run": "2026-02-30.gw_test"}, 0),
    ):
        found = ann.get("reconciliation/discrepancies/", **query).json()["results"]
        assert len(found) == number, query


def test_reconciliation_tells_others_whom_to_ask(ben: Caller, world: World) -> None:
    document = problem(ben.get("reconciliation/runs/"), 403, "role_needed")
    assert "Ann Keller, Audrey Novak or Fay Tanaka" in document["detail"]


def test_refused_calls_name_the_budget_or_the_rate(ada: Caller, world: World) -> None:
    now, cast = clock.now(), world.cast
    team = factories.BudgetFactory.create(
        scope_kind="team", scope_id=cast.search.pk, department=cast.product, mode="hard"
    )
    refuse(cast.ranking, now, "budget_held", 3, key=world.fresh_key, budget=team)
    rate = {"rate_scope": "project", "rate_limit": "requests_per_minute"}
    refuse(cast.ranking, now, "rate_limited", 2, key=world.fresh_key, **rate)

    lines = {line["code"]: line for line in ada.get("blocked-calls/").json()["results"]}
    alone = ada.get("blocked-calls/", budget=team.public_id).json()["results"]

    assert alone == [lines["budget_held"]]
    assert alone[0]["budget"] == {
        "id": team.public_id,
        "scope": "team",
        "window": "month",
        "name": "Search team",
    }
    assert alone[0]["rate"] is None
    assert lines["rate_limited"]["budget"] is None
    assert lines["rate_limited"]["rate"] == {
        "scope": "project",
        "limit": "requests_per_minute",
        "name": "Ranking",
    }
