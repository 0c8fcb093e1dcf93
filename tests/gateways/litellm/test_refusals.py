"""What a client is told when its call is not made: the portal's own document, on every route, to both
official SDKs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest

from budgets.models import Reservation, ScopeKind
from core import clock
from keys import secrets
from keys.models import ApiKey
from tests.gateways.litellm.conftest import Story, user

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
]
BODIES = {
    "/v1/chat/completions": {"messages": [user("hello")], "max_tokens": 20},
    "/v1/completions": {"prompt": "hello", "max_tokens": 20},
    "/v1/responses": {"input": "hello", "max_output_tokens": 20},
    "/v1/messages": {"messages": [user("hello")], "max_tokens": 20},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_an_exhausted_budget_is_a_429_that_names_it_on_every_route(
    story: Story, path: str, stream: bool
) -> None:
    story.world.budget("team", kind=ScopeKind.TEAM, limit="0")
    answer = story.post(path, {"model": "small", "stream": stream, **BODIES[path]})
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-should-retry"] == "false"
    document = answer.json()
    assert document["code"] == document["error"]["code"] == "budget_exhausted"
    assert document["budget"]["scope"] == "team"
    assert document["budget"]["id"] == story.world.budgets["team"].public_id
    assert story.asked() == []


def test_the_openai_client_raises_rate_limit_error_and_does_not_try_again(story: Story) -> None:
    story.world.budget("key", kind=ScopeKind.KEY, limit="0")
    with story.openai() as client, counted(story) as sent, pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="small", messages=[user("hello")])
    assert sent() == 1
    assert int(refused.value.response.headers["retry-after"]) > 0
    assert refused.value.code == "budget_exhausted"
    assert "budget" in str(refused.value)


def test_the_anthropic_client_raises_rate_limit_error_and_does_not_try_again(story: Story) -> None:
    story.world.budget("key", kind=ScopeKind.KEY, limit="0")
    with (
        story.anthropic() as client,
        counted(story) as sent,
        pytest.raises(anthropic.RateLimitError) as refused,
    ):
        client.messages.create(model="claude", max_tokens=20, messages=[user("hello")])
    assert sent() == 1
    assert int(refused.value.response.headers["retry-after"]) > 0


@contextmanager
def counted(story: Story) -> Iterator[Callable[[], int]]:
    """Count the calls that LiteLLM's access log has seen meanwhile."""
    before = story.proxy.output().count('"POST /v1/')
    yield lambda: story.proxy.output().count('"POST /v1/') - before


def test_the_last_call_that_fits_passes_and_the_next_is_refused(story: Story) -> None:
    budget = story.world.budget("key", kind=ScopeKind.KEY, limit="0.0015")
    answers = []
    for number in range(12):
        answers.append(story.chat(f"WANT300 number {number}", max_tokens=300))
        story.all_resolved()
    assert [answer.status_code for answer in answers] == sorted(answer.status_code for answer in answers)
    assert {answer.status_code for answer in answers} == {200, 429}
    assert story.charged() == story.expected() <= Decimal("0.0015")
    story.world.limit(budget, "1")
    assert story.chat("again, please", max_tokens=300).status_code == 200


def test_garbage_unknown_and_revoked_keys_are_answered_alike(story: Story) -> None:
    revoked = story.world.token
    answers = [story.chat("hello", max_tokens=5, model="small").status_code]
    ApiKey.objects.update(revoked_at=clock.now(), revoked_by=story.world.ada, revoked_reason="left")
    unknown = secrets.new_token()
    typo = unknown[:-1] + ("a" if unknown[-1] != "a" else "b")
    bodies = []
    for key in (revoked, unknown, typo, "sk-of-another-company", "psr_live_short"):
        answer = story.post("/v1/chat/completions", {"model": "small", "messages": [user("hello")]}, key=key)
        answers.append(answer.status_code)
        bodies.append(answer.json())
    assert answers == [200, 401, 401, 401, 401, 401]
    assert all(body == bodies[0] for body in bodies)


def test_a_key_may_come_in_any_header_that_clients_use(story: Story) -> None:
    body = {"model": "small", "messages": [user("hello")], "max_tokens": 5}
    for header in ("x-api-key", "api-key", "x-litellm-api-key", "x-goog-api-key"):
        assert (
            story.http.post(
                "/v1/chat/completions", json=body, headers={header: story.world.token}
            ).status_code
            == 200
        )
    assert story.http.post("/v1/chat/completions", json=body).status_code == 401


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"model": "no-such-model"}, 404, "model_unknown"),
        ({"model": "large"}, 403, "tier_not_granted"),
        ({"model": ["small"]}, 400, "invalid_request"),
        ({"n": 0}, 400, "invalid_request"),
        ({"max_tokens": -5}, 400, "invalid_request"),
        ({"max_tokens": "many"}, 400, "invalid_request"),
    ],
)
def test_a_call_that_may_not_be_made_is_refused_with_its_reason(
    story: Story, changes: dict[str, Any], status: int, code: str
) -> None:
    answer = story.post("/v1/chat/completions", {"model": "small", "messages": [user("hello")], **changes})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert story.asked() == []
    assert not Reservation.objects.exists()


def test_another_projects_id_is_refused_and_its_own_is_accepted(story: Story) -> None:
    body = {"model": "small", "messages": [user("hello")]}
    refused = story.post("/v1/chat/completions", body, **{"x-project-id": "somebody-elses"})
    assert (refused.status_code, refused.json()["code"]) == (403, "project_mismatch")
    assert story.post("/v1/chat/completions", body, **{"x-project-id": "search-rank"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/moderations"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/engines/small/chat/completions"),
        ("POST", "/openai/deployments/small/chat/completions"),
        ("GET", "/key/info"),
    ],
)
def test_a_route_that_is_not_metered_is_closed_to_keys(story: Story, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {story.world.token}"}
    answer = story.http.request(
        method, path, json=None if method == "GET" else BODIES["/v1/messages"], headers=headers
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "route_not_allowed")
    assert story.asked() == []


def test_the_master_key_administers_but_calls_no_model(story: Story) -> None:
    master = story.proxy.environment["LITELLM_MASTER_KEY"]
    names = story.http.get("/v1/models", headers={"Authorization": f"Bearer {master}"}).json()["data"]
    assert "small" in {model["id"] for model in names}
    answer = story.post("/v1/chat/completions", {"model": "small", "messages": [user("hello")]}, key=master)
    assert (answer.status_code, answer.json()["code"]) == (403, "route_not_allowed")
    assert story.asked() == []


@pytest.mark.parametrize(
    "body", [b"[1, 2]", b"not json", b"", b'{"model": "small", "messages": [' + b"[" * 100_000]
)
def test_a_body_that_is_no_json_object_is_refused(story: Story, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {story.world.token}", "Content-Type": "application/json"}
    answer = story.http.post("/v1/chat/completions", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_a_background_response_would_escape_metering_and_is_refused(story: Story) -> None:
    answer = story.post("/v1/responses", {"model": "small", "input": "later", "background": True})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert story.asked() == []
