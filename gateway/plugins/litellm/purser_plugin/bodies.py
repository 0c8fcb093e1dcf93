"""What a client's body asks for: its route, its size, its output limit, and which of its fields may pass.

Fields pass by an allow-list. Gateways know hundreds of control fields (addresses, prices, retries, fallbacks,
mock answers, a switch that turns the usage callback off), and new ones come with each release, so a list of
forbidden ones would never be complete.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# With tools, Anthropic adds a system prompt of 313 to 735 tokens; chat templates add a few to any turn.
TOOLS_OVERHEAD_BYTES = 1_024
TURN_OVERHEAD_BYTES = 64

_SAMPLING = frozenset(
    {"temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias"}
)
_TOOLING = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_COMMON = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A kind of model call: its path, its fields, where it limits its output, and the hook's names for it."""

    path: str
    call_types: frozenset[str]
    fields: frozenset[str]
    limit_fields: tuple[str, ...] = ()


CHAT = Route(
    path="/v1/chat/completions",
    call_types=frozenset({"acompletion", "completion"}),
    limit_fields=("max_completion_tokens", "max_tokens"),
    fields=_COMMON | _SAMPLING | _TOOLING | {
        "messages", "max_completion_tokens", "max_tokens", "n", "logprobs", "top_logprobs", "response_format",
        "functions", "function_call", "reasoning_effort", "verbosity", "thinking", "modalities", "audio",
        "prediction", "service_tier", "web_search_options", "store", "cache",
    },
)  # fmt: skip
COMPLETION = Route(
    path="/v1/completions",
    call_types=frozenset({"atext_completion", "text_completion"}),
    limit_fields=("max_tokens",),
    fields=_COMMON
    | _SAMPLING
    | {"prompt", "suffix", "echo", "best_of", "n", "max_tokens", "logprobs", "cache"},
)
EMBEDDING = Route(
    path="/v1/embeddings",
    call_types=frozenset({"aembedding", "embeddings", "embedding"}),
    fields=frozenset({"model", "input", "encoding_format", "dimensions", "user", "cache"}),
)
RESPONSES = Route(
    path="/v1/responses",
    call_types=frozenset({"aresponses", "responses"}),
    limit_fields=("max_output_tokens",),
    fields=_COMMON | _TOOLING | {
        "input", "instructions", "max_output_tokens", "max_tool_calls", "temperature", "top_p",
        "top_logprobs", "reasoning", "text", "truncation", "include", "metadata", "store",
        "previous_response_id", "conversation", "prompt", "service_tier", "background",
    },
)  # fmt: skip
MESSAGES = Route(
    path="/v1/messages",
    call_types=frozenset({"anthropic_messages"}),
    limit_fields=("max_tokens",),
    fields=frozenset({
        "model", "messages", "system", "stream", "max_tokens", "temperature", "top_p", "top_k",
        "stop_sequences", "tools", "tool_choice", "thinking", "metadata", "service_tier", "speed",
        "context_management", "mcp_servers", "container", "output_config", "output_format", "cache_control",
    }),
)  # fmt: skip

_KINDS = (CHAT, COMPLETION, EMBEDDING, RESPONSES, MESSAGES)
# LiteLLM serves all but Messages without /v1 too.
ROUTES: Mapping[str, Route] = {kind.path: kind for kind in _KINDS} | {
    kind.path.removeprefix("/v1"): kind for kind in _KINDS if kind is not MESSAGES
}

_UNSEEN_INPUT = frozenset({
    "previous_response_id", "conversation", "web_search_options", "mcp_servers", "container",
    "context_management",
})  # fmt: skip
_PLAIN_TOOLS = frozenset({None, "function", "custom"})
_TEXT_PARTS = frozenset({
    "text", "input_text", "output_text", "refusal", "message", "thinking", "redacted_thinking", "reasoning",
    "summary_text", "reasoning_text", "tool_use", "tool_result", "function", "custom", "function_call",
    "function_call_output", "custom_tool_call", "custom_tool_call_output", "ephemeral",
})  # fmt: skip
_FREE_JSON = frozenset({"input", "arguments"})  # given to a tool: any JSON, whose `type` means something else
_CONVERSATION = ("messages", "system", "input", "prompt")
_OPAQUE = re.compile(r"data:[\w.+-]+/[\w.+-]+[;,].*|[A-Za-z0-9+/_=-]{1024,}", re.ASCII | re.DOTALL)
# The service classes that a body may ask for, by the portal's names. Another one is unknown and priced as the
# dearest: nobody gets the standard price for a class that nobody has heard of.
_CONTEXTS = {"flex": "flex", "priority": "priority", "fast": "fast", "batch": "batch"} | dict.fromkeys(
    ("auto", "default", "standard", "standard_only"), "standard"
)
_CACHE_CHOICES = frozenset({"no-cache", "no-store"})


class BadBodyError(Exception):
    """The body cannot be bounded; the message says why, to the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the portal is asked about a body. `input_bytes` and `input_tokens` exclude each other."""

    model: str
    n: int
    max_output_tokens: int | None
    context: str
    stream: bool
    bound: Mapping[str, int] = field(default_factory=dict)


