"""Every page x every role, for objects of Ada's, against a declared table; what nobody lists here fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from allauth.usersessions.models import UserSession
from django.urls import URLPattern, URLResolver
from pytest_django import DjangoDbBlocker

from approvals.services import ask_increase, comment, propose_policy
from catalog.importer import Slot
from catalog.models import PriceSource, Unit
from catalog.proposals import Override
from catalog.services import override_price
from core import audit, clock
from keys.services import open_service_account
from portal.urls import urlpatterns
from tests import matrix, sharing
from tests.api.acts import planned_activity, suspended
from tests.api.test_matrix import planned, undone
from tests.api.world import World, make_world
from tests.browsing import Visitor
from tests.cast import Cast, make_cast
from tests.core.test_wishes import put as put_message
from tests.factories import (
    ApiTokenFactory,
    DelegationFactory,
    LlmModelFactory,
    PriceFactory,
    WebhookFactory,
    policy_of,
)
from usage.models import Repricing

# 302 is the way to the sign-in, or from a form that was sent back to its page; 404 is "not there, or not
# yours", 405 a page that only takes a form.
TABLE = """
    page                                  anonymous dan  ada  ben  cleo fay  audrey ann
    /                                     302       200  200  200  200  200  200    200
    /search/                              302       200  200  200  200  200  200    200
    /status/                              302       200  200  200  200  200  200    200
    /developers/                          302       200  200  200  200  200  200    200
    /audit/                               302       200  200  200  200  200  200    200
    /audit/{event}/                       302       404  200  200  200  404  200    200
    /notifications/                       302       200  200  200  200  200  200    200
    /notifications/slack/                 302       405  405  405  405  405  405    405
    /notifications/slack/unlink/          302       405  405  405  405  405  405    405
    /deliveries/                          302       403  403  403  403  403  403    200
    /deliveries/{message}/                302       403  403  403  403  403  403    200
    /deliveries/{message}/again/          302       405  405  405  405  405  405    405
    /deliveries/{message}/aside/          302       405  405  405  405  405  405    405
    /webhooks/                            302       403  403  403  403  403  403    200
    /webhooks/{webhook}/                  302       403  403  403  403  403  403    200
    /webhooks/{webhook}/rotate/           302       405  405  405  405  405  405    405
    /webhooks/{webhook}/end-previous/     302       405  405  405  405  405  405    405
    /webhooks/{webhook}/change/           302       403  403  403  403  403  403    200
    /webhooks/{webhook}/remove/           302       403  403  403  403  403  403    200
    /webhooks/{webhook}/test/             302       405  405  405  405  405  405    405
    /webhooks/{webhook}/enable/           302       405  405  405  405  405  405    405
    /webhooks/{webhook}/disable/          302       403  403  403  403  403  403    200
    /gateways/                            302       403  403  403  403  403  403    200
    /gateways/{gateway}/disable/          302       403  403  403  403  403  403    200
    /gateways/{gateway}/enable/           302       403  403  403  403  403  403    200
    /theme/                               405       405  405  405  405  405  405    405
    /people/                              302       200  200  200  200  200  200    200
    /people/add/                          302       403  403  403  403  403  403    200
    /people/{person}/                     302       404  200  200  200  200  200    200
    /people/{person}/rename/              302       404  403  403  403  403  403    200
    /people/{person}/role/                302       404  403  403  403  403  403    200
    /people/{person}/leave/               302       404  403  403  403  403  403    200
    /people/{person}/factors/             302       404  403  403  403  403  403    200
    /people/{person}/return/              302       404  403  403  403  403  403    200
    /people/roles/{role}/end/             302       404  403  403  403  403  403    200
    /sessions/                            302       200  200  200  200  200  200    200
    /sessions/{session}/end/              302       404  200  404  404  404  404    404
    /models/                              302       200  200  200  200  200  200    200
    /models/unpriced/                     302       403  403  403  403  403  403    200
    /models/unpriced/{model}/price/       302       403  403  403  403  403  403    200
    /models/unpriced/{model}/free/        302       403  403  403  403  403  403    200
    /prices/                              302       200  200  200  200  200  200    200
    /prices/import/                       302       403  403  403  403  403  403    200
    /prices/models/{model}/               302       200  200  200  200  200  200    200
    /prices/models/{model}/override/      302       403  403  403  403  403  403    200
    /prices/proposals/{price_proposal}/   302       403  403  403  403  403  403    200
    /prices/repricings/                   302       403  403  403  403  403  403    200
    /prices/repricings/new/               302       403  403  403  403  403  403    200
    /prices/repricings/{repricing}/       302       403  403  403  403  403  403    200
    /prices/{price}/end/                  302       403  403  403  403  403  403    200
    /budgets/                             302       200  200  200  200  200  200    200
    /budgets/{budget}/                    302       404  200  200  200  200  200    200
    /budgets/{budget}/change/             302       404  403  200  200  200  403    200
    /budgets/{budget}/close/              302       404  403  200  200  200  403    200
    /budgets/{budget}/plan/               302       404  403  200  200  200  403    200
    /budgets/{budget}/plan/withdraw/      302       404  403  200  200  200  403    200
    /budgets/{budget}/rate/               302       404  403  200  200  200  403    200
    /budgets/{budget}/rules/              302       404  403  200  200  200  403    200
    /budgets/{budget}/top-up/             302       404  403  200  200  200  403    200
    /budgets/open/                        302       403  403  200  200  200  403    200
    /blocked/                             302       200  200  200  200  200  200    200
    /teams/                               302       200  200  200  200  200  200    200
    /teams/add/                           302       403  403  403  403  403  403    200
    /teams/departments/add/               302       403  403  403  403  403  403    200
    /teams/departments/{department}/rename/         302 403 403  403  403  403  403  200
    /teams/departments/{department}/archive/        302 403 403  403  403  403  403  200
    /teams/{team}/                        302       404  200  200  200  200  200    200
    /teams/{team}/rename/                 302       404  403  403  200  403  403    200
    /teams/{team}/archive/                302       404  403  403  200  403  403    200
    /teams/{team}/projects/add/           302       404  403  200  200  403  403    200
    /teams/{team}/members/add/            302       404  403  200  200  403  403    200
    /teams/{team}/members/{person}/end/   302       404  403  200  200  403  403    200
    /teams/{team}/move/                   302       404  403  403  403  403  403    200
    /projects/{project}/                  302       404  200  200  200  200  200    200
    /projects/{project}/move/             302       404  403  403  403  403  403    200
    /projects/{project}/rename/           302       404  403  403  200  403  403    200
    /projects/{project}/hand-over/        302       404  403  200  200  403  403    200
    /projects/{project}/archive/          302       404  403  403  200  403  403    200
    /reports/                             302       200  200  200  200  200  200    200
    /reports/focus/{month}/               302       403  403  403  403  200  200    200
    /reports/{team}/{month}/              302       404  404  200  200  200  200    200
    /reconciliation/                      302       403  403  403  403  200  200    200
    /reconciliation/periods/              302       403  403  403  403  200  200    200
    /reconciliation/periods/{month}/      302       403  403  403  403  200  200    200
    /reconciliation/periods/{month}/soft-close/     302 405 405  405  405  405  405  405
    /reconciliation/periods/{month}/close/          302 405 405  405  405  405  405  405
    /reconciliation/periods/{month}/reopen/         302 403 403  403  403  200  403  200
    /reconciliation/differences/{difference}/       302 403 403  403  403  200  200  200
    /reconciliation/differences/{difference}/resolve/ 302 405 405 405 405 405  405  405
    /reconciliation/differences/{difference}/assign/  302 405 405 405 405 405  405  405
    /reconciliation/{source}/{day}/       302       403  403  403  403  200  200    200
    /sources/                             302       403  403  403  403  200  200    200
    /sources/{source}/read/               302       405  405  405  405  405  405    405
    /providers/                           302       403  403  403  403  200  200    200
    /providers/add/                       302       403  403  403  403  403  403    200
    /providers/{account}/                 302       403  403  403  403  200  200    200
    /providers/{account}/credential/      302       403  403  403  403  403  403    200
    /providers/{account}/close/           302       403  403  403  403  403  403    200
    /providers/{account}/keys/add/        302       403  403  403  403  403  403    200
    /providers/{account}/keys/{upstream_key}/retire/ 302 403 403 403 403 403 403    200
    /invoices/                            302       403  403  403  403  200  200    200
    /invoices/upload/                     302       403  403  403  403  200  403    200
    /invoices/{invoice}/                  302       403  403  403  403  200  200    200
    /quarantine/                          302       403  403  403  403  200  200    200
    /quarantine/{row}/                    302       403  403  403  403  200  200    200
    /quarantine/{row}/assign/             302       403  403  403  403  403  403    200
    /quarantine/{row}/dismiss/            302       403  403  403  403  403  403    200
    /approvals/                           302       200  200  200  200  200  200    200
    /approvals/ask/                       302       200  200  200  200  200  200    200
    /approvals/budgets/{budget}/ask/                302 404 200  200  200  200  200  200
    /approvals/budgets/requests/{increase}/          302 404 200  200  200  200  200  200
    /approvals/budgets/requests/{increase}/amend/    302 404 200  403  403  403  403  403
    /approvals/budgets/requests/{increase}/comment/  302 404 200  200  200  200  200  200
    /approvals/budgets/requests/{increase}/decide/   302 404 302  302  302  302  302  302
    /approvals/budgets/requests/{increase}/withdraw/ 302 404 200  403  403  403  403  403
    /approvals/break-glass/               302       200  200  200  200  200  200    200
    /approvals/delegations/               302       200  200  200  200  200  200    200
    /approvals/delegations/{delegation}/end/        302 404 404  200  200  404  404  404
    /approvals/extend/{grant}/            302       404  200  404  404  404  404    404
    /approvals/offers/{offer}/            302       404  200  403  403  403  403    403
    /approvals/{request}/amend/           302       404  200  403  403  403  403    403
    /approvals/{request}/comment/         302       404  200  200  200  200  200    200
    /approvals/policies/                  302       200  200  200  200  200  200    200
    /approvals/policies/{policy}/edit/    302       403  403  403  403  403  403    200
    /approvals/policies/{policy}/retire/  302       403  403  403  403  403  403    200
    /approvals/together/                  302       200  200  200  200  200  200    200
    /approvals/policies/proposals/{proposal}/       302 403 403  403  403  403  403  200
    /approvals/review/                    302       200  200  200  200  200  200    200
    /approvals/review/{grant}/            302       405  405  405  405  405  405    405
    /approvals/{request}/                 302       404  200  200  200  200  200    200
    /approvals/{request}/decide/          302       404  302  302  302  302  302    302
    /approvals/{request}/withdraw/        302       404  200  403  403  403  403    403
    /keys/                                302       200  200  200  200  200  200    200
    /keys/new/                            302       200  200  200  200  200  200    200
    /secret-patterns.json                 200       200  200  200  200  200  200    200
    /keys/tokens/                         302       200  200  200  200  200  200    200
    /keys/tokens/services/                302       200  200  200  200  200  200    200
    /keys/tokens/services/{service}/hand-over/      302 404 200  404  404  404  403    200
    /keys/tokens/services/new/            302       403  403  403  403  403  403    200
    /keys/tokens/new/                     302       200  200  200  200  200  200    200
    /keys/tokens/{token}/reveal/          302       404  200  404  404  404  404    404
    /keys/tokens/{token}/revoke/          302       404  200  404  404  404  404    404
    /keys/{key}/                          302       404  200  200  200  200  200    200
    /keys/{key}/rename/                   302       404  200  200  200  403  403    200
    /keys/{key}/reveal/                   302       404  200  403  403  403  403    403
    /keys/{key}/revoke/                   302       404  200  200  200  403  403    200
    /keys/{live_key}/rotate/              302       404  200  200  200  403  403    200
    /keys/{live_key}/rotate/end/          302       404  200  200  200  403  403    200
    /keys/{live_key}/suspend/             302       404  200  200  200  403  403    200
    /keys/{suspended_key}/resume/         302       404  403  200  200  403  403    200
    /keys/{live_key}/plan/                302       404  403  200  200  403  403    200
    /keys/{live_key}/plan/{plan}/cancel/  302       404  403  200  200  403  403    200
    /keys/{live_key}/grants/{grant}/shrink/         302 404 200  200  200  403  403  200
    /keys/{live_key}/grants/{grant}/end/            302 404 200  200  200  403  403  200
