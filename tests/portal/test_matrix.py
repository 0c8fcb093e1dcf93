"""Every page x every role, for objects of Ada's, against a declared table; what nobody lists here fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

import pytest
from django.urls import URLPattern, URLResolver

from approvals.services import ask_increase, comment, propose_policy
from portal.urls import urlpatterns
from tests.api.world import World, make_world
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import DelegationFactory, LlmModelFactory, policy_of

# 302 is the way to the sign-in, or from a form that was sent back to its page; 404 is "not there, or not
# yours", 405 a page that only takes a form.
TABLE = """
    page                                  anonymous dan  ada  ben  cleo fay  audrey ann
    /                                     302       200  200  200  200  200  200    200
    /search/                              302       200  200  200  200  200  200    200
    /status/                              302       200  200  200  200  200  200    200
    /theme/                               405       405  405  405  405  405  405    405
    /models/                              302       200  200  200  200  200  200    200
    /models/unpriced/                     302       403  403  403  403  403  403    200
    /models/unpriced/{model}/price/       302       403  403  403  403  403  403    200
    /models/unpriced/{model}/free/        302       403  403  403  403  403  403    200
    /budgets/                             302       200  200  200  200  200  200    200
    /budgets/{budget}/                    302       404  200  200  200  200  200    200
    /budgets/{budget}/change/             302       404  403  200  200  200  403    200
    /budgets/{budget}/close/              302       404  403  200  200  200  403    200
    /budgets/{budget}/plan/               302       404  403  200  200  200  403    200
    /budgets/{budget}/plan/withdraw/      302       404  403  404  404  404  403    404
    /budgets/{budget}/rate/               302       404  403  200  200  200  403    200
    /budgets/{budget}/rules/              302       404  403  200  200  200  403    200
    /budgets/{budget}/top-up/             302       404  403  200  200  200  403    200
    /budgets/open/                        302       403  403  200  200  200  403    200
    /blocked/                             302       200  200  200  200  200  200    200
    /reconciliation/                      302       404  404  404  404  200  200    200
    /reconciliation/{source}/{day}/       302       404  404  404  404  200  200    200
    /approvals/                           302       200  200  200  200  200  200    200
    /approvals/ask/                       302       200  200  200  200  200  200    200
    /approvals/budgets/{budget}/ask/                302 404 200  200  200  200  200  200
    /approvals/budgets/requests/{increase}/          302 404 200  200  200  200  200  200
    /approvals/budgets/requests/{increase}/amend/    302 404 200  403  403  403  403  403
    /approvals/budgets/requests/{increase}/decide/   302 404 302  302  302  302  302  302
    /approvals/budgets/requests/{increase}/withdraw/ 302 405 405  405  405  405  405  405
    /approvals/break-glass/               302       200  200  200  200  200  200    200
    /approvals/delegations/               302       200  200  200  200  200  200    200
    /approvals/delegations/{delegation}/end/        302 404 404  200  200  404  404  404
    /approvals/extend/{grant}/            302       404  200  404  404  404  404    404
    /approvals/offers/{offer}/            302       404  200  403  403  403  403    403
    /approvals/{request}/amend/           302       404  200  403  403  403  403    403
    /approvals/{request}/comment/         302       404  200  200  200  200  200    200
    /approvals/policies/                  302       200  200  200  200  200  200    200
    /approvals/policies/{policy}/edit/    302       403  403  403  403  403  403    200
    /approvals/policies/proposals/{proposal}/       302 403 403  403  403  403  403  200
    /approvals/review/                    302       200  200  200  200  200  200    200
    /approvals/review/{grant}/            302       405  405  405  405  405  405    405
    /approvals/{request}/                 302       404  200  200  200  200  200    200
    /approvals/{request}/decide/          302       404  302  302  302  302  302    302
    /approvals/{request}/withdraw/        302       404  200  403  403  403  403    403
    /keys/                                302       200  200  200  200  200  200    200
    /keys/new/                            302       200  200  200  200  200  200    200
    /keys/{key}/reveal/                   302       404  200  403  403  403  403    403
    /keys/{key}/revoke/                   302       404  200  200  200  403  403    200
"""
HEAD, *LINES = [line.split() for line in TABLE.strip().splitlines()]
ROLES = HEAD[1:]
CELLS = {page: dict(zip(ROLES, cells, strict=True)) for page, *cells in LINES}
# Not pages of people: programs call these, the sign-in package owns these, a server asks these of itself.
ELSEWHERE = ("/api/", "/gateway/", "/accounts/", "/healthz", "/readyz")
NAMES = {"approvals": "request", "budgets": "budget", "keys": "key", "models": "model"}

OF_APPROVALS = {
    "delegations": "delegation",
    "extend": "grant",
    "offers": "offer",
    "policies": "policy",
    "review": "grant",
}

IDS: Mapping[str, Callable[[World], str]] = {
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
    "source": lambda world: world.run.source,
    "day": lambda world: world.run.day.isoformat(),
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
    elif path.startswith("/approvals/"):
        noun = "proposal" if "/proposals/" in path else OF_APPROVALS.get(path.split("/")[2], noun)
    for converter in ("str", "slug"):
        path = path.replace(f"<{converter}:public_id>", f"{{{noun}}}")
    return path.replace("<str:source>", "{source}").replace("<str:day>", "{day}")


@pytest.fixture
def world(cast: Cast) -> World:
    """Make one of everything that pages show."""
    return make_world(cast)


def test_every_page_has_a_row() -> None:
    assert sorted(pages()) == sorted(CELLS)


@pytest.mark.parametrize("page", CELLS)
def test_page_answers_each_role_as_declared(page: str, world: World) -> None:
    path = page.format(**{name: made(world) for name, made in IDS.items() if f"{{{name}}}" in page})

    answered = {
        role: str(Visitor(None if role == "anonymous" else getattr(world.cast, role)).get(path).status)
        for role in ROLES
    }

    assert answered == CELLS[page]
