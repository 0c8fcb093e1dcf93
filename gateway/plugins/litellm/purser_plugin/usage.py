"""Usage in one shape, whatever the route: inclusive totals, as the portal prices them, and parts of them.

LiteLLM turns every provider's figures into its own `Usage`: prompt tokens include what was read from and
written to the provider's cache, completion tokens include reasoning. Measured with 1.106.2 on all five
routes; see tests/gateways/litellm.
"""

import re
from collections.abc import Mapping

MOST_CHARACTERS = 16  # of a service class, as much as the portal reads
# What says nothing of the class that was served, and what providers call their usual one.
_NOT_TOLD = frozenset({"", "auto"})
_USUAL = frozenset({"default", "standard", "standard_only", "on_demand"})
_SAME = {"priority_on_demand": "priority", "flex_discount": "flex"}
_ODD = re.compile(r"[^\x21-\x7e]")
COUNTS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


Usage = dict[str, int | dict[str, int]]


def normalised(usage: object) -> Usage | None:
    """Return the five counts of a LiteLLM usage (object or dict), or None when it holds no figures.

    `units` is there when some of these tokens cost otherwise than the rest of their kind: cache writes that
    are kept for an hour, audio, images. Parts never exceed their totals afterwards: a provider's odd figures
    must not make the settlement invalid.
    """
    if _first(usage, "prompt_tokens", "input_tokens", "completion_tokens", "output_tokens") is None:
        return None
    prompt = _first(usage, "prompt_tokens_details", "input_tokens_details")
    completion = _first(usage, "completion_tokens_details", "output_tokens_details")
    total_in = _count(usage, "prompt_tokens", "input_tokens")
    total_out = _count(usage, "completion_tokens", "output_tokens")
    cached = _count(prompt, "cached_tokens") or _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    written = written or _count(prompt, "cache_creation_tokens", "cache_write_tokens")
    if prompt is None and _get(usage, "prompt_tokens") is None:
        total_in += cached + written  # Anthropic's own figures leave both out of the input
    cached = min(cached, total_in)
    written = min(written, total_in - cached)
    reasoning = min(_count(completion, "reasoning_tokens"), total_out)
    counts: Usage = {
        "input_tokens": total_in,
        "cached_tokens": cached,
        "cache_write_tokens": written,
        "output_tokens": total_out,
        "reasoning_tokens": reasoning,
    }
    creation = _first(prompt, "cache_creation_token_details") or _first(usage, "cache_creation")
    parts = {
        "cache_write_1h": min(_count(creation, "ephemeral_1h_input_tokens"), written),
        **_kinds("input", prompt, room=total_in - cached - written),
        **_kinds("output", completion, room=total_out - reasoning),
    }
    units = {name: count for name, count in parts.items() if count}
    return {**counts, "units": units} if units else counts


def _kinds(direction: str, details: object, *, room: int) -> dict[str, int]:
    """Return the audio and image tokens of one direction, no more than there is room for."""
    audio = min(_count(details, "audio_tokens"), room)
    image = min(_count(details, "image_tokens"), room - audio)
    return {f"{direction}_audio": audio, f"{direction}_image": image}


def usage_of(response: object) -> Usage | None:
    """Return the counts of a whole answer, whatever its route, or None when it has none."""
    return normalised(_get(response, "usage"))


def served_context(response: object, log_entry: Mapping[str, object]) -> str | None:
    """Return the service class that served, by the portal's names; None where nothing tells it.

    The provider tells it in its answer (OpenAI) or its usage (Anthropic; of a stream LiteLLM 1.106.2 hands on
    `speed` alone), else it is the one that LiteLLM priced the answer in. A wish such as `auto` tells nothing,
    nor does a price without a class: LiteLLM does not always see what was asked for. A class that nobody
    knows keeps its name, and is charged as the dearest.
    """
    usages = (_get(response, "usage"), _get(log_entry.get("metadata"), "usage_object"))
    if any(_get(usage, "speed") == "fast" for usage in usages):
        return "fast"
    holders = (response, _get(response, "response"), *usages, log_entry.get("cost_breakdown"))
    return next((name for holder in holders if (name := _class(_get(holder, "service_tier")))), None)


def finish_of(response: object) -> str:
    """Return `length` when the answer was cut by its limit, else `stop`."""
    if _get(response, "status") == "incomplete":
        return "length"
    choices = _get(response, "choices")
    reasons = [_get(choice, "finish_reason") for choice in choices] if isinstance(choices, list) else []
    return "length" if any(reason in ("length", "max_tokens") for reason in reasons) else "stop"


def _class(told: object) -> str:
    name = told.strip().lower() if isinstance(told, str) else ""
    if name in _NOT_TOLD:
        return ""
    return "standard" if name in _USUAL else _SAME.get(name, _ODD.sub("_", name)[:MOST_CHARACTERS])


def _get(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _first(value: object, *names: str) -> object:
    return next((found for name in names if (found := _get(value, name)) is not None), None)


def _count(value: object, *names: str) -> int:
    found = _first(value, *names)
    return max(0, int(found)) if isinstance(found, int | float) else 0
