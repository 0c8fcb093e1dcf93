"""Every operation of the API x every role, for an object of Ada's, against a declared table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.test import Client
from pytest_django import DjangoDbBlocker

from approvals.models import BudgetRequest, Delegation, PolicyProposal
from approvals.rules import Rules
from approvals.serializers.policies import RulesOut
from approvals.services import ask_increase, propose_policy
from budgets.services import limits
from core import clock
from core.models import AuditEvent
from keys.models import ApiKey, Grant
from keys.scopes import PUBLIC
from teams.browsers import session_id
from teams.models import User
from tests import factories, matrix, sharing
from tests.api import acts
from tests.api.routes import Route, routes
from tests.api.world import Answer, Caller, World, make_world
from tests.cast import Cast, make_cast
from usage.serializers import run_id

# `sees` and `empty` are a list (200) with and without the object. 404 is "not there, or not yours".
TABLE = """
    operation                    anonymous  dan    ada    ben    cleo   fay    audrey ann
    departments_list             401        empty  empty  empty  sees   sees   sees   sees
    departments_retrieve         401        404    404    404    200    200    200    200
    departments_create           401        403    403    403    403    403    403    201
    departments_rename           401        404    404    404    403    403    403    200
    departments_archive          401        404    404    404    403    403    403    200
    teams_list                   401        empty  sees   sees   sees   sees   sees   sees
    teams_retrieve               401        404    200    200    200    200    200    200
    teams_move                   401        404    403    403    422    403    403    200
    teams_create                 401        403    403    403    403    403    403    201
    teams_rename                 401        404    403    403    200    403    403    200
    teams_archive                401        404    403    403    200    403    403    200
    teams_members                401        404    200    200    200    200    200    200
    teams_add_member             401        404    403    201    201    403    403    201
    teams_end_member             401        404    403    200    200    403    403    200
    projects_list                401        empty  sees   sees   sees   sees   sees   sees
    projects_retrieve            401        404    200    200    200    200    200    200
    projects_move                401        404    403    403    200    403    403    200
    projects_create              401        422    403    201    201    403    403    201
    projects_rename              401        404    403    403    200    403    403    200
    projects_archive             401        404    403    403    200    403    403    200
    projects_hand_over           401        404    403    200    200    403    403    200
    people_list                  401        empty  sees   sees   sees   sees   sees   sees
    people_retrieve              401        404    200    200    200    200    200    200
    people_create                401        403    403    403    403    403    403    201
    people_rename                401        404    403    403    403    403    403    200
    people_what_ends             401        404    403    403    403    403    403    200
    people_leave                 401        404    403    403    403    403    403    200
    people_come_back             401        404    404    404    404    403    403    200
    people_reset_factors         401        404    403    403    403    403    403    200
    roles_list                   401        empty  sees   sees   sees   sees   sees   sees
    roles_retrieve               401        404    200    200    200    200    200    200
    roles_create                 401        403    403    403    403    403    403    201
    roles_end                    401        404    403    403    403    403    403    200
    tiers_list                   401        sees   sees   sees   sees   sees   sees   sees
    tiers_retrieve               401        200    200    200    200    200    200    200
    models_list                  401        sees   sees   sees   sees   sees   sees   sees
    models_retrieve              401        200    200    200    200    200    200    200
    models_enter_prices          401        403    403    403    403    403    403    200
    models_declare_free          401        403    403    403    403    403    403    200
    unpriced_models_list         401        403    403    403    403    403    403    sees
    price_list_read              401        403    403    403    403    403    403    200
    price_list_follow            401        403    403    403    403    403    403    200
    repricings_list              401        403    403    403    403    403    403    sees
    repricings_retrieve          401        403    403    403    403    403    403    200
    repricings_create            401        403    403    403    403    403    403    201
    repricings_approve           401        403    403    403    403    403    403    200
    repricings_reject            401        403    403    403    403    403    403    200
    prices_list                  401        sees   sees   sees   sees   sees   sees   sees
    prices_retrieve              401        200    200    200    200    200    200    200
    prices_create                401        403    403    403    403    403    403    201
    prices_end                   401        403    403    403    403    403    403    200
    price_proposals_list         401        403    403    403    403    403    403    sees
    price_proposals_retrieve     401        403    403    403    403    403    403    200
    price_proposals_approve      401        403    403    403    403    403    403    200
    price_proposals_reject       401        403    403    403    403    403    403    200
    budgets_list                 401        empty  sees   sees   sees   sees   sees   sees
    budgets_retrieve             401        404    200    200    200    200    200    200
    budgets_limits               401        404    200    200    200    200    200    200
    budgets_change_limit         401        404    403    200    200    200    403    200
    budgets_create               401        422    403    201    201    201    403    201
    budgets_withdraw_plan        401        404    403    200    200    200    403    200
    budgets_top_up               401        404    403    200    200    200    403    200
    budgets_set_rules            401        404    403    200    200    200    403    200
    budgets_close                401        404    403    200    200    200    403    200
    budget_alerts_list           401        empty  sees   sees   sees   sees   sees   sees
    budget_alerts_retrieve       401        404    200    200    200    200    200    200
    spend_warnings_list          401        empty  sees   sees   sees   sees   sees   sees
    spend_warnings_retrieve      401        404    200    200    200    200    200    200
    rate_limits_list             401        empty  sees   sees   sees   sees   sees   sees
    rate_limits_retrieve         401        404    200    200    200    200    200    200
    rate_limits_create           401        422    403    200    200    200    403    200
    rate_limits_remove           401        404    403    200    200    200    403    200
    keys_list                    401        empty  sees   sees   sees   sees   sees   sees
    keys_create                  401        422    201    201    403    403    403    403
    keys_retrieve                401        404    200    200    200    200    200    200
    keys_reveal                  401        404    200    403    403    403    403    403
    keys_revoke                  401        404    200    200    200    403    403    200
    keys_rotate                  401        404    200    200    200    403    403    200
    keys_end_previous            401        404    200    200    200    403    403    200
    keys_rename                  401        404    200    200    200    403    403    200
    keys_suspend                 401        404    200    200    200    403    403    200
    keys_resume                  401        404    403    200    200    403    403    200
    suspensions_list             401        empty  sees   sees   sees   sees   sees   sees
    suspensions_retrieve         401        404    200    200    200    200    200    200
    planned_activities_list      401        empty  sees   sees   sees   sees   sees   sees
    planned_activities_retrieve  401        404    200    200    200    200    200    200
    planned_activities_create    401        422    403    201    201    403    403    201
    planned_activities_cancel    401        404    403    200    200    403    403    200
    grants_list                  401        empty  sees   sees   sees   sees   sees   sees
    grants_retrieve              401        404    200    200    200    200    200    200
    grants_shrink                401        404    200    200    200    403    403    200
    grants_revoke                401        404    200    200    200    403    403    200
    api_tokens_list              401        empty  sees   empty  empty  empty  empty  empty
    api_tokens_retrieve          401        404    200    404    404    404    404    404
    api_tokens_create            401        201    201    201    201    201    201    201
    api_tokens_reveal            401        404    200    404    404    404    404    404
    api_tokens_revoke            401        404    200    404    404    404    404    404
    service_accounts_list        401        empty  sees   empty  empty  empty  sees   sees
    service_accounts_retrieve    401        404    200    404    404    404    200    200
    service_accounts_create      401        403    403    403    403    403    403    201
    service_accounts_hand_over   401        404    200    404    404    404    403    200
    requests_list                401        empty  sees   sees   sees   sees   sees   sees
    requests_create              401        422    201    201    403    403    403    403
    requests_retrieve            401        404    200    200    200    200    200    200
    requests_amend               401        404    200    403    403    403    403    403
    requests_comment             401        404    200    200    200    200    200    200
    budget_requests_list         401        empty  sees   sees   sees   sees   sees   sees
    budget_requests_retrieve     401        404    200    200    200    200    200    200
    budget_requests_create       401        422    201    422    422    422    201    422
    budget_requests_amend        401        404    200    403    403    403    403    403
    budget_requests_comment      401        404    200    200    200    200    200    200
    budget_requests_withdraw     401        404    200    403    403    403    403    403
    budget_requests_decide       401        404    403    200    403    403    403    403
    requests_withdraw            401        404    200    403    403    403    403    403
    requests_decide              401        404    403    200    403    403    403    403
    requests_approve_together    401        422    403    200    403    403    403    403
    requests_extend              401        422    201    422    422    422    422    422
    requests_break_glass         401        422    201    201    403    403    403    403
    delegations_list             401        empty  empty  sees   sees   empty  empty  sees
    delegations_retrieve         401        404    404    200    200    404    404    200
    delegations_create           401        422    403    201    403    403    403    403
    delegations_end              401        404    404    200    200    404    404    200
    policies_list                401        sees   sees   sees   sees   sees   sees   sees
    policies_retrieve            401        200    200    200    200    200    200    200
    policies_simulate            401        403    403    403    403    403    403    200
    policies_propose             401        403    403    403    403    403    403    201
    policy_proposals_list        401        403    403    403    403    403    403    sees
    policy_proposals_retrieve    401        403    403    403    403    403    403    200
    policy_proposals_confirm     401        403    403    403    403    403    403    200
    policy_proposals_reject      401        403    403    403    403    403    403    200
    access_reviews_list          401        empty  empty  sees   sees   sees   sees   sees
    access_reviews_keep          401        404    404    200    200    403    403    200
    access_reviews_end           401        404    404    200    200    403    403    200
    leaks_create                 202        202    202    202    202    202    202    202
    usage_days_list              401        empty  sees   sees   sees   sees   sees   sees
    usage_focus                  401        403    403    403    403    200    200    200
    blocked_calls_list           401        empty  sees   sees   sees   sees   sees   sees
    reconciliation_runs_list     401        403    403    403    403    sees   sees   sees
    reconciliation_runs_retrieve 401        403    403    403    403    200    200    200
    discrepancies_list           401        403    403    403    403    sees   sees   sees
    discrepancies_retrieve       401        403    403    403    403    200    200    200
    discrepancies_assign         401        403    403    403    403    200    403    200
    discrepancies_explain        401        403    403    403    403    200    403    200
    discrepancies_accept         401        403    403    403    403    200    403    200
    discrepancies_correct        401        403    403    403    403    200    403    200
    discrepancies_confirm_price  401        403    403    403    403    403    403    200
    sources_list                 401        403    403    403    403    sees   sees   sees
    sources_retrieve             401        403    403    403    403    200    200    200
    provider_accounts_list       401        403    403    403    403    sees   sees   sees
    provider_accounts_retrieve   401        403    403    403    403    200    200    200
    upstream_keys_list           401        403    403    403    403    sees   sees   sees
    upstream_keys_retrieve       401        403    403    403    403    200    200    200
    upstream_keys_create         401        403    403    403    403    403    403    201
    invoices_list                401        403    403    403    403    sees   sees   sees
    invoices_retrieve            401        403    403    403    403    200    200    200
    invoices_create              401        403    403    403    403    201    403    201
    quarantine_list              401        403    403    403    403    sees   sees   sees
    quarantine_retrieve          401        403    403    403    403    200    200    200
    quarantine_book              401        403    403    403    403    403    403    200
    quarantine_dismiss           401        403    403    403    403    403    403    200
    periods_list                 401        403    403    403    403    sees   sees   sees
    periods_retrieve             401        403    403    403    403    200    200    200
    periods_create               401        403    403    403    403    200    403    200
    periods_close                401        403    403    403    403    200    403    200
    periods_reopen               401        403    403    403    403    200    403    200
    audit_events_list            401        empty  sees   sees   sees   empty  sees   sees
    audit_events_retrieve        401        404    200    200    200    404    200    200
    audit_events_export          401        200    200    200    200    200    200    200
    audit_events_verification    401        200    200    200    200    200    200    200
    gateways_list                401        403    403    403    403    403    403    sees
    gateways_retrieve            401        403    403    403    403    403    403    200
    gateways_disable             401        403    403    403    403    403    403    200
    gateways_enable              401        403    403    403    403    403    403    200
    webhooks_list                401        403    403    403    403    403    403    sees
    webhooks_retrieve            401        403    403    403    403    403    403    200
    webhooks_create              401        403    403    403    403    403    403    201
    webhooks_change              401        403    403    403    403    403    403    200
    webhooks_rotate              401        403    403    403    403    403    403    200
    webhooks_end_previous        401        403    403    403    403    403    403    200
    webhooks_test                401        403    403    403    403    403    403    202
    webhooks_disable             401        403    403    403    403    403    403    200
    webhooks_enable              401        403    403    403    403    403    403    200
    webhooks_remove              401        403    403    403    403    403    403    200
    deliveries_list              401        403    403    403    403    403    403    sees
    deliveries_retrieve          401        403    403    403    403    403    403    200
    deliveries_again             401        403    403    403    403    403    403    200
    notifications_read           401        200    200    200    200    200    200    200
    notifications_change         401        200    200    200    200    200    200    200
    sessions_list                401        empty  sees   empty  empty  empty  empty  empty
    sessions_end                 401        404    200    404    404    404    404    404
    api-schema                   200        200    200    200    200    200    200    200
    unknown_address              404        404    404    404    404    404    404    404
