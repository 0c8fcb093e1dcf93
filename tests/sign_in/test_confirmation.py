"""Sensitive acts need a sign-in, or a confirmation, that is at most five minutes old."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoDbBlocker

from approvals.models import Policy, RequestStatus
from approvals.services import propose_policy
from core.models import Webhook
from keys.services import make_token
from portal.gates import SENSITIVE
from teams.models import Role
from tests import factories, sharing
from tests.api.acts import proposed_price, proposed_repricing, service_of, unpriced
from tests.api.routes import routes
from tests.api.test_matrix import planned, undone
from tests.api.world import World, make_world
from tests.cast import make_cast
from tests.portal.test_matrix import address, pages
from tests.signing import JUST_NOW, LONG_AGO, sign_in

PASSWORD = "a password of the tests, 2026"
ASK = "/accounts/reauthenticate/"

# Who does it, how, and where; each is allowed to him and would happen.
ACTS: dict[str, tuple[str, str, Callable[[World], str], dict[str, Any]]] = {
    "approvals:decide": ("cleo", "post", lambda w: url("approvals:decide", third(w)), {"verdict": "approve"}),
    "api:requests-decide": ("cleo", "post", lambda w: url("api:requests-decide", third(w)), {}),
    "approvals:break_glass": ("ada", "get", lambda _: "/approvals/break-glass/", {}),
    "approvals:delegations": ("ben", "post", lambda _: "/approvals/delegations/", {}),
    "approvals:edit_policy": ("ann", "get", lambda w: url("approvals:edit_policy", rules(w).public_id), {}),
    "approvals:proposal": ("ann", "post", lambda w: url("approvals:proposal", proposed(w)), {}),
    "keys:reveal": ("ada", "post", lambda w: url("keys:reveal", w.fresh_key.public_id), {}),
    "api:keys-reveal": ("ada", "post", lambda w: url("api:keys-reveal", w.fresh_key.public_id), {}),
    "keys:rotate": ("ada", "get", lambda w: url("keys:rotate", w.key.public_id), {}),
    "api:keys-rotate": ("ada", "post", lambda w: url("api:keys-rotate", w.key.public_id), {}),
    "keys:create_token": ("ada", "get", lambda _: "/keys/tokens/new/", {}),
    "keys:create_service": ("ann", "get", lambda _: "/keys/tokens/services/new/", {}),
    "keys:reveal_token": ("ada", "post", lambda w: url("keys:reveal_token", token(w)), {}),
    "api:api_tokens-list": ("ada", "post", lambda _: reverse("api:api_tokens-list"), {}),
    "api:api_tokens-reveal": ("ada", "post", lambda w: url("api:api_tokens-reveal", token(w)), {}),
    "api:service_accounts-list": ("ann", "post", lambda _: reverse("api:service_accounts-list"), {}),
    "api:service_accounts-hand-over": (
        "ada",
        "post",
        lambda w: url("api:service_accounts-hand-over", service_of(w.cast.ada).user.public_id),
        {},
    ),
    "api:budget_requests-decide": (
        "ben",
        "post",
        lambda _: url("api:budget_requests-decide", f"brq_{0:018}"),
        {},
    ),
    "approvals:decide_budget": ("ben", "post", lambda _: url("approvals:decide_budget", "brq_none"), {}),
    "budgets:change": ("ben", "get", lambda w: url("budgets:change", w.budget.public_id), {}),
    "budgets:plan": ("ben", "get", lambda w: url("budgets:plan", w.budget.public_id), {}),
    "budgets:withdraw": (
        "ben",
        "get",
        lambda w: f"{url('budgets:withdraw', w.budget.public_id)}?{urlencode({'valid_from': planned(w)})}",
        {},
    ),
    "budgets:top_up": ("ben", "get", lambda w: url("budgets:top_up", w.budget.public_id), {}),
    "budgets:rules": ("ben", "get", lambda w: url("budgets:rules", w.budget.public_id), {}),
    "api:budgets-limits": ("ben", "post", lambda w: url("api:budgets-limits", w.budget.public_id), {}),
    "api:budgets-withdraw-plan": (
        "ben",
        "post",
        lambda w: url("api:budgets-withdraw-plan", w.budget.public_id),
        {},
    ),
    "api:budgets-top-up": ("ben", "post", lambda w: url("api:budgets-top-up", w.budget.public_id), {}),
    "api:budgets-set-rules": ("ben", "post", lambda w: url("api:budgets-set-rules", w.budget.public_id), {}),
    "move_project": ("cleo", "get", lambda w: url("move_project", w.cast.ranking.public_id), {}),
    "api:projects-move": ("cleo", "post", lambda w: url("api:projects-move", w.cast.ranking.public_id), {}),
    "move_team": ("ann", "get", lambda w: url("move_team", w.cast.search.public_id), {}),
    "api:teams-move": ("ann", "post", lambda w: url("api:teams-move", w.cast.search.public_id), {}),
    "archive_project": ("cleo", "get", lambda w: url("archive_project", w.cast.ranking.public_id), {}),
    "teams:archive_department": (
        "ann",
        "get",
        lambda w: url("teams:archive_department", w.cast.product.public_id),
        {},
    ),
    "api:departments-archive": (
        "ann",
        "post",
        lambda w: url("api:departments-archive", w.cast.product.public_id),
        {},
    ),
    "teams:archive_team": ("cleo", "get", lambda w: url("teams:archive_team", w.cast.search.public_id), {}),
    "teams:add_member": ("ben", "get", lambda w: url("teams:add_member", w.cast.search.public_id), {}),
    "hand_over_project": ("ben", "get", lambda w: url("hand_over_project", w.cast.ranking.public_id), {}),
    "teams:end_membership": (
        "ben",
        "get",
        lambda w: reverse("teams:end_membership", args=[w.cast.search.public_id, w.cast.ada.public_id]),
        {},
    ),
    "budgets:close": ("ben", "get", lambda w: url("budgets:close", w.budget.public_id), {}),
    "api:budgets-close": ("ben", "post", lambda w: url("api:budgets-close", w.budget.public_id), {}),
    "api:teams-members": ("ben", "post", lambda w: url("api:teams-members", w.cast.search.public_id), {}),
    "api:teams-end-member": (
        "ben",
        "post",
        lambda w: url("api:teams-end-member", w.cast.search.public_id),
        {},
    ),
    "api:teams-archive": ("cleo", "post", lambda w: url("api:teams-archive", w.cast.search.public_id), {}),
    "api:projects-archive": (
        "cleo",
        "post",
        lambda w: url("api:projects-archive", w.cast.ranking.public_id),
        {},
    ),
    "api:projects-hand-over": (
        "ben",
        "post",
        lambda w: url("api:projects-hand-over", w.cast.ranking.public_id),
        {},
    ),
    "people:add": ("ann", "get", lambda _: "/people/add/", {}),
    "people:give_role": ("ann", "get", lambda w: url("people:give_role", w.cast.ada.public_id), {}),
    "people:end_role": ("ann", "get", lambda w: url("people:end_role", leads(w)), {}),
    "people:reset_factors": ("ann", "get", lambda w: url("people:reset_factors", w.cast.ben.public_id), {}),
    "people:leave": ("ann", "post", lambda w: url("people:leave", w.cast.ada.public_id), {}),
    "people:return": ("ann", "get", lambda w: url("people:return", w.cast.ada.public_id), {}),
    "api:people-list": ("ann", "post", lambda _: reverse("api:people-list"), {}),
    "api:people-reset-factors": (
        "ann",
        "post",
        lambda w: url("api:people-reset-factors", w.cast.ben.public_id),
        {},
    ),
    "api:people-leave": ("ann", "post", lambda w: url("api:people-leave", w.cast.ada.public_id), {}),
    "api:people-return": ("ann", "post", lambda w: url("api:people-return", w.cast.ada.public_id), {}),
    "api:roles-list": ("ann", "post", lambda _: reverse("api:roles-list"), {}),
    "api:roles-end": ("ann", "post", lambda w: url("api:roles-end", leads(w)), {}),
    "overview": ("ben", "get", lambda _: "/?format=csv", {}),
    "models": ("ada", "get", lambda _: "/models/?format=csv", {}),
    "keys:list": ("ada", "get", lambda _: "/keys/?format=csv", {}),
    "people:list": ("ben", "get", lambda _: "/people/?format=csv", {}),
    "approvals:list": ("ben", "get", lambda _: "/approvals/?format=csv", {}),
    "sources:list": ("fay", "get", lambda _: "/sources/?format=csv", {}),
    "deliveries:list": ("ann", "get", lambda _: "/deliveries/?format=csv", {}),
    "budgets:list": ("ben", "get", lambda _: "/budgets/?format=csv", {}),
    "blocked:list": ("ben", "get", lambda _: "/blocked/?format=csv", {}),
    "audit:list": ("audrey", "get", lambda _: "/audit/?format=csv", {}),
    "api:audit_events-export": ("audrey", "get", lambda _: reverse("api:audit_events-export"), {}),
    "approvals:review_one": (
        "cleo",
        "post",
        lambda w: url("approvals:review_one", dearest(w)),
        {"keep": "1"},
    ),
    "api:access_reviews-keep": ("cleo", "post", lambda w: url("api:access_reviews-keep", dearest(w)), {}),
    "approvals:retire_policy": (
        "ann",
        "get",
        lambda w: url("approvals:retire_policy", rules(w).public_id),
        {},
    ),
    "api:requests-break-glass": ("ada", "post", lambda _: reverse("api:requests-break-glass"), {}),
    "api:delegations-list": ("ben", "post", lambda _: reverse("api:delegations-list"), {}),
    "api:policies-propose": ("ann", "post", lambda w: url("api:policies-propose", rules(w).public_id), {}),
    "api:policy_proposals-confirm": (
        "ann",
        "post",
        lambda w: url("api:policy_proposals-confirm", proposed(w)),
        {},
    ),
    "api:policy_proposals-reject": (
        "ann",
        "post",
        lambda w: url("api:policy_proposals-reject", proposed(w)),
        {},
    ),
    "keys:hand_over": ("ann", "get", lambda w: url("keys:hand_over", w.cast.ada.public_id), {}),
    "quarantine:assign": ("ann", "get", lambda w: url("quarantine:assign", w.quarantined.public_id), {}),
    "quarantine:dismiss": ("ann", "get", lambda w: url("quarantine:dismiss", w.quarantined.public_id), {}),
    "api:quarantine-book": ("ann", "post", lambda w: url("api:quarantine-book", w.quarantined.public_id), {}),
    "api:quarantine-dismiss": (
        "ann",
        "post",
        lambda w: url("api:quarantine-dismiss", w.quarantined.public_id),
        {},
    ),
    "prices:list": ("fay", "get", lambda _: "/prices/?format=csv", {}),
    "prices:model": (
        "fay",
        "get",
        lambda w: url("prices:model", w.cast.large.public_id) + "?format=csv",
        {},
    ),
    "prices:import": ("ann", "post", lambda _: reverse("prices:import"), {}),
    "prices:override": ("ann", "get", lambda w: url("prices:override", w.cast.large.public_id), {}),
    "prices:end": ("ann", "get", lambda _: url("prices:end", "prc_none"), {}),
    "prices:proposal": ("ann", "post", lambda _: url("prices:proposal", "ppr_none"), {}),
    "api:prices-list": ("ann", "post", lambda _: reverse("api:prices-list"), {}),
    "api:prices-end": ("ann", "post", lambda _: url("api:prices-end", f"prc_{0:018}"), {}),
    "api:price_proposals-approve": (
        "ann",
        "post",
        lambda w: url("api:price_proposals-approve", proposed_price(w).public_id),
        {},
    ),
    "api:price_proposals-reject": (
        "ann",
        "post",
        lambda w: url("api:price_proposals-reject", proposed_price(w).public_id),
        {},
    ),
    "enter_prices": ("ann", "get", lambda w: url("enter_prices", unpriced(w).public_id), {}),
    "declare_free": ("ann", "get", lambda w: url("declare_free", unpriced(w).public_id), {}),
    "api:models-enter-prices": (
        "ann",
        "post",
        lambda w: url("api:models-enter-prices", unpriced(w).public_id),
        {},
    ),
    "api:models-declare-free": (
        "ann",
        "post",
        lambda w: url("api:models-declare-free", unpriced(w).public_id),
        {},
    ),
    "api:price_list": ("ann", "post", lambda _: reverse("api:price_list"), {}),
    "api:repricings-list": ("ann", "post", lambda _: reverse("api:repricings-list"), {}),
    "api:repricings-approve": (
        "ann",
        "post",
        lambda w: url("api:repricings-approve", proposed_repricing(w).public_id),
        {},
    ),
    "api:repricings-reject": (
        "ann",
        "post",
        lambda w: url("api:repricings-reject", proposed_repricing(w).public_id),
        {},
    ),
    "prices:new_repricing": ("ann", "get", lambda _: reverse("prices:new_repricing"), {}),
    "prices:repricing": ("ann", "post", lambda _: url("prices:repricing", "rpc_none"), {}),
    "invoices:detail": (
        "fay",
        "get",
        lambda w: url("invoices:detail", w.invoice.public_id) + "?format=csv",
        {},
    ),
    "providers:add": ("ann", "get", lambda _: reverse("providers:add"), {}),
    "providers:credential": ("ann", "get", lambda w: url("providers:credential", account(w)), {}),
    "providers:close": ("ann", "get", lambda w: url("providers:close", account(w)), {}),
    "providers:register_key": ("ann", "get", lambda w: url("providers:register_key", account(w)), {}),
    "providers:retire_key": (
        "ann",
        "get",
        lambda w: reverse("providers:retire_key", args=[account(w), w.upstream_key.public_id]),
        {},
    ),
    "api:upstream_keys-list": ("ann", "post", lambda _: reverse("api:upstream_keys-list"), {}),
    "reconciliation:list": ("fay", "get", lambda _: "/reconciliation/?format=csv", {}),
    "reconciliation:periods": ("fay", "get", lambda _: "/reconciliation/periods/?format=csv", {}),
    "reconciliation:resolve": (
        "fay",
        "post",
        lambda w: url("reconciliation:resolve", w.discrepancy.public_id),
        {},
    ),
    "reconciliation:close": ("fay", "post", lambda _: url("reconciliation:close", "2026-10"), {}),
    "reconciliation:reopen": ("fay", "get", lambda _: url("reconciliation:reopen", "2026-10"), {}),
    "api:discrepancies-explain": (
        "ann",
        "post",
        lambda w: url("api:discrepancies-explain", w.discrepancy.public_id),
        {},
    ),
    "api:discrepancies-accept": (
        "ann",
        "post",
        lambda w: url("api:discrepancies-accept", w.discrepancy.public_id),
        {},
    ),
    "api:discrepancies-correct": (
        "ann",
        "post",
        lambda w: url("api:discrepancies-correct", w.discrepancy.public_id),
        {},
    ),
    "api:discrepancies-confirm-price": (
        "ann",
        "post",
        lambda w: url("api:discrepancies-confirm-price", w.discrepancy.public_id),
        {},
    ),
    "gateways:enable": ("ann", "get", lambda w: url("gateways:enable", w.gateway.public_id), {}),
    "api:gateways-enable": ("ann", "post", lambda w: url("api:gateways-enable", w.gateway.public_id), {}),
    "api:periods-close": ("fay", "post", lambda w: url("api:periods-close", w.period.public_id), {}),
    "api:periods-reopen": ("fay", "post", lambda w: url("api:periods-reopen", w.period.public_id), {}),
    "team": ("ben", "get", lambda w: url("team", w.cast.search.public_id) + "?format=csv", {}),
    "project": ("ben", "get", lambda w: url("project", w.cast.ranking.public_id) + "?format=csv", {}),
    "reports:list": ("fay", "get", lambda _: "/reports/?format=csv", {}),
    "reports:statement": (
        "fay",
        "get",
        lambda w: reverse("reports:statement", args=[w.cast.search.public_id, "2026-10"]) + "?format=csv",
        {},
    ),
    "reports:focus": ("fay", "get", lambda _: url("reports:focus", "2026-10"), {}),
    "api:usage-focus": ("fay", "get", lambda _: reverse("api:usage-focus"), {}),
    "webhooks:list": ("ann", "post", lambda _: "/webhooks/", {}),
    "webhooks:change": ("ann", "get", lambda _: url("webhooks:change", hook()), {}),
    "api:webhooks-list": ("ann", "post", lambda _: reverse("api:webhooks-list"), {}),
    "api:webhooks-change": ("ann", "post", lambda _: url("api:webhooks-change", hook()), {}),
    "api:webhooks-rotate": ("ann", "post", lambda _: url("api:webhooks-rotate", hook()), {}),
    "webhooks:rotate": ("ann", "post", lambda _: url("webhooks:rotate", hook()), {}),
}


def url(name: str, public_id: str) -> str:
    """Return the address of an act on one thing."""
    return reverse(name, args=[public_id])


def dearest(world: World) -> str:
    """Return a grant of Ada's on Tier 3."""
    return factories.approved_grant(world.key, tier_number=3).public_id