def passing(route: Route, body: Mapping[str, object], extra: frozenset[str]) -> dict[str, object]:
    """Return the fields of a client's body that may reach the provider.

    `extra` names more fields that the operator allows.
    """
    kept = {name: value for name, value in body.items() if name in route.fields or name in extra}
    cache = kept.pop("cache", None)
    choices = {name: True for name in _CACHE_CHOICES if isinstance(cache, dict) and cache.get(name) is True}
    return {**kept, "cache": choices} if choices else kept


def question(route: Route, body: Mapping[str, object], *, attachment_tokens: int) -> Question:
    """Work out what to ask the portal about `body`.

    `attachment_tokens` bounds what is not text. Raises BadBodyError.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadBodyError("The body names no model.")
    if body.get("background"):
        raise BadBodyError(
            "Background responses report no usage to the gateway and are not served. Leave `background` out."
        )
    return Question(
        model=model,
        n=_choices(body),
        max_output_tokens=_requested_limit(route, body),
        context=_context(body),
        stream=bool(body.get("stream")),
        bound=input_bound(body, attachment_tokens=attachment_tokens),
    )


def input_bound(body: Mapping[str, object], *, attachment_tokens: int) -> dict[str, int]:
    """Return an upper bound of the input: bytes when all of it is text in the body, else tokens.

    A byte-level tokeniser makes at most one token of a byte, and JSON only adds bytes. Pictures, files,
    server-side tools and earlier turns that the provider keeps are not in the text: they count as
    `attachment_tokens` together.
    """
    conversation = {name: body[name] for name in _CONVERSATION if name in body}
    attached = _has_attachments(conversation)
    if attached:
        body = {**body, **{name: _without_opaque(value) for name, value in conversation.items()}}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), default=str)
    size = len(text.encode("utf-8", "surrogatepass")) + TURN_OVERHEAD_BYTES
    if body.get("tools") or body.get("functions"):
        size += TOOLS_OVERHEAD_BYTES
    if attached or _refers_elsewhere(body):
        return {"input_tokens": size + attachment_tokens}
    return {"input_bytes": size}


def _refers_elsewhere(body: Mapping[str, object]) -> bool:
    """Whether the provider will read what the body only names: earlier turns, stored prompts, searches."""
    tools = body.get("tools")
    return (
        any(body.get(name) for name in _UNSEEN_INPUT)
        or isinstance(body.get("prompt"), dict)
        or (isinstance(tools, list) and not all(_is_plain_tool(tool) for tool in tools))
    )


def _is_plain_tool(tool: object) -> bool:
    """Whether the client itself runs this tool; the provider's own ones read more than the body shows."""
    return isinstance(tool, dict) and tool.get("type") in _PLAIN_TOOLS


def _has_attachments(value: object) -> bool:
    """Whether a conversation holds a part that is not text.

    Parts without a type are text; unknown types are not.
    """
    match value:
        case list():
            return any(_has_attachments(item) for item in value)
        case dict():
            kind = value.get("type")
            if isinstance(kind, str) and kind not in _TEXT_PARTS:
                return True
            nested = (item for name, item in value.items() if kind is None or name not in _FREE_JSON)
            return any(_has_attachments(item) for item in nested)
        case _:
            return False


def _without_opaque(value: object, *, in_attachment: bool = False) -> object:
    """Copy a JSON value without the encoded files of its attachments; their text stays."""
    match value:
        case str():
            return "" if in_attachment and _OPAQUE.fullmatch(value) else value
        case list():
            return [_without_opaque(item, in_attachment=in_attachment) for item in value]
        case dict():
            kind = value.get("type")
            inside = in_attachment or (isinstance(kind, str) and kind not in _TEXT_PARTS)
            return {name: _without_opaque(item, in_attachment=inside) for name, item in value.items()}
        case _:
            return value


def set_output_limit(route: Route, body: dict[str, object], max_output_tokens: int | None) -> None:
    """Write the decided limit into `body`, in the field that the client used, and remove every other."""
    if not route.limit_fields:
        return
    used = next((name for name in route.limit_fields if body.get(name) is not None), route.limit_fields[0])
    for name in route.limit_fields:
        body.pop(name, None)
    if max_output_tokens is not None:
        body[used] = max_output_tokens


def _requested_limit(route: Route, body: Mapping[str, object]) -> int | None:
    given = [_positive(name, body[name]) for name in route.limit_fields if body.get(name) is not None]
    return min(given) if given else None


def _choices(body: Mapping[str, object]) -> int:
    """How many answers the provider will write: `n` or `best_of`, for each of the prompts."""
    each = max(_positive(name, body[name]) if body.get(name) is not None else 1 for name in ("n", "best_of"))
    prompt = body.get("prompt")
    several = isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int)
    return each * len(prompt) if several and isinstance(prompt, list) else each


def _positive(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadBodyError(f"{name} must be a whole number of at least 1.")
    return value


def _context(body: Mapping[str, object]) -> str:
    if body.get("speed") == "fast":
        return "fast"
    asked = body.get("service_tier")
    return "standard" if asked is None else _CONTEXTS.get(str(asked), "unknown")
