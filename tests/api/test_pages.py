"""Pages by cursor: every row once, in order, at the same cost at 5 rows and at 50."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from budgets.models import RateLimit, ScopeKind
from catalog.models import Price, PriceProposal
from core import audit, clock
from core.models import DeliveryAttempt, OutboxKind
from keys.models import Suspension
from keys.services import make_token, open_service_account, plan_activity
from tests import factories
from tests.api.acts import proposed_price, proposed_repricing
from tests.api.test_errors import problem
from tests.api.world import Caller, World, make_run
from tests.browsing import own_queries
from tests.usage.books import book, refuse
from usage.models import Discrepancy, Repricing
from usage.selectors import organisation_today

Grow = Callable[[World, int], None]


def walked(caller: Caller, path: str, limit: int) -> list[list[str]]:
    """Read a list page by page and return the ids of each page."""
    pages = []
    answer = caller.get(path, limit=limit).json()
    pages.append([row["id"] for row in answer["results"]])
    while answer["next"]:
        answer = caller.get(answer["next"]).json()
        pages.append([row["id"] for row in answer["results"]])
    return pages


def some_keys(world: World, number: int) -> None:
    for _ in range(number):
        key = factories.ApiKeyFactory.create(project=world.cast.ranking)
        factories.approved_grant(key, model_ids=[world.cast.large.pk], granted_by=world.cast.ben)


def some_suspensions(world: World, number: int) -> None:
    for _ in range(number + 1):
        key = factories.ApiKeyFactory.create(project=world.cast.ranking)
        Suspension.objects.create(key=key, cause="person", reason="It loops.", suspended_by=world.cast.ben)


def some_plans(world: World, number: int) -> None:
    now = clock.now()
    for _ in range(number + 1):
        key = factories.ApiKeyFactory.create(project=world.cast.ranking)
        plan_activity(
            actor=world.cast.ben,
            key=key,
            starts_at=now,
            ends_at=now + timedelta(hours=2),
            most_usd_an_hour=Decimal(80),
            reason="Backfill.",
        )


def some_requests(world: World, number: int) -> None:
    for _ in range(number):
        factories.AccessRequestFactory.create(
            project=world.cast.ranking, model_ids=[world.cast.large.pk], extends_key=world.key
        )


def some_organisation(world: World, number: int) -> None:
    for _ in range(number):
        team = factories.TeamFactory.create()
        factories.ProjectFactory.create(team=team)
        factories.MembershipFactory.create(team=team)


def some_roles(world: World, number: int) -> None:
    for _ in range(number):
        team, by = factories.TeamFactory.create(), factories.UserFactory.create()
        factories.RoleAssignmentFactory.create(role="lead", team=team, granted_by=by)


def some_tokens(world: World, number: int) -> None:
    for count in range(number + 1):
        make_token(actor=world.cast.ann, name=f"ci {count}", scopes=["keys:read"])


def some_services(world: World, number: int) -> None:
    for count in range(number + 1):
        responsible = factories.UserFactory.create()
        open_service_account(actor=world.cast.ann, name=f"Batch {count}", responsible=responsible)


def some_proposals(world: World, number: int) -> None:
    for _ in range(number):
        waiting = proposed_price(world)
        waiting.pk, waiting.public_id = None, PriceProposal().public_id
        waiting.save()


def some_models(world: World, number: int) -> None:
    for count in range(number):
        factories.priced_model(f"model-{count}", tier_number=2, input_usd="1", output_usd="2")


def some_unpriced(world: World, number: int) -> None:
    for model in factories.LlmModelFactory.create_batch(number + 1, tier=world.cast.tier2):
        factories.UnpricedCallFactory.create(model=model)


def some_repricings(world: World, number: int) -> None:
    proposed_repricing(world)
    for model in factories.LlmModelFactory.create_batch(number, tier=world.cast.tier2):
        again = proposed_repricing(world)
        again.pk, again.public_id, again.model = None, Repricing().public_id, model
        again.save()


def some_budgets(world: World, number: int) -> None:
    for _ in range(number):
        key = factories.ApiKeyFactory.create(project=world.cast.ranking)
        for window, scope in (("month", {"scope_kind": ScopeKind.KEY, "scope_id": key.pk}), ("day", {})):
            project = factories.ProjectFactory.create(team=world.cast.search)
            budget = factories.BudgetFactory.create(project=project, window=window, **scope)
            factories.BudgetLimitFactory.create(budget=budget)


def some_rate_limits(world: World, number: int) -> None:
    for _ in range(number):
        key = factories.ApiKeyFactory.create(project=world.cast.ranking)
        project = factories.ProjectFactory.create(team=world.cast.search)
        for kind, scope in ((ScopeKind.KEY, key), (ScopeKind.PROJECT, project)):
            RateLimit.objects.create(scope_kind=kind, scope_id=scope.pk, parallel_calls=5)


def some_limits(world: World, number: int) -> None:
    for count in range(number):
        factories.BudgetLimitFactory.create(
            budget=world.budget, amount_usd=Decimal(count), actor=factories.UserFactory.create()
        )


def some_usage(world: World, number: int) -> None:
    for count in range(number):
        book(world.cast.ranking, world.cast.large, organisation_today() - timedelta(days=count + 1), "1")


def some_runs(world: World, number: int) -> None:
    for count in range(number):
        run = make_run(organisation_today() - timedelta(days=count + 2))
        Discrepancy.objects.create(
            run=run, kind="token_mismatch", external_id="one", owner=world.cast.fay, opened_at=clock.now()
        )


def some_refusals(world: World, number: int) -> None:
    for count in range(number):
        key = factories.ApiKeyFactory.create(project=world.cast.ranking)
        refuse(world.cast.ranking, clock.now() - timedelta(hours=count), "rate_limited", 1, key=key)


def some_events(world: World, number: int) -> None:
    for _ in range(number):
        team = factories.TeamFactory.create()
        person, other = factories.UserFactory.create(), factories.UserFactory.create()
        audit.record(actor=person, on_behalf_of=other, action="team.moved", subject=team, team_id=team.pk)


def some_gateways(world: World, number: int) -> None:
    factories.GatewayFactory.create_batch(number)


def some_webhooks(world: World, number: int) -> None:
    factories.WebhookFactory.create_batch(number)


def some_messages(world: World, number: int) -> None:
    for message in factories.GivenUpFactory.create_batch(number):
        DeliveryAttempt.objects.create(
            message=message, at=clock.now(), channel=OutboxKind.MAIL, delivered=False, detail="550"
        )


def some_alerts(world: World, number: int) -> None:
    for back in range(number):
        since = clock.now() - timedelta(days=back + 20)
        factories.BudgetAlertFactory.create(budget=world.budget, window_start=since)


def some_warnings(world: World, number: int) -> None:
    for back in range(number):
        at = clock.now() - timedelta(days=back + 1)
        factories.SpendWarningFactory.create(project=world.cast.ranking, warned_at=at)


LISTS: dict[str, Grow] = {
    "departments/": some_organisation,
    "teams/": some_organisation,
    "projects/": some_organisation,
    "people/": some_organisation,
    "roles/": some_roles,
    "models/": some_models,
    "unpriced-models/": some_unpriced,
    "repricings/": some_repricings,
    "prices/": some_models,
    "budgets/": some_budgets,
    "budget-alerts/": some_alerts,
    "spend-warnings/": some_warnings,
    "rate-limits/": some_rate_limits,
    "keys/": some_keys,
    "grants/": some_keys,
    "suspensions/": some_suspensions,
    "planned-activities/": some_plans,
    "api-tokens/": some_tokens,
    "service-accounts/": some_services,
    "price-proposals/": some_proposals,
    "requests/": some_requests,
    "usage/days/": some_usage,
    "blocked-calls/": some_refusals,
    "reconciliation/runs/": some_runs,
    "reconciliation/discrepancies/": some_runs,
    "audit-events/": some_events,
    "gateways/": some_gateways,
    "webhooks/": some_webhooks,
    "deliveries/": some_messages,
}


# Lines are sums: they have a place in their list, and no id.
NO_IDS = {"usage/days/", "blocked-calls/"}


@pytest.mark.parametrize("path", LISTS)
def test_list_costs_the_same_at_5_rows_and_at_50(ann: Caller, world: World, path: str) -> None:
    LISTS[path](world, 50)
    query = {"from": organisation_today() - timedelta(days=90)} if path == "usage/days/" else {}
    queries = {}
    for limit in (5, 50):
        with CaptureQueriesContext(connection) as captured:
            answer = ann.get(path, limit=limit, **query)
        assert len(answer.json()["results"]) == limit
        queries[limit] = len(own_queries(captured))
    assert queries[5] == queries[50] <= 8


def test_history_of_a_budget_costs_the_same_at_any_length(ann: Caller, world: World) -> None:
    queries = {}
    for number in (5, 45):
        some_limits(world, number)
        with CaptureQueriesContext(connection) as captured:
            answer = ann.get(f"budgets/{world.budget.public_id}/limits/")
        queries[len(answer.json()["results"])] = len(own_queries(captured))
    assert queries[6] == queries[51] <= 6


@pytest.mark.parametrize("path", sorted(LISTS.keys() - NO_IDS))
def test_pages_hold_every_row_once(ann: Caller, world: World, path: str) -> None:
    LISTS[path](world, 4)
    [everything] = walked(ann, path, 200)
    pages = walked(ann, path, 3)
    assert [row for page in pages for row in page] == everything
    assert {len(page) for page in pages[:-1]} == {3}
    assert len(set(everything)) == len(everything) >= 5


def test_lines_of_usage_hold_every_line_once(ann: Caller, world: World) -> None:
    today = organisation_today()
    for model in (world.cast.small, world.cast.larger):
        for project in (world.cast.ranking, world.cast.fraud):
            for day in (today, today - timedelta(days=1)):
                book(project, model, day, "1")
    query = {"from": today - timedelta(days=1), "to": today}
    everything = ann.get("usage/days/", limit=200, **query).json()["results"]
    lines, answer = [], ann.get("usage/days/", limit=2, **query).json()
    lines += answer["results"]
    while answer["next"]:
        answer = ann.get(answer["next"]).json()
        lines += answer["results"]
    assert lines == everything
    assert len(everything) == 9
    assert [line["day"] for line in everything] == sorted((line["day"] for line in everything), reverse=True)


def test_lines_of_refused_calls_hold_every_line_once(ann: Caller, world: World) -> None:
    now = clock.now()
    other = factories.ApiKeyFactory.create(project=world.cast.fraud)
    for back in (0, 1, 30):
        for project, key in ((world.cast.ranking, world.fresh_key), (world.cast.fraud, other)):
            refuse(project, now - timedelta(hours=back), "budget_held", 2, key=key, budget=world.budget)
            for scope in ("", "team"):
                cause = {"rate_scope": scope, "rate_limit": scope and "tokens_per_minute"}
                refuse(project, now - timedelta(hours=back), "rate_limited", 2, key=key, **cause)
    everything = ann.get("blocked-calls/", limit=200).json()["results"]
    lines, answer = [], ann.get("blocked-calls/", limit=2).json()
    lines += answer["results"]
    while answer["next"]:
        answer = ann.get(answer["next"]).json()
        lines += answer["results"]
    assert lines == everything
    assert len(everything) == 19
    assert [line["since"] for line in everything] == sorted(
        (line["since"] for line in everything), reverse=True
    )


def test_rows_that_arrive_meanwhile_move_no_page(ann: Caller, world: World) -> None:
    some_keys(world, 5)
    first = ann.get("keys/", limit=3).json()
    some_keys(world, 2)
    second = ann.get(first["next"]).json()
    ids = [row["id"] for row in first["results"] + second["results"]]
    assert len(set(ids)) == len(ids) == 6


def test_tiers_start_with_the_first(ada: Caller) -> None:
    answer = ada.get("tiers/", limit=2).json()
    assert [tier["number"] for tier in answer["results"]] == [1, 2]
    assert [tier["number"] for tier in ada.get(answer["next"]).json()["results"]] == [3]


def test_cursor_is_a_public_id_and_no_number(ann: Caller, world: World) -> None:
    some_keys(world, 2)
    answer = ann.get("keys/", limit=1).json()
    last = answer["results"][0]["id"]
    assert answer["next"] == f"http://testserver/api/v1/keys/?cursor={last}&limit=1"


@pytest.mark.parametrize("path", [*LISTS, "tiers/"])
def test_cursor_from_elsewhere_is_refused(ann: Caller, world: World, path: str) -> None:
    for cursor in (
        "",
        "nonsense",
        "cD0x",
        "key_" + "a" * 18,
        "2026-11-23.gw_none",
        "2026-02-30.gw_test",
        "0",
    ):
        document = problem(ann.get(path, cursor=cursor), 422, "invalid_input")
        assert list(document["errors"]) == ["cursor"]


def test_cursor_of_somebody_else_is_refused(dan: Caller, world: World) -> None:
    problem(dan.get("keys/", cursor=world.key.public_id), 422, "invalid_input")


def test_prices_of_a_model_can_be_listed_as_of_a_moment(ada: Caller, world: World) -> None:
    later = clock.now() + timedelta(days=30)
    Price.objects.filter(model=world.cast.small, unit="input").update(valid_until=later)
    query = {"model": world.cast.small.public_id, "unit": "input"}
    assert len(ada.get("prices/", **query, valid_at=clock.now().isoformat()).json()["results"]) == 1
    assert ada.get("prices/", **query, valid_at=later.isoformat()).json()["results"] == []