def account(world: World) -> str:
    """Return the account of a provider."""
    return world.upstream_key.account.public_id


def leads(world: World) -> str:
    """Return the role of Ben's."""
    return world.cast.ben.role_assignments.get().public_id


def rules(world: World) -> Policy:
    """Return the rules in force for Tier 2."""
    return factories.policy_of(world.cast.tier2)


def proposed(world: World) -> str:
    """Propose that nobody may ask for Tier 2; another administrator than Ann does."""
    other = factories.RoleAssignmentFactory.create(role=Role.ADMIN).user
    return propose_policy(actor=other, base=rules(world), rules=None, reason="A test.").public_id


def token(world: World) -> str:
    """Make an API token of Ada's that waits to be revealed."""
    return make_token(actor=world.cast.ada, name="ci", scopes=["keys:read"]).public_id


def hook() -> str:
    """Add a webhook."""
    added: Webhook = factories.WebhookFactory.create()
    return added.public_id


def third(world: World) -> str:
    """Ask for Tier 3, which the director decides."""
    cast = world.cast
    asked = factories.AccessRequestFactory.create(
        requester=cast.ada, project=cast.ranking, tier=cast.tier3, policy=factories.policy_of(cast.tier3)
    )
    return asked.public_id


def with_passwords() -> World:
    """Make one of everything, with passwords that people can confirm with."""
    cast = make_cast()
    for person in (cast.ada, cast.ben, cast.cleo):
        person.set_password(PASSWORD)
        person.save()
    return make_world(cast)


