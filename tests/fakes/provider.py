"""A small LLM provider: OpenAI- and Anthropic-shaped, plain and streaming, honest usage, errors on demand.

One file without dependencies beyond an ASGI server, so that the gateway's environment can run it too:
`python provider.py PORT` (uvicorn). It accepts one upstream key (FAKE_PROVIDER_KEY).

Usage is declared, so that an expected bill can be computed from the log alone:
prompt tokens = words in all text of the body, at least 1;
completion tokens = min(limit, WANT<n> in the text, default 12) per choice;
cached = a quarter of the prompt, cache writes = an eighth (Messages only), reasoning = a quarter of the
completion (not Messages); all rounded down.

Words in the last user text that change the behaviour:
ERR<code> answer that status; FLAKY<name> answer 500 once per name, then serve; WANT<n> produce n tokens if
allowed; SLOW 0.4 s before every chunk, 5 s when not streaming; MIDERR break the stream after 3 chunks; HANG
never answer; TIER<name> tell that service class (none: TIERnone). A model whose name contains "broken" always
answers 500.

GET /_log returns every request so far with the usage that was billed for it; DELETE /_log forgets them.
"""

import asyncio
import json
import os
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

DEFAULT_WANT_TOKENS = 12
TIER = "default"  # the service class that an answer of OpenAI tells
UNLIMITED_TOKENS = 4_096
SLOW_SECONDS_PER_CHUNK = 0.4
SLOW_SECONDS_PLAIN = 5.0
CHUNKS_BEFORE_BREAK = 3


@dataclass(slots=True)
class Entry:
    """One request as seen and billed. Totals are inclusive: cached and cache writes are part of the input."""

    path: str
    model: str
    stream: bool
    text: str
    limit: int | None
    status: int = 200
    finished: str = "no"
    key_ok: bool = True
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    provider_id: str = ""
    at: float = field(default_factory=time.time)


class Provider:
    """The state of one fake: its log and which flaky names have failed already."""

    def __init__(self) -> None:
        self.log: list[Entry] = []
        self.failed_once: set[str] = set()

    def forget(self) -> None:
        """Start a new log."""
        self.log.clear()
        self.failed_once.clear()

    def refusal(self, model: str, text: str) -> int | None:
        """Return the status that the model or the text asks for, or None to serve."""
        if "broken" in model:
            return 500
        flaky = re.search(r"FLAKY(\w+)", text)
        if flaky and flaky[1] not in self.failed_once:
            self.failed_once.add(flaky[1])
            return 500
        wanted = re.search(r"ERR(\d{3})", text)
        return int(wanted[1]) if wanted else None


class ClientGoneError(Exception):
    """The caller hung up in the middle of an answer."""


class BrokenStreamError(Exception):
    """MIDERR: the server dies in the middle of a stream, on purpose."""


provider = Provider()


def words(value: object) -> int:
    """Count the words in every string of a JSON value."""
    match value:
        case str():
            return len(value.split())
        case list():
            return sum(words(item) for item in value)
        case dict():
            return sum(words(item) for name, item in value.items() if name not in {"role", "type"})
        case _:
            return 0


def last_text(body: dict[str, Any]) -> str:
    """Return the last user text, wherever this API keeps it."""
    source = body.get("messages") or body.get("input") or body.get("prompt") or ""
    if isinstance(source, list) and source and isinstance(source[-1], dict):
        source = source[-1].get("content", "")
    if isinstance(source, list):
        return " ".join(part if isinstance(part, str) else str(part.get("text", "")) for part in source)
    return str(source)


def bill(entry: Entry, body: dict[str, Any]) -> None:
    """Write the usage of a served request into its log entry."""
    prompt = {
        name: body[name]
        for name in ("messages", "system", "input", "instructions", "prompt", "tools")
        if name in body
    }
    wanted = re.search(r"WANT(\d+)", entry.text)
    per_choice = min(entry.limit or UNLIMITED_TOKENS, int(wanted[1]) if wanted else DEFAULT_WANT_TOKENS)
    entry.input_tokens = max(1, words(prompt))
    if entry.path.endswith("/embeddings"):
        return
    entry.output_tokens = per_choice * int(body.get("n") or 1)
    entry.cached_tokens = entry.input_tokens // 4
    entry.cache_write_tokens = entry.input_tokens // 8 if entry.path.endswith("/messages") else 0
    entry.reasoning_tokens = 0 if entry.path.endswith("/messages") else entry.output_tokens // 4


def tier(entry: Entry, usual: str | None = TIER) -> dict[str, str]:
    """Return the service class that an answer tells, if any."""
    told = re.search(r"TIER([a-z]+)", entry.text)
    name = told[1] if told else usual
    return {"service_tier": name} if name and name != "none" else {}


def is_cut(entry: Entry) -> bool:
    """Whether the limit stopped the answer."""
    wanted = re.search(r"WANT(\d+)", entry.text)
    return entry.limit is not None and entry.limit <= (int(wanted[1]) if wanted else DEFAULT_WANT_TOKENS)