"""
HEAD, *LINES = [line.split() for line in TABLE.strip().splitlines()]
ROLES = HEAD[1:]
CELLS = {operation: dict(zip(ROLES, cells, strict=True)) for operation, *cells in LINES}
# The lead and the director of another team: what they are there is nothing here.
ELSEWHERE_ROLES = ("eve", "olga")
FOR_SOME = [route for route in routes() if route.operation not in {"api-schema", "unknown_address"}]
WRITES = [route for route in FOR_SOME if route.method == "POST" and route.operation not in PUBLIC]
DONE = ("200", "201", "202")
REFUSED = ("401", "403", "404", "422", "empty")

IDS: Mapping[str, Callable[[World], str]] = {
    "departments": lambda world: world.cast.product.public_id,
    "teams": lambda world: world.cast.search.public_id,
    "projects": lambda world: world.cast.ranking.public_id,
    "people": lambda world: world.cast.ada.public_id,
    "tiers": lambda _: "2",
    "models": lambda world: world.cast.large.public_id,
    "prices": lambda world: world.cast.large.prices.order_by("pk")[0].public_id,
    "budgets": lambda world: world.budget.public_id,
    "budget_alerts": lambda world: world.alert.public_id,
    "spend_warnings": lambda world: world.warning.public_id,
    "rate_limits": lambda world: world.rate_limit.public_id,
    "keys": lambda world: world.fresh_key.public_id,
    "grants": lambda world: world.grant.public_id,
    "budget_requests": lambda world: asked_for_more(world).public_id,
    "requests": lambda world: world.request.public_id,
    "delegations": lambda world: lent(world).public_id,
    "policies": lambda world: factories.policy_of(world.cast.tier2).public_id,
    "policy_proposals": lambda world: proposed(world).public_id,
    "access_reviews": lambda world: unused(world).public_id,
    "usage_days": lambda world: world.cast.ranking.public_id,
    "usage": lambda world: world.cast.ranking.public_id,
    "blocked_calls": lambda world: world.cast.ranking.public_id,
    "reconciliation_runs": lambda world: run_id(world.run),
    "discrepancies": lambda world: world.discrepancy.public_id,
    "sources": lambda world: world.run.source,
    "provider_accounts": lambda world: world.upstream_key.account.public_id,
    "upstream_keys": lambda world: world.upstream_key.public_id,
    "invoices": lambda world: world.invoice.public_id,
    "quarantine": lambda world: world.quarantined.public_id,
    "periods": lambda world: world.period.public_id,
    "audit_events": lambda world: world.event.public_id,
    "gateways": lambda world: world.gateway.public_id,
    "webhooks": lambda world: world.webhook.public_id,
    "deliveries": lambda world: world.message.public_id,
    "notifications": lambda _: "",
    "sessions": lambda world: elsewhere(world.cast.ada),
    **acts.IDS,
}
# Of another object than the noun's other acts: a rotation needs a key with a secret.
SPECIAL_IDS: Mapping[str, Callable[[World], str]] = {
    "keys_rotate": lambda world: world.key.public_id,
    "gateways_enable": lambda _: factories.GatewayFactory.create(disabled_at=clock.now()).public_id,
    "webhooks_end_previous": lambda _: factories.WebhookFactory.create(live_versions=[1, 2]).public_id,
    "webhooks_enable": lambda _: (
        factories.WebhookFactory.create(disabled_at=clock.now(), disabled_reason="Moved.").public_id
    ),
    **acts.SPECIAL_IDS,
}
BODIES: Mapping[str, Callable[[World], dict[str, Any]]] = {
    "budgets_change_limit": lambda _: {"amount_usd": "600", "reason": "A launch."},
    "budgets_create": lambda world: {
        "scope": {"kind": "project", "id": world.cast.ranking.public_id},
        "window": "day",
        "mode": "hard",
        "amount_usd": "20",
        "reason": "A quiet day.",
    },
    "teams_move": lambda world: {"department": world.cast.payments.public_id, "reason": "They merge."},
    "projects_move": lambda world: {
        "team": factories.TeamFactory.create(department=world.cast.product).public_id,
        "reason": "The team is split.",
    },
    "budgets_withdraw_plan": lambda world: {"valid_from": planned(world), "reason": "No launch."},
    "budgets_top_up": lambda _: {
        "amount_usd": "20",
        "valid_until": in_days(3).isoformat(),
        "reason": "A launch.",
    },
    "budgets_set_rules": lambda _: {"mode": "soft", "reason": "A pilot."},
    "budgets_close": lambda _: {"reason": "The pilot ends."},
    "rate_limits_create": lambda world: {
        "scope": {"kind": "project", "id": world.cast.ranking.public_id},
        "parallel_calls": 5,
        "reason": "It floods the gateway.",
    },
    "rate_limits_remove": lambda _: {"reason": "It was for a test."},
    "keys_create": lambda world: {"project": world.cast.ranking.public_id, "name": "laptop"},
    "keys_reveal": lambda _: {},
    "keys_rotate": lambda _: {"overlap_hours": 48},
    "keys_end_previous": lambda _: {},
    "keys_rename": lambda _: {"name": "batch"},
    "grants_shrink": lambda _: {"monthly_cap_usd": "5", "reason": "Enough."},
    "grants_revoke": lambda _: {"reason": "Done."},
    "keys_revoke": lambda _: {"reason": "Lost."},
    "leaks_create": lambda _: {"secrets": ["psr_live_unknown"], "place": "a test"},
    "requests_create": lambda world: {
        "project": world.cast.ranking.public_id,
        "tier": 3,
        "reason": "The larger models miss one answer in three.",
        "expected_monthly_usd": "100",
    },
    "requests_amend": lambda _: {
        "seen_revision": 1,
        "reason": "The larger models miss one answer in three.",
        "expected_monthly_usd": "100",
    },
    "requests_comment": lambda _: {"text": "Why not the small one?"},
    "requests_extend": lambda world: {
        "grant": world.grant.public_id,
        "duration_days": 10,
        "reason": "The larger models miss one answer in three.",
    },
    "requests_break_glass": lambda world: {
        "project": world.cast.ranking.public_id,
        "tier": breakable(world),
        "reason": "Search answers nothing, and no lead is awake.",
    },
    "delegations_create": lambda world: {
        "taker": world.cast.dan.email,
        "role": "lead",
        "team": world.cast.search.public_id,
        "valid_until": in_days(9).isoformat(),
    },
    "delegations_end": lambda _: {},
    "policies_simulate": lambda world: {"rules": stricter(world)},
    "policies_propose": lambda world: {"rules": stricter(world), "reason": "Access was too long."},
    "policy_proposals_confirm": lambda _: {},
    "policy_proposals_reject": lambda _: {},
    "access_reviews_keep": lambda _: {},
    "access_reviews_end": lambda _: {"reason": "Nobody uses it."},
    "budget_requests_create": lambda world: {
        "budget": world.budget.public_id,
        "limit_usd": "600",
        "reason": "A launch in January.",
    },
    "budget_requests_amend": lambda _: {
        "seen_revision": 1,
        "limit_usd": "650",
        "reason": "A larger launch in December.",
    },
    "budget_requests_comment": lambda _: {"text": "Why so much?"},
    "budget_requests_withdraw": lambda _: {},
    "budget_requests_decide": lambda _: {"verdict": "approve", "seen_revision": 1},
    "upstream_keys_create": lambda world: {
        "account": world.upstream_key.account.public_id,
        "external_id": "key_new",
        "label": "Batch jobs",
    },
    "invoices_create": lambda world: {
        "account": world.upstream_key.account.public_id,
        "number": "INV-2",
        "first_day": "2026-10-01",
        "last_day": "2026-10-31",
        "total": "12.5",
        "lines": [{"description": "Usage", "amount": "15"}, {"description": "Credit", "amount": "-2.50"}],
    },
    "gateways_disable": lambda _: {"reason": "Its host was broken into."},
    "gateways_enable": lambda _: {"reason": "A new host."},
    "webhooks_create": lambda _: {"url": "https://8.8.8.8/", "description": "Chat", "actions": ["key."]},
    "webhooks_change": lambda _: {"actions": ["key.revoked"]},
    "webhooks_rotate": lambda _: {},
    "webhooks_end_previous": lambda _: {},
    "webhooks_test": lambda _: {},
    "webhooks_disable": lambda _: {"reason": "It moved."},
    "webhooks_enable": lambda _: {},
    "webhooks_remove": lambda _: {"reason": "Nobody listens."},
    "deliveries_again": lambda _: {},
    "sessions_end": lambda _: {"reason": "It was lost."},
    "notifications_change": lambda _: {"budgets": "digest"},
    "requests_withdraw": lambda _: {},
    "requests_decide": lambda _: {"verdict": "approve", "seen_revision": 1},
    **acts.BODIES,
}


@pytest.fixture(scope="module")
def one_world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """Make one of everything that the API shows, once."""
    with sharing.for_all_tests(lambda: make_world(make_cast()), django_db_blocker) as made:
        yield made


@pytest.fixture
def world(db: None, one_world: World) -> World:
    """Return one of everything that the API shows, as it was made."""
    return deepcopy(one_world)


@pytest.fixture
def cast(world: World) -> Cast:
    """Return the people of the world."""
    return world.cast


def test_every_operation_has_a_row() -> None:
    matrix.check_declared("operations", [route.operation for route in routes()], list(CELLS))


@pytest.mark.parametrize("operation", CELLS)
def test_every_refusal_has_a_positive_control(operation: str) -> None:
    cells = set(CELLS[operation].values())
    assert operation == "unknown_address" or cells - set(REFUSED), "nobody may, so the row shows nothing"


@pytest.mark.parametrize("route", routes(), ids=lambda route: route.operation)
def test_operation_answers_each_role_as_declared(route: Route, world: World) -> None:
    answered = {}
    be_there(route, world)
    for role in ROLES:
        with undone():
            response = called(route, role, world)
        answered[role] = shown(route, response, world)
    matrix.check("operations", route.operation, CELLS[route.operation], answered)


@pytest.mark.parametrize("route", WRITES, ids=lambda route: route.operation)
def test_every_write_repeated_with_its_key_has_one_effect(route: Route, world: World) -> None:
    be_there(route, world)
    role = next(role for role, cell in CELLS[route.operation].items() if cell in DONE)
    caller, path, body = (
        Caller(getattr(world.cast, role)),
        address(route, world),
        BODIES[route.operation](world),
    )
    first, again = (
        (caller.post(path, body, headers={"Idempotency-Key": "a-7c1"}), AuditEvent.objects.count())
        for _ in range(2)
    )
    assert first[0].status_code in {200, 201, 202}
    assert again[1] == first[1]
    if route.operation in {"keys_reveal", "api_tokens_reveal"}:  # what was revealed answers, without it
        assert again[0].status_code == 409
        return
    kept = {**first[0].json(), **{name: None for name in ("secret",) if name in first[0].json()}}
    assert (again[0].status_code, again[0].json()) == (first[0].status_code, kept)


@pytest.mark.parametrize("route", FOR_SOME, ids=lambda route: route.operation)
def test_a_role_elsewhere_opens_nothing_here(route: Route, world: World) -> None:
    answered = {}
    be_there(route, world)
    for role in ELSEWHERE_ROLES:
        with undone():
            answered[role] = shown(route, called(route, role, world), world)
    declared = dict.fromkeys(ELSEWHERE_ROLES, CELLS[route.operation]["dan"])
    matrix.check("operations, other team", route.operation, declared, answered)


def called(route: Route, role: str, world: World) -> Answer:
    caller = Caller(None if role == "anonymous" else getattr(world.cast, role))
    path = address(route, world)
    return caller.get(path) if route.method == "GET" else caller.post(path, BODIES[route.operation](world))


def address(route: Route, world: World) -> str:
    if "{id}" not in route.path:
        return route.path
    known = SPECIAL_IDS.get(route.operation) or IDS[noun_of(route)]
    return route.path.replace("{id}", known(world))


def asked_for_more(world: World) -> BudgetRequest:
    """Return Ada's one request for more budget, made when it is first looked for."""
    waits = BudgetRequest.objects.filter(requester=world.cast.ada).first()
    return waits or ask_increase(
        actor=world.cast.ada, budget=world.budget, limit_usd=Decimal(600), reason="A launch in December."
    )