@pytest.fixture(scope="module")
def one_world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """Make one of everything, with passwords, once."""
    with sharing.for_all_tests(with_passwords, django_db_blocker) as made:
        yield made


@pytest.fixture
def world(db: None, one_world: World) -> World:
    """Return one of everything, with passwords, as it was made."""
    return deepcopy(one_world)


def test_every_declared_act_is_tried_here() -> None:
    assert set(ACTS) == set(SENSITIVE)


@pytest.mark.parametrize("act", ACTS)
def test_an_old_sign_in_is_confirmed_before_a_sensitive_act(act: str, world: World) -> None:
    who, method, address, entered = ACTS[act]
    path = address(world)
    client = Client()
    sign_in(client, getattr(world.cast, who), ago=LONG_AGO)

    answer = getattr(client, method)(path, entered)

    if act.startswith("api:"):
        assert (answer.status_code, answer.json()["code"]) == (403, "confirmation_needed")
    else:
        assert answer.status_code == 302
        assert answer["Location"].startswith(ASK)


@pytest.mark.parametrize("act", ACTS)
def test_a_fresh_sign_in_does_it_at_once(act: str, world: World) -> None:
    who, method, address, entered = ACTS[act]
    path = address(world)
    client = Client(raise_request_exception=False)
    sign_in(client, getattr(world.cast, who), ago=JUST_NOW)

    answer = getattr(client, method)(path, entered)

    assert ASK not in answer.headers.get("Location", "")
    assert answer.streaming or b"confirmation_needed" not in answer.content