def pieces(entry: Entry) -> Iterator[str]:
    """Yield the words of the answer: one per output token, at most 64 pieces."""
    total = entry.output_tokens
    step = max(1, -(-total // 64))
    for start in range(0, total, step):
        yield " ".join(f"w{number}" for number in range(start, min(start + step, total))) + " "


# --- OpenAI shapes ----------------------------------------------------------------------------------------


def openai_usage(entry: Entry) -> dict[str, Any]:
    return {
        "prompt_tokens": entry.input_tokens,
        "completion_tokens": entry.output_tokens,
        "total_tokens": entry.input_tokens + entry.output_tokens,
        "prompt_tokens_details": {"cached_tokens": entry.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": entry.reasoning_tokens, "audio_tokens": 0},
    }


def chat_plain(entry: Entry, body: dict[str, Any]) -> dict[str, Any]:
    reason = "length" if is_cut(entry) else "stop"
    message = {"role": "assistant", "content": "".join(pieces(entry)).strip()}
    choices = [
        {"index": i, "message": message, "finish_reason": reason} for i in range(int(body.get("n") or 1))
    ]
    head = {
        "id": entry.provider_id,
        "object": "chat.completion",
        "created": int(entry.at),
        "model": entry.model,
    }
    return {**head, "choices": choices, "usage": openai_usage(entry), **tier(entry)}


async def chat_stream(entry: Entry, body: dict[str, Any]) -> AsyncIterator[str]:
    head = {
        "id": entry.provider_id,
        "object": "chat.completion.chunk",
        "created": int(entry.at),
        "model": entry.model,
        **tier(entry),
    }

    def event(delta: dict[str, Any], reason: str | None = None) -> str:
        return sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    yield event({"role": "assistant", "content": ""})
    async for piece in paced(entry):
        yield event({"content": piece})
    yield event({}, "length" if is_cut(entry) else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield sse({**head, "choices": [], "usage": openai_usage(entry)})
    yield "data: [DONE]\n\n"


def response_object(entry: Entry, status: str) -> dict[str, Any]:
    text = {"type": "output_text", "text": "".join(pieces(entry)).strip(), "annotations": []}
    message = {
        "type": "message",
        "id": f"msg_{entry.provider_id}",
        "status": "completed",
        "role": "assistant",
        "content": [text],
    }
    done = status != "in_progress"
    usage = {
        "input_tokens": entry.input_tokens,
        "output_tokens": entry.output_tokens,
        "total_tokens": entry.input_tokens + entry.output_tokens,
        "input_tokens_details": {"cached_tokens": entry.cached_tokens},
        "output_tokens_details": {"reasoning_tokens": entry.reasoning_tokens},
    }
    return {
        "id": entry.provider_id, "object": "response", "created_at": int(entry.at), "model": entry.model,
        "status": status, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1,
        "top_p": 1, "error": None, "instructions": None, "metadata": {},
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        **(tier(entry) if done else {"service_tier": "auto"}),
        "output": [message] if done else [], "usage": usage if done else None,
    }  # fmt: skip


def response_plain(entry: Entry, _body: dict[str, Any]) -> dict[str, Any]:
    return response_object(entry, "incomplete" if is_cut(entry) else "completed")


async def response_stream(entry: Entry, _body: dict[str, Any]) -> AsyncIterator[str]:
    order = iter(range(10_000))

    def event(kind: str, **fields: object) -> str:
        return f"event: {kind}\n" + sse({"type": kind, "sequence_number": next(order), **fields})

    item = f"msg_{entry.provider_id}"
    yield event("response.created", response=response_object(entry, "in_progress"))
    async for piece in paced(entry):
        yield event(
            "response.output_text.delta",
            item_id=item,
            output_index=0,
            content_index=0,
            delta=piece,
            logprobs=[],
        )
    status = "incomplete" if is_cut(entry) else "completed"
    yield event(f"response.{status}", response=response_object(entry, status))


def embeddings(entry: Entry, body: dict[str, Any]) -> dict[str, Any]:
    given = body.get("input")
    count = len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1
    data = [{"object": "embedding", "index": i, "embedding": [0.25, 0.5]} for i in range(count)]
    usage = {"prompt_tokens": entry.input_tokens, "total_tokens": entry.input_tokens}
    return {"object": "list", "model": entry.model, "data": data, "usage": usage}


# --- Anthropic shapes -------------------------------------------------------------------------------------


def anthropic_usage(entry: Entry, output_tokens: int) -> dict[str, Any]:
    """Anthropic reports the uncached input apart from what was read from and written to its cache."""
    return {
        "input_tokens": entry.input_tokens - entry.cached_tokens - entry.cache_write_tokens,
        "cache_read_input_tokens": entry.cached_tokens,
        "cache_creation_input_tokens": entry.cache_write_tokens,
        "output_tokens": output_tokens,
        **tier(entry, usual=None),
    }


def message_object(
    entry: Entry, content: list[dict[str, Any]], reason: str | None, output_tokens: int
) -> dict[str, Any]:
    head = {
        "id": entry.provider_id,
        "type": "message",
        "role": "assistant",
        "model": entry.model,
        "content": content,
    }
    return {
        **head,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": anthropic_usage(entry, output_tokens),
    }


def message_plain(entry: Entry, _body: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "text", "text": "".join(pieces(entry)).strip()}]
    return message_object(entry, content, "max_tokens" if is_cut(entry) else "end_turn", entry.output_tokens)


async def message_stream(entry: Entry, _body: dict[str, Any]) -> AsyncIterator[str]:
    def event(kind: str, **fields: object) -> str:
        return f"event: {kind}\n" + sse({"type": kind, **fields})

    yield event("message_start", message=message_object(entry, [], None, 1))
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    async for piece in paced(entry):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield event("content_block_stop", index=0)
    reason = "max_tokens" if is_cut(entry) else "end_turn"
    usage = {"output_tokens": entry.output_tokens}
    yield event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)
    yield event("message_stop")


# --- The server -------------------------------------------------------------------------------------------

Plain = Callable[[Entry, dict[str, Any]], dict[str, Any]]
Stream = Callable[[Entry, dict[str, Any]], AsyncIterator[str]]
ROUTES: dict[str, tuple[str, Plain, Stream | None, tuple[str, ...]]] = {
    "/chat/completions": ("chatcmpl", chat_plain, chat_stream, ("max_completion_tokens", "max_tokens")),
    "/responses": ("resp", response_plain, response_stream, ("max_output_tokens",)),
    "/embeddings": ("emb", embeddings, None, ()),
    "/messages": ("msg", message_plain, message_stream, ("max_tokens",)),
}


def sse(payload: dict[str, Any]) -> str:
    return f"data: {json.dumps(payload)}\n\n"


async def paced(entry: Entry) -> AsyncIterator[str]:
    """Yield the pieces of a stream: slowly, or broken off, when the text asks for it."""
    for number, piece in enumerate(pieces(entry)):
        if "MIDERR" in entry.text and number == CHUNKS_BEFORE_BREAK:
            raise BrokenStreamError
        if "SLOW" in entry.text:
            await asyncio.sleep(SLOW_SECONDS_PER_CHUNK)
        yield piece


def route_of(path: str) -> str | None:
    return next((suffix for suffix in ROUTES if path.endswith(suffix)), None)


def key_matches(headers: dict[str, str]) -> bool:
    expected = os.environ.get("FAKE_PROVIDER_KEY", "sk-fake-provider")
    given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    return given == expected


async def read_body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def send_json(send: Send, status: int, payload: object) -> None:
    body = json.dumps(payload).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, path: str, status: int, text: str) -> None:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error: dict[str, Any] = {"message": text, "type": kind}
    payload = (
        {"type": "error", "error": error}
        if path.endswith("/messages")
        else {"error": {**error, "code": str(status)}}
    )
    await send_json(send, status, payload)


async def send_stream(receive: Receive, send: Send, entry: Entry, events: AsyncIterator[str]) -> None:
    """Send the events until they end, break, or the caller hangs up; write down which."""
    gone = asyncio.ensure_future(hang_up(receive))
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    )
    try:
        async for event in events:
            if gone.done():
                raise ClientGoneError
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        entry.finished = "yes"
    except ClientGoneError:
        entry.finished = "client_gone"
    except BrokenStreamError:
        entry.finished = "broken"
        raise
    finally:
        gone.cancel()


