"""What a line of a log tells beside its totals: the service class, and what costs otherwise than its kind.

Sources: OpenAI's `service_tier` and details of its usage; Anthropic's `service_tier`, `cache_creation` and
`server_tool_use`; LiteLLM 1.106.2, `Usage` and its details in types/utils.py. Pure.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

MOST_CHARACTERS = 16  # of a service class
STANDARD = "standard"
FAST = "fast"
# What says nothing of the class that was served: a wish that the provider chooses.
NOT_TOLD = frozenset({"", "auto"})
# What providers call their usual class; every other name is a class of its own.
USUAL = frozenset({"default", "standard", "standard_only", "on_demand"})
ODD = re.compile(r"[^\x21-\x7e]")
SAME = {"priority_on_demand": "priority", "flex_discount": "flex"}
# Counts that are not tokens, and where they stand: beside the totals, or with what the input is made of.
COUNTED = {
    "search": ("server_tool_use", "web_search_requests"),
    "second": ("prompt_tokens_details", "audio_length_seconds"),
    "character": ("prompt_tokens_details", "character_count"),
    "image": ("prompt_tokens_details", "image_count"),
}


def context_of(told: object) -> str:
    """Return the service class that a call was served in; empty where nothing is told.

    A name that Purser does not know stays as it is: such a call is charged at the dearest class, and flagged.
    """
    name = str(told).strip().lower() if told is not None else ""
    if name in NOT_TOLD:
        return ""
    return STANDARD if name in USUAL else SAME.get(name, ODD.sub("_", name)[:MOST_CHARACTERS])


def units_of(usage: Mapping[str, Any], tokens: Mapping[str, Any]) -> dict[str, int | float]:
    """Return what a provider's usage counts beside the totals, by unit; parts are no more than their totals,
    as the plugin for LiteLLM settles them.
    """
    inputs = _object(usage, "prompt_tokens_details") or _object(usage, "input_tokens_details")
    outputs = _object(usage, "completion_tokens_details") or _object(usage, "output_tokens_details")
    written = _number(tokens.get("cache_write_tokens"))
    room = _number(tokens.get("input_tokens")) - _number(tokens.get("cached_tokens")) - written
    creation = _object(inputs, "cache_creation_token_details") or _object(usage, "cache_creation")
    parts = {
        "cache_write_1h": min(_number(creation.get("ephemeral_1h_input_tokens")), written),
        **_kinds("input", inputs, room),
        **_kinds(
            "output", outputs, _number(tokens.get("output_tokens")) - _number(tokens.get("reasoning_tokens"))
        ),
        **{unit: _number(_object(usage, holder).get(name)) for unit, (holder, name) in COUNTED.items()},
    }
    return {unit: count for unit, count in parts.items() if count > 0}


def _kinds(direction: str, details: Mapping[str, Any], room: float) -> dict[str, int | float]:
    audio = min(_number(details.get("audio_tokens")), room)
    image = min(_number(details.get("image_tokens")), room - audio)
    return {f"{direction}_audio": audio, f"{direction}_image": image}


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> int | float:
    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