def be_there(route: Route, world: World) -> None:
    """Make what the noun's acts are about, before anybody calls."""
    if route in FOR_SOME and route.operation not in PUBLIC and not route.operation.endswith("_create"):
        IDS[noun_of(route)](world)


def lent(world: World) -> Delegation:
    """Return Ben's one delegation to Cleo."""
    cast = world.cast
    there = Delegation.objects.filter(giver=cast.ben).first()
    return there or factories.DelegationFactory.create(giver=cast.ben, taker=cast.cleo, team=cast.search)


def elsewhere(person: User) -> str:
    """Return the id of a person's one sign-in in another browser, made when it is first looked for."""
    there = UserSession.objects.filter(user=person, user_agent="Firefox").first()
    if there is None:
        client = Client()
        client.force_login(person)
        there = UserSession.objects.create(
            user=person, ip="192.0.2.9", session_key=client.session.session_key, user_agent="Firefox"
        )
    return session_id(there)


def proposed(world: World) -> PolicyProposal:
    """Return another administrator's one proposal for Tier 3."""
    tier = world.cast.tier3
    there = PolicyProposal.objects.filter(tier=tier).first()
    if there:
        return there
    admin = factories.RoleAssignmentFactory.create().user
    base = factories.policy_of(tier)
    rules = replace(Rules.of(base), default_days=5, max_days=5)
    return propose_policy(actor=admin, base=base, rules=rules, reason="Access was too long.")