"""
HEAD, *LINES = [line.split() for line in TABLE.strip().splitlines()]
ROLES = HEAD[1:]
CELLS = {page: dict(zip(ROLES, cells, strict=True)) for page, *cells in LINES}
# Not pages of people: programs call these, the sign-in package owns these, a server asks these of itself.
# They have their rows in tests/portal/test_matrix_programs.py and tests/api/test_matrix.py.
ELSEWHERE = ("/metrics", "/api/", "/gateway/", "/scim/", "/slack/", "/accounts/", "/healthz", "/readyz")
NAMES = {
    "approvals": "request",
    "audit": "event",
    "deliveries": "message",
    "budgets": "budget",
    "keys": "key",
    "models": "model",
    "people": "person",
    "quarantine": "row",
    "reconciliation": "difference",
    "projects": "project",
    "reports": "team",
    "teams": "team",
    "gateways": "gateway",
    "webhooks": "webhook",
    "providers": "account",
    "invoices": "invoice",
}

# What becomes of an empty form; one without a page of its own (302, 405) decides for itself.
FORMS = {"403": "not allowed", "404": "not there", "302": "decides itself", "405": "decides itself"}
# The lead and the director of another team: what they are there is nothing here.
ELSEWHERE_ROLES = ("eve", "olga")
QUERIES: Mapping[str, Callable[[World], str]] = {
    "/budgets/{budget}/plan/withdraw/": lambda world: "?" + urlencode({"valid_from": planned(world)}),
}

OF_APPROVALS = {
    "delegations": "delegation",
    "extend": "grant",
    "offers": "offer",
    "policies": "policy",
    "review": "grant",
}

OF_LIVE_KEYS = ("/rotate/", "/grants/", "/suspend/", "/plan/")
OF_PRICES = {"models": "model", "proposals": "price_proposal", "repricings": "repricing"}


def proposed_price(world: World) -> str:
    """Propose a price that a second person must approve."""
    dearer = Override(
        slot=Slot(unit=Unit.INPUT, context="standard", tier_start=0), usd_per_unit=Decimal("0.001"),
        source=PriceSource.CONTRACT, valid_from=None, valid_until=None,
    )  # fmt: skip
    return override_price(
        actor=world.cast.ann, model=world.cast.large, override=dearer, reason="A contract."
    ).public_id


def repriced(world: World) -> str:
    """Write down a repricing that waits."""
    now = clock.now()
    made = Repricing.objects.create(
        model=world.cast.large, starts_at=now - timedelta(days=1), ends_at=now, reason="A wrong list.",
        calls=1, old_usd=2, new_usd=1, proposed_by=world.cast.ann, reached_at=now,
        teams=[{"team": "Search", "calls": 1, "old_usd": "2", "new_usd": "1"}],
    )  # fmt: skip
    return made.public_id


IDS: Mapping[str, Callable[[World], str]] = {
    "price": lambda _: PriceFactory.create(model=LlmModelFactory.create()).public_id,
    "price_proposal": proposed_price,
    "repricing": repriced,
    "model": lambda _: LlmModelFactory.create().public_id,
    "budget": lambda world: world.budget.public_id,
    "request": lambda world: world.request.public_id,
    "increase": lambda world: (
        ask_increase(
            actor=world.cast.ada, budget=world.budget, limit_usd=Decimal(600), reason="A launch in December."
        ).public_id
    ),
    "delegation": lambda world: (
        DelegationFactory.create(
            giver=world.cast.ben, taker=world.cast.cleo, team=world.cast.search
        ).public_id
    ),
    "policy": lambda world: policy_of(world.cast.tier2).public_id,
    "proposal": lambda world: (
        propose_policy(
            actor=world.cast.ann, base=policy_of(world.cast.tier2), rules=None, reason="No more."
        ).public_id
    ),
    "grant": lambda world: world.grant.public_id,
    "offer": lambda world: (
        comment(
            actor=world.cast.ben, request=world.request, text="Try this.", offered_tier=world.cast.tier1
        ).public_id
    ),
    "key": lambda world: world.fresh_key.public_id,
    "message": lambda world: put_message(world.cast.ada).public_id,
    "webhook": lambda _: WebhookFactory.create().public_id,
    "gateway": lambda world: world.gateway.public_id,
    "event": lambda world: (
        audit.record(
            actor=world.cast.ada,
            action="request.submitted",
            subject=world.request,
            team_id=world.cast.search.pk,
            department_id=world.cast.product.pk,
        ).public_id
    ),
    "live_key": lambda world: world.key.public_id,
    "suspended_key": lambda world: suspended(world).key.public_id,
    "plan": lambda world: planned_activity(world).public_id,
    "service": lambda world: (
        open_service_account(
            actor=world.cast.ann, name="Nightly report", responsible=world.cast.ada
        ).user.public_id
    ),
    "token": lambda world: ApiTokenFactory.create(owner=world.cast.ada).public_id,
    "source": lambda world: world.run.source,
    "account": lambda world: world.upstream_key.account.public_id,
    "upstream_key": lambda world: world.upstream_key.public_id,
    "invoice": lambda world: world.invoice.public_id,
    "person": lambda world: world.cast.ada.public_id,
    "row": lambda world: world.quarantined.public_id,
    "role": lambda world: world.cast.ben.role_assignments.get().public_id,
    "session": lambda world: str(
        UserSession.objects.create(
            user=world.cast.ada, ip="192.0.2.9", session_key="of-the-matrix", user_agent="Firefox"
        ).pk
    ),
    "day": lambda world: world.run.day.isoformat(),
    "difference": lambda world: world.discrepancy.public_id,
    "team": lambda world: world.cast.search.public_id,
    "department": lambda world: world.cast.product.public_id,
    "project": lambda world: world.cast.ranking.public_id,
    "month": lambda world: f"{world.run.day:%Y-%m}",
}


def pages() -> list[str]:
    """Return the address of every page, from the URL configuration."""
    return [page for page in _walk(urlpatterns, "/") if not page.startswith(ELSEWHERE)]


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for entry in patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _walk(entry.url_patterns, path)
        else:
            yield _plain(path)


def _plain(path: str) -> str:
    """Write `/budgets/<str:public_id>/` as `/budgets/{budget}/`."""
    noun = NAMES.get(path.split("/")[1], "")
    if path.startswith("/approvals/budgets/"):
        noun = "increase" if "/requests/" in path else "budget"
    if path.startswith("/keys/") and any(act in path for act in OF_LIVE_KEYS):
        noun = "live_key"
    if path.startswith("/keys/") and path.endswith("/resume/"):
        noun = "suspended_key"
    if path.startswith("/keys/tokens/services/"):
        noun = "service"
    path = path.replace("<slug:grant_id>", "{grant}").replace("<slug:token_id>", "{token}")
    path = path.replace("<slug:plan_id>", "{plan}")
    path = path.replace("<slug:key_id>", "{upstream_key}")
    if path.startswith("/prices/"):
        noun = OF_PRICES.get(path.split("/")[2], "price")
    if path.startswith("/people/roles/"):
        noun = "role"
    if path.startswith("/approvals/") and not path.startswith("/approvals/budgets/"):
        noun = "proposal" if "/proposals/" in path else OF_APPROVALS.get(path.split("/")[2], noun)
    if path.startswith("/teams/departments/"):
        noun = "department"
    path = path.replace("<str:public_id>", f"{{{noun}}}").replace("<slug:public_id>", f"{{{noun}}}")
    path = path.replace("<str:person_id>", "{person}").replace("<int:pk>", "{session}")
    for name in ("source", "day", "month"):
        path = path.replace(f"<str:{name}>", f"{{{name}}}")
    return path


@pytest.fixture(scope="module")
def one_world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """Make one of everything that pages show, once."""
    with sharing.for_all_tests(lambda: make_world(make_cast()), django_db_blocker) as made:
        yield made


@pytest.fixture
def world(db: None, one_world: World) -> World:
    """Return one of everything that pages show, as it was made."""
    return deepcopy(one_world)


@pytest.fixture
def cast(world: World) -> Cast:
    """Return the people of the world."""
    return world.cast


def test_every_page_has_a_row() -> None:
    matrix.check_declared("pages", pages(), list(CELLS))


@pytest.mark.parametrize("page", CELLS)
def test_every_refusal_has_a_positive_control(page: str) -> None:
    cells = set(CELLS[page].values())
    assert cells - {"403", "404"} - ({"302"} if cells & {"200"} else set()), "nobody may"


@pytest.mark.parametrize("page", CELLS)
def test_page_answers_each_role_as_declared(page: str, world: World) -> None:
    path = address(page, world)

    answered = {role: str(visitor(role, world).get(path).status) for role in ROLES}

    matrix.check("pages", page, CELLS[page], answered)


@pytest.mark.parametrize("page", CELLS)
def test_form_is_refused_to_whom_its_page_is_refused(page: str, world: World) -> None:
    path = address(page, world)
    answered = {}
    for role in ROLES:
        with undone():
            answered[role] = visitor(role, world).post(path).status
    if {answered[role] for role in ROLES[1:]} == {405}:
        declared = dict.fromkeys(ROLES, "takes no form")
        matrix.check("forms", page, declared, dict.fromkeys(answered, "takes no form"))
        return
    declared = {role: FORMS.get(cell, "let in") for role, cell in CELLS[page].items()}
    declared["anonymous"] = "sent to the sign-in"
    matrix.check("forms", page, declared, {role: _form(role, page, answered[role]) for role in ROLES})


@pytest.mark.parametrize("page", [page for page in CELLS if "{" in page])
def test_a_role_elsewhere_opens_nothing_here(page: str, world: World) -> None:
    path = address(page, world)
    declared = dict.fromkeys(ELSEWHERE_ROLES, CELLS[page]["dan"])
    answered = {role: str(visitor(role, world).get(path).status) for role in ELSEWHERE_ROLES}
    matrix.check("pages, other team", page, declared, answered)


def address(page: str, world: World) -> str:
    path = page.format(**{name: made(world) for name, made in IDS.items() if f"{{{name}}}" in page})
    query = QUERIES.get(page)
    return f"{path}{query(world) if query else ''}"


def visitor(role: str, world: World) -> Visitor:
    return Visitor(None if role == "anonymous" else getattr(world.cast, role))


def _form(role: str, page: str, status: int) -> str:
    if role == "anonymous":
        return "sent to the sign-in" if status == 302 else str(status)
    if FORMS.get(CELLS[page][role]) == "decides itself":
        return "decides itself"
    return FORMS.get(str(status), "let in") if status in {403, 404} else "let in"
