"""The page for developers: what to paste for each gateway, and refusals as they really come."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from budgets.models import ScopeKind
from portal.places import examples
from tests import factories
from tests.browsing import Visitor, own_queries
from tests.cast import Cast
from tests.gateway.conftest import World, build_world

PATH = "/developers/"


@pytest.fixture
def world(db: None) -> World:
    return build_world()


def example(code: str) -> Any:
    """Return the example of a refusal: its answer, with the body read."""
    answers = [each.answer for each in examples.refusals()]
    return next(each for each in answers if json.loads(each.encode())["code"] == code)


def test_page_has_what_to_paste_for_the_cheapest_model(cast: Cast, settings: Any) -> None:
    settings.GATEWAY_PUBLIC_URL = "https://llm.example.com"

    page = Visitor(cast.ada).get(PATH)

    assert "curl https://llm.example.com/v1/chat/completions" in page.words
    assert '"model": "small"' in page.words
    assert 'base_url="https://llm.example.com/v1"' in page.words
    assert "from anthropic import Anthropic" in page.words
    assert "psr_live_" not in page.words


def test_each_of_several_gateways_has_its_own_address(cast: Cast) -> None:
    factories.GatewayFactory.create(name="edge", base_url="https://edge.example.com/")
    factories.GatewayFactory.create(name="inner", base_url="https://inner.example.com")

    page = Visitor(cast.ada).get(PATH)

    for name, address in (("edge", "https://edge.example.com"), ("inner", "https://inner.example.com")):
        assert f"Call a model through {name}" in page.words
        assert f"curl {address}/v1/chat/completions" in page.words


def test_page_says_what_every_refusal_means(cast: Cast) -> None:
    page = Visitor(cast.ada).get(PATH)
    for each in examples.refusals():
        assert each.meaning in page.words
    assert "Retry-After" in page.words


def test_page_costs_the_same_with_many_gateways(cast: Cast) -> None:
    ada, queries = Visitor(cast.ada), set()
    for _ in range(2):
        factories.GatewayFactory.create_batch(5)
        with CaptureQueriesContext(connection) as captured:
            assert ada.get(PATH).status == 200
        queries.add(len(own_queries(captured)))
    assert len(queries) == 1
    assert max(queries) <= 8


def shape(body: Any) -> Any:
    """Return a body with its values taken out."""
    return {name: shape(value) for name, value in body.items()} if isinstance(body, dict) else type(body)


def test_examples_are_what_the_decision_api_answers(world: World) -> None:
    """Hold each example against a real refusal: status, headers and members."""
    world.budget("key", kind=ScopeKind.KEY, limit="0.0015")
    answered = {
        "invalid_api_key": world.gus.authorize("psr_live_typo"),
        "tier_not_granted": world.gus.authorize(world.token, model="large"),
    }
    assert world.gus.authorize(world.token).status_code == 200
    answered["budget_held"] = world.gus.authorize(world.token)
    world.budget("project", kind=ScopeKind.PROJECT, limit="0.0000001")
    answered["budget_exhausted"] = world.gus.authorize(world.token)

    for code, real in answered.items():
        assert real.json()["code"] == code
        told = example(code)
        assert real.status_code == told.status
        assert {name for name, _ in told.headers} <= set(real.headers)
        assert shape(real.json()) == shape(json.loads(told.encode())), code