async def hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def serve(scope: Scope, receive: Receive, send: Send, suffix: str) -> None:
    """Answer one model call."""
    prefix, plain, stream, limits = ROUTES[suffix]
    body: dict[str, Any] = json.loads(await read_body(receive) or b"{}")
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    limit = next((int(body[name]) for name in limits if body.get(name)), None)
    entry = Entry(
        path=scope["path"],
        model=str(body.get("model")),
        stream=bool(body.get("stream")),
        text=last_text(body),
        limit=limit,
    )
    entry.provider_id = f"{prefix}-{uuid.uuid4().hex[:16]}"
    entry.key_ok = key_matches(headers)
    provider.log.append(entry)
    status = provider.refusal(entry.model, entry.text) if entry.key_ok else 401
    if status is not None:
        entry.status = status
        return await send_error(send, entry.path, status, f"the fake provider answers {status}")
    if "HANG" in entry.text:
        entry.finished = "hung"
        return await hang_up(receive)
    bill(entry, body)
    if entry.stream and stream is not None:
        return await send_stream(receive, send, entry, stream(entry, body))
    if "SLOW" in entry.text:
        await asyncio.sleep(SLOW_SECONDS_PLAIN)
    entry.finished = "yes"
    return await send_json(send, 200, plain(entry, body))


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Route a request: a model call, the log, or 404."""
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    suffix = route_of(scope["path"])
    if suffix is not None and scope["method"] == "POST":
        return await serve(scope, receive, send, suffix)
    if scope["path"] == "/_log":
        if scope["method"] == "DELETE":
            provider.forget()
        return await send_json(send, 200, [asdict(entry) for entry in provider.log])
    return await send_error(send, scope["path"], 404, "no such route")


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