def stricter(world: World) -> dict[str, Any]:
    """Return the rules of Tier 2 with fewer days, as a body says them."""
    rules = RulesOut(Rules.of(factories.policy_of(world.cast.tier2)).as_fields()).data
    return {**rules, "default_days": 10, "max_days": 10}


def unused(world: World) -> Grant:
    """Return Ada's one access that is 40 days old, in another project of her team, which nobody uses."""
    key = ApiKey.objects.filter(name="forgotten").first()
    if key:
        return key.grants.get()
    project = factories.ProjectFactory.create(team=world.cast.search, owner=world.cast.ben)
    key = factories.ApiKeyFactory.create(name="forgotten", project=project, owner=world.cast.ada)
    starts = clock.now() - timedelta(days=40)
    return factories.approved_grant(key, starts_at=starts, expires_at=in_days(20))


def breakable(world: World) -> int:
    """Let the glass be broken for Tier 3, and return its number."""
    factories.new_policy(
        world.cast.tier3, [("director", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50)
    )
    return 3


def planned(world: World) -> str:
    """Plan a limit and return from when on."""
    limit = limits.change_limit(
        actor=None, budget=world.budget, amount_usd=Decimal(900), reason="A launch.", valid_from=in_days(5)
    )
    return limit.valid_from.isoformat()


def in_days(number: int) -> datetime:
    return clock.now() + timedelta(days=number)


def shown(route: Route, response: Answer, world: World) -> str:
    if response.status_code != 200 or not route.operation.endswith("_list"):
        return str(response.status_code)
    known = IDS[noun_of(route)](world)
    rows = response.json()["results"]
    return "sees" if known in {known_by(row) for row in rows} else "empty"


def known_by(row: Mapping[str, Any]) -> str:
    """Return a row's id: a tier has a number, a line of usage or refusals has that of its project."""
    return str(row.get("id") or row.get("number") or row["project"]["id"])


def noun_of(route: Route) -> str:
    return next(noun for noun in IDS if route.operation.startswith(f"{noun}_"))


@contextmanager
def undone() -> Iterator[None]:
    """Take back what happens inside, so that every role meets the same world."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
