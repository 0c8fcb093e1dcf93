"""A call through a real LiteLLM is priced in the service class that its provider says it served."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from catalog.models import Context
from tests.gateways.litellm.conftest import PRICES, Story, user
from usage.models import UsageEvent

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
]
DEARER = 10


@pytest.fixture
def classes(story: Story) -> Story:
    """Price every kind of token in the priority class at ten times the standard."""
    for model in (story.world.small, story.world.small.__class__.objects.get(name="claude")):
        for unit, usd in PRICES[model.name].items():
            dear = str(usd * DEARER / 1_000_000)
            story.world.price(model, unit, dear, context=Context.PRIORITY)
    return story


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [user("TIER{} one two")]}),
        ("/v1/chat/completions", {"messages": [user("TIER{} one two")], "stream": True}),
        ("/v1/responses", {"input": "TIER{} one two three"}),
        ("/v1/responses", {"input": "TIER{} one two three", "stream": True}),
        ("/v1/messages", {"messages": [user("TIER{} one two")], "max_tokens": 20}),
    ],
)
@pytest.mark.parametrize(
    ("asked", "told", "times"),
    [("priority", "default", 1), ("auto", "priority", DEARER), ("priority", "none", DEARER)],
)
def test_the_class_that_was_served_is_charged(
    classes: Story, *, path: str, body: dict[str, Any], asked: str, told: str, times: int
) -> None:
    model = "claude" if path.endswith("messages") else "small"
    said = _saying(body, told) | {"model": model, "service_tier": asked}
    answer = classes.post(path, said)
    assert answer.status_code == 200, answer.text
    assert classes.charged() == classes.expected() * times > 0


def test_a_client_that_hangs_up_is_charged_in_the_class_that_answered(classes: Story) -> None:
    body = {"model": "small", "stream": True, "messages": [user("SLOW TIERpriority and long")]}
    headers = {"Authorization": f"Bearer {classes.world.token}"}
    with classes.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        assert any("w1" in line for line in answer.iter_lines())
    classes.all_resolved()
    event = UsageEvent.objects.get()
    assert (event.finish, event.context) == ("cancelled", "priority")
    tokens = event.input_tokens - event.cached_tokens
    assert event.cost_usd >= Decimal(tokens * DEARER) / 1_000_000


def _saying(body: dict[str, Any], told: str) -> dict[str, Any]:
    if "input" in body:
        return body | {"input": body["input"].format(told)}
    return body | {"messages": [user(body["messages"][0]["content"].format(told))]}