def test_the_act_goes_on_after_the_password(world: World) -> None:
    public_id = third(world)
    client = Client()
    sign_in(client, world.cast.cleo, ago=LONG_AGO)
    sent = {"verdict": "approve", "seen_revision": "1", "monthly_cap_usd": "100", "duration_days": "10"}
    way = client.post(url("approvals:decide", public_id), sent)["Location"]

    wrong = client.post(way, {"password": "not the password", "next": url("approvals:decide", public_id)})
    assert wrong.status_code == 200
    assert world.cast.ada.requests.get(public_id=public_id).status == RequestStatus.PENDING

    client.post(way, {"password": PASSWORD, "next": url("approvals:decide", public_id)})
    assert world.cast.ada.requests.get(public_id=public_id).status == RequestStatus.APPROVED


def test_htmx_is_led_away_whole_and_the_act_still_goes_on(world: World) -> None:
    public_id = third(world)
    client = Client()
    sign_in(client, world.cast.cleo, ago=LONG_AGO)
    path = url("approvals:decide", public_id)
    sent = {"verdict": "approve", "seen_revision": "1", "monthly_cap_usd": "100", "duration_days": "10"}

    answer = client.post(path, sent, headers={"HX-Request": "true", "HX-Target": "inbox"})
    assert answer["HX-Redirect"].startswith(ASK)
    assert answer.content == b""

    done = client.post(answer["HX-Redirect"], {"password": PASSWORD, "next": path})
    assert done.status_code == 302
    assert world.cast.ada.requests.get(public_id=public_id).status == RequestStatus.APPROVED


