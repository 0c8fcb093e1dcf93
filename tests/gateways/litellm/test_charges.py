"""Whatever way a call takes through a real LiteLLM, what is booked is what the provider billed."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from budgets.models import Mode, Reservation, ReservationState, ScopeKind
from tests.gateways.litellm.conftest import Story, user
from usage.models import UsageEvent

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
]


def test_every_route_is_charged_what_the_provider_billed(story: Story) -> None:
    with story.openai() as client, story.anthropic() as claude:
        client.chat.completions.create(
            model="small", messages=[user("one two three four five")], max_tokens=9
        )
        for stream in (
            client.chat.completions.create(model="small", messages=[user("a stream")], stream=True),
            client.responses.create(model="small", input="a streamed response", stream=True),
            claude.messages.create(
                model="claude",
                messages=[user("eight words make one token written to cache")],
                max_tokens=50,
                stream=True,
            ),
        ):
            assert len(list(stream)) > 3
        client.responses.create(model="small", input="one two three four", max_output_tokens=7)
        client.completions.create(model="small", prompt="complete this", max_tokens=5)
        client.embeddings.create(model="embed", input=["one two", "three"])
        claude.messages.create(
            model="claude", messages=[user("hello claude, how are you today, friend?")], max_tokens=50
        )
        client.chat.completions.create(model="claude", messages=[user("through the other dialect")])
        client.chat.completions.create(model="tiny", messages=[user("by an alias")])
    assert story.charged() == story.expected() > 0
    assert len(story.asked()) == UsageEvent.objects.count() == 10
    assert not UsageEvent.objects.filter(estimated=True).exists()


def test_cached_written_and_reasoning_tokens_reach_the_books(story: Story) -> None:
    text = " ".join(f"word{number}" for number in range(40))
    story.post("/v1/messages", {"model": "claude", "max_tokens": 30, "messages": [user(text)]})
    story.chat(text)
    story.all_resolved()
    claude, small = UsageEvent.objects.order_by("-cache_write_tokens")
    assert (claude.input_tokens, claude.cached_tokens, claude.cache_write_tokens) == (40, 10, 5)
    assert (small.input_tokens, small.cached_tokens, small.output_tokens, small.reasoning_tokens) == (
        40,
        10,
        12,
        3,
    )


def test_a_missing_limit_is_set_and_a_high_one_is_lowered(story: Story) -> None:
    story.chat("WANT99999 as much as you like")
    story.chat("WANT99999 far too much", max_tokens=90_000)
    story.chat("WANT99999 little", max_completion_tokens=11)
    story.all_resolved()
    decided = list(Reservation.objects.order_by("authorized_at").values_list("max_output_tokens", flat=True))
    assert [entry["limit"] for entry in story.served()] == decided
    assert None not in decided
    assert decided[1:] == [8_000, 11]
    assert story.charged() == story.expected()


def test_a_client_is_told_of_a_soft_budget_that_is_exceeded(story: Story) -> None:
    budget = story.world.budget("soft", kind=ScopeKind.PROJECT, limit="0", mode=Mode.SOFT)
    story.world.budget("notify", kind=ScopeKind.TEAM, limit="0", mode=Mode.NOTIFY)
    whole, stream = story.chat("one two three"), story.chat("one two three", stream=True)
    for answer in (whole, stream):
        assert answer.status_code == 200
        assert answer.headers["x-purser-warnings"] == f"soft_exceeded {budget.public_id}"
    story.all_resolved()


def test_a_retried_call_is_charged_once(story: Story) -> None:
    assert story.chat("FLAKYonce please").status_code == 200
    assert [entry["status"] for entry in story.asked()] == [500, 200]
    assert story.charged() == story.expected() > 0


def test_a_fallback_is_charged_at_the_price_of_what_served(story: Story) -> None:
    assert story.chat("serve me anyway", model="unlucky").status_code == 200
    assert story.charged() == story.expected()
    assert UsageEvent.objects.get().model.name == "claude"


def test_an_answer_from_the_cache_costs_nothing(story: Story) -> None:
    first, second = story.chat("the very same words"), story.chat("the very same words")
    assert first.json()["id"] == second.json()["id"]
    assert len(story.served()) == 1
    assert story.charged() == story.expected()
    assert UsageEvent.objects.get(cache_hit=True).cost_usd == 0


@pytest.mark.parametrize(("path", "model"), [("/v1/chat/completions", "large"), ("/v1/messages", "claude")])
def test_a_call_that_the_provider_refused_costs_nothing(story: Story, path: str, model: str) -> None:
    story.world.grant(tier=2)
    answer = story.post(path, {"model": model, "max_tokens": 20, "messages": [user("ERR400 no")]})
    assert answer.status_code == 400
    assert story.charged() == 0
    assert Reservation.objects.get().state == ReservationState.RELEASED


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_client_that_hangs_up_pays_for_its_input_and_what_it_got(story: Story, path: str) -> None:
    body = {"model": "claude", "stream": True, "max_tokens": 50, "messages": [user("SLOW and long")]}
    headers = {"Authorization": f"Bearer {story.world.token}"}
    with story.http.stream("POST", path, json=body, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert any("w1" in line for line in answer.iter_lines())
    story.all_resolved()
    event = UsageEvent.objects.get()
    assert (event.finish, event.estimated) == ("cancelled", True)
    assert event.input_tokens > 0
    assert 0 < event.output_tokens < 12
    assert event.cost_usd > 0


def test_a_client_that_leaves_before_the_first_piece_pays_for_its_input(story: Story) -> None:
    body = {"model": "claude", "stream": True, "max_tokens": 50, "messages": [user("SLOW to begin")]}
    headers = {"Authorization": f"Bearer {story.world.token}"}
    with pytest.raises(httpx.ReadTimeout):
        story.http.post("/v1/chat/completions", json=body, headers=headers, timeout=0.3)
    story.all_resolved()
    event = UsageEvent.objects.get()
    assert (event.finish, event.estimated) == ("cancelled", True)
    assert event.cost_usd > 0


def test_a_stream_that_breaks_is_charged_by_estimate(story: Story) -> None:
    body = {"model": "claude", "stream": True, "max_tokens": 50, "messages": [user("MIDERR now")]}
    with contextlib.suppress(httpx.HTTPError):
        story.post("/v1/messages", body)
    story.all_resolved()
    event = UsageEvent.objects.get()
    assert (event.finish, event.estimated) == ("error", True)
    assert event.cost_usd > 0


def test_a_call_whose_client_left_runs_to_its_end_and_is_charged(story: Story) -> None:
    with pytest.raises(httpx.ReadTimeout):
        story.http.post(
            "/v1/chat/completions",
            json={"model": "small", "messages": [user("SLOW answer")]},
            headers={"Authorization": f"Bearer {story.world.token}"},
            timeout=1,
        )
    assert story.charged() == story.expected() > 0
    assert UsageEvent.objects.get().finish == "stop"


def test_what_clients_say_about_cost_routing_and_identity_is_ignored(story: Story) -> None:
    spoofed = {
        "mock_response": "free of charge",
        "litellm_call_id": "always-the-same",
        "api_base": "http://127.0.0.1:9/v1",
        "api_key": "sk-somebody-elses",
        "input_cost_per_token": 0,
        "output_cost_per_token": 0,
        "no-log": True,
        "fallbacks": ["large"],
        "extra_body": {"max_tokens": 99_999},
        "metadata": {"model_group": "embed", "purser_reservation": "rsv_made_up"},
        "litellm_metadata": {"purser_reservation": "rsv_made_up"},
    }
    headers = {
        "x-litellm-call-id": "always-the-same",
        "x-litellm-tags": "project:stolen",
        "x-litellm-model": "large",
    }
    for number in range(3):
        answer = story.post(
            "/v1/chat/completions",
            {"model": "small", "messages": [user(f"call {number}")], **spoofed},
            **headers,
        )
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"].startswith("w0")
    assert story.charged() == story.expected()
    assert len(story.served()) == UsageEvent.objects.count() == 3
