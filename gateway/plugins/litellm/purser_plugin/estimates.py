"""Usage by the gateway's own count, for calls whose provider never reported any.

It is always marked as estimated.
"""

import json
import logging

import litellm

from .calls import Call
from .usage import COUNTS, Usage, normalised

log = logging.getLogger("purser")

BYTES_PER_TOKEN = 4
READ_FIELDS = ("system", "input", "instructions", "prompt", "tools", "functions")


def load_tokenisers() -> None:
    """Load LiteLLM's tokenisers: at their first use they stop the event loop for up to two seconds."""
    for model in ("gpt-4.1-mini", "claude-sonnet-4-5"):
        _tokens(model=model, text="hello")


def estimated(call: Call, reported: object = None) -> Usage:
    """Return what the pieces of a broken stream show, else LiteLLM's own estimate `reported`, else the input
    by its tokeniser.
    """
    from_stream = _from_stream(call)
    return from_stream if from_stream is not None else normalised(reported) or _input_only(call)


def _input_only(call: Call) -> Usage:
    return {**dict.fromkeys(COUNTS, 0), "input_tokens": _input_tokens(call)}


def _from_stream(call: Call) -> Usage | None:
    chunks, messages = getattr(call.answer, "chunks", None), call.asked.get("messages")
    if not isinstance(chunks, list) or not chunks:
        return None
    try:
        answer = litellm.stream_chunk_builder(
            chunks=chunks, messages=messages if isinstance(messages, list) else None
        )
    except Exception as error:  # noqa: BLE001 - a foreign library at the edge; another estimate takes its place
        log.warning("purser.stream_not_countable: %s", type(error).__name__)
        return None
    return normalised(getattr(answer, "usage", None))


def _input_tokens(call: Call) -> int:
    messages = call.asked.get("messages")
    text = "\n".join(_text(call.asked[name]) for name in READ_FIELDS if call.asked.get(name))
    conversation = _tokens(model=call.model, messages=messages) if isinstance(messages, list) else 0
    return conversation + (_tokens(model=call.model, text=text) if text else 0)


def _tokens(*, model: str, text: str | None = None, messages: list[object] | None = None) -> int:
    try:
        return int(litellm.token_counter(model=model, text=text, messages=messages))
    except Exception as error:  # noqa: BLE001 - a foreign library at the edge; a rough count is better than none
        log.warning("purser.input_not_countable: %s", type(error).__name__)
        return len(_text(text or messages).encode()) // BYTES_PER_TOKEN


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