def test_tier_two_needs_no_confirmation(world: World) -> None:
    client = Client()
    sign_in(client, world.cast.ben, ago=LONG_AGO)
    sent = {"verdict": "approve", "seen_revision": "1", "monthly_cap_usd": "100", "duration_days": "10"}

    client.post(url("approvals:decide", world.request.public_id), sent)

    world.request.refresh_from_db()
    assert world.request.status == RequestStatus.APPROVED


def test_a_page_is_shown_without_confirmation_and_its_file_is_not(world: World) -> None:
    client = Client()
    sign_in(client, world.cast.ben, ago=LONG_AGO)

    assert client.get("/budgets/").status_code == 200
    assert client.get("/budgets/?format=csv").status_code == 302


def test_no_page_and_no_operation_gives_a_file_without_confirmation(world: World) -> None:
    client = Client(raise_request_exception=False)
    sign_in(client, world.cast.ann, ago=LONG_AGO)
    given = []
    for page in pages():
        with undone():
            path = address(page, world)
            answer = client.get(f"{path}{'&' if '?' in path else '?'}format=csv")
        given += [page] if is_csv(answer) else []
    for route in routes():
        if route.method == "GET" and "{id}" not in route.path:
            given += [route.operation] if is_csv(client.get(route.path)) else []
    assert given == []


def is_csv(answer: Any) -> bool:
    return str(answer.headers.get("Content-Type", "")).startswith("text/csv")


def test_only_the_sign_in_of_this_person_counts(world: World) -> None:
    client = Client()
    sign_in(client, world.cast.ben)
    stolen = dict(client.session.items())
    client.force_login(world.cast.cleo)
    session = client.session
    session.update({name: value for name, value in stolen.items() if name.startswith("account_")})
    session.save()

    assert client.get("/budgets/?format=csv").status_code == 302
