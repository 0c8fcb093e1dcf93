"""LiteLLM's usage, as it reports it for each provider and route, becomes the five counts of a settlement."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.adapters.parts import context_of
from gateway.plugins.litellm.purser_plugin.failures import nothing_was_done
from gateway.plugins.litellm.purser_plugin.usage import finish_of, normalised, served_context
from usage.contexts import checked_served_context
from usage.tokens import checked_tokens

COUNTS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
# As LiteLLM 1.106.2 handed them to its callbacks.
OPENAI_CHAT = {
    "completion_tokens": 12, "prompt_tokens": 8, "total_tokens": 20,
    "completion_tokens_details": {"audio_tokens": 0, "reasoning_tokens": 3},
    "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 2},
}  # fmt: skip
ANTHROPIC_MESSAGES = {
    "completion_tokens": 12, "prompt_tokens": 10, "total_tokens": 22,
    "completion_tokens_details": {"reasoning_tokens": 0, "text_tokens": 12},
    "prompt_tokens_details": {"cache_write_tokens": 1, "cached_tokens": 2, "cache_creation_tokens": 1},
    "cache_creation_input_tokens": 1, "cache_read_input_tokens": 2,
}  # fmt: skip
EMBEDDINGS = {
    "completion_tokens": 0,
    "prompt_tokens": 5,
    "completion_tokens_details": None,
    "prompt_tokens_details": None,
}
RESPONSES = {
    "input_tokens": 6, "output_tokens": 12,
    "input_tokens_details": {"cached_tokens": 1}, "output_tokens_details": {"reasoning_tokens": 3},
}  # fmt: skip


ANTHROPIC_ITSELF = {
    "input_tokens": 7,
    "cache_read_input_tokens": 2,
    "cache_creation_input_tokens": 1,
    "output_tokens": 12,
}


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (OPENAI_CHAT, (8, 2, 0, 12, 3)),
        (ANTHROPIC_MESSAGES, (10, 2, 1, 12, 0)),
        (EMBEDDINGS, (5, 0, 0, 0, 0)),
        (RESPONSES, (6, 1, 0, 12, 3)),
        (ANTHROPIC_ITSELF, (10, 2, 1, 12, 0)),
        ({"prompt_tokens": 4, "prompt_tokens_details": {"cached_tokens": 9}}, (4, 4, 0, 0, 0)),
        (
            {"prompt_tokens": 4, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 3},
            (4, 3, 1, 0, 0),
        ),
        ({"completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 5}}, (0, 0, 0, 2, 2)),
        ({"prompt_tokens": -3, "completion_tokens": 2}, (0, 0, 0, 2, 0)),
    ],
)
def test_usage_becomes_inclusive_totals_whose_parts_fit(
    usage: dict[str, Any], counts: tuple[int, ...]
) -> None:
    expected = dict(zip(COUNTS, counts, strict=True))
    assert normalised(usage) == expected
    assert normalised(SimpleNamespace(**usage)) == expected


@pytest.mark.parametrize(
    ("usage", "units"),
    [
        (
            {
                "prompt_tokens": 100,
                "cache_creation_input_tokens": 60,
                "prompt_tokens_details": {"cache_creation_token_details": {"ephemeral_1h_input_tokens": 40}},
            },
            {"cache_write_1h": 40},
        ),
        (
            ANTHROPIC_ITSELF | {"cache_creation": {"ephemeral_1h_input_tokens": 9}},
            {"cache_write_1h": 1},
        ),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 70, "image_tokens": 30},
                "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 45},
            },
            {"input_audio": 70, "input_image": 10, "output_audio": 40},
        ),
        (OPENAI_CHAT, None),
    ],
)
def test_tokens_that_cost_otherwise_are_told_as_parts_that_fit(
    usage: dict[str, Any], units: dict[str, int] | None
) -> None:
    counted = normalised(usage)
    assert counted is not None
    assert counted.get("units") == units
    assert checked_tokens(counted)


@pytest.mark.parametrize("nothing", [None, {}, {"total_tokens": 5}, SimpleNamespace()])
def test_no_figures_are_no_usage(nothing: object) -> None:
    assert normalised(nothing) is None


@pytest.mark.parametrize(
    ("response", "finish"),
    [
        (SimpleNamespace(choices=[SimpleNamespace(finish_reason="stop")]), "stop"),
        (SimpleNamespace(choices=[SimpleNamespace(finish_reason="length")]), "length"),
        (SimpleNamespace(choices=None, status="incomplete"), "length"),
        (SimpleNamespace(data=[]), "stop"),
    ],
)
def test_an_answer_that_was_cut_says_so(response: object, finish: str) -> None:
    assert finish_of(response) == finish


@pytest.mark.parametrize(
    ("response", "log_entry", "served"),
    [
        ({"service_tier": "default"}, {"cost_breakdown": {"service_tier": "priority"}}, "standard"),
        (SimpleNamespace(service_tier="flex"), {}, "flex"),
        (SimpleNamespace(response={"service_tier": "priority"}), {}, "priority"),
        ({"service_tier": "auto"}, {"metadata": {"usage_object": {"service_tier": "batch"}}}, "batch"),
        ({"usage": {"service_tier": "standard", "speed": "fast"}}, {}, "fast"),
        ({"usage": {"service_tier": "standard", "speed": "standard"}}, {}, "standard"),
        (None, {"cost_breakdown": {"service_tier": "flex"}}, "flex"),
        (None, {"cost_breakdown": {"service_tier": None}, "metadata": None}, None),
        ({"service_tier": 7}, {}, None),
        (None, {}, None),
    ],
)
def test_the_class_is_the_one_that_the_provider_says_it_served(
    response: object, log_entry: dict[str, Any], served: str | None
) -> None:
    assert served_context(response, log_entry) == served


@pytest.mark.parametrize(
    "name",
    ["", "auto", "Default", "standard_only", "on_demand", "priority", "priority_on_demand", " FLEX ",
     "flex_discount", "ultra fast", "a-class-of-more-than-sixteen", "größer"],
)  # fmt: skip
def test_a_settlement_and_a_log_call_a_class_the_same_and_as_the_portal_reads_it(name: str) -> None:
    served = served_context({"service_tier": name}, {})
    assert (served or "") == context_of(name)
    assert checked_served_context({"served_context": served}).get("served_context") == served


class InternalServerError(Exception):
    """The provider answered 500."""


class Timeout(Exception):  # noqa: N818  LiteLLM's name for it
    """LiteLLM gave up waiting."""


class ConnectError(Exception):
    """Nobody listened."""


def caused(error: Exception, cause: Exception) -> Exception:
    """Return `error` as raised because of `cause`."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "streaming", "free"),
    [
        (InternalServerError(), False, True),
        (Timeout(), False, False),
        (caused(Timeout(), ConnectError()), False, True),
        (InternalServerError(), True, False),
    ],
)
def test_a_failure_is_free_only_when_the_provider_certainly_did_nothing(
    error: Exception, streaming: bool, free: bool
) -> None:
    assert nothing_was_done(error, streaming=streaming) is free
