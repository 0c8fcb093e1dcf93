"""Providers' report APIs as they are documented: OpenAI's usage and costs, Anthropic's usage and cost report.

A test puts results by day; the server pages them, short pages included, and answers badly on demand. It holds
callers to the documented parameters: whoever asks otherwise gets 400.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ADMIN_KEY = "sk-admin-of-a-test-0123456789"
OPENAI_USAGE, OPENAI_COSTS = "/v1/organization/usage/completions", "/v1/organization/costs"
OPENAI_WORK = {
    name: f"/v1/organization/usage/{name}"
    for name in (
        *("embeddings", "moderations", "images", "audio_speeches", "audio_transcriptions"),
        "web_search_calls",
    )
}
ANTHROPIC_USAGE, ANTHROPIC_COSTS = (
    "/v1/organizations/usage_report/messages",
    "/v1/organizations/cost_report",
)
GROUPS = {
    OPENAI_USAGE: {"project_id", "user_id", "api_key_id", "model", "batch", "service_tier"},
    **{path: {"project_id", "user_id", "api_key_id", "model"} for path in OPENAI_WORK.values()},
    OPENAI_WORK["images"]: {"project_id", "user_id", "api_key_id", "model", "size", "source"},
    OPENAI_WORK["web_search_calls"]: {"project_id", "user_id", "api_key_id", "model", "context_level"},
    OPENAI_COSTS: {"project_id", "line_item", "api_key_id"},
    ANTHROPIC_USAGE: {
        *("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo"),
        *("speed", "account_id", "service_account_id"),
    },
    ANTHROPIC_COSTS: {"workspace_id", "description"},
}
MOST_DAYS = dict.fromkeys(GROUPS, 31) | {OPENAI_COSTS: 180}
OPENAI = frozenset({OPENAI_USAGE, OPENAI_COSTS, *OPENAI_WORK.values()})


@dataclass
class Trouble:
    """What goes wrong with one call: a status with headers, or a body that is cut after so many bytes."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    body: bytes | None = None


@dataclass
class Reports:
    """The figures by path and day. `results_a_page` splits days over pages; 0 is `limit` days a page.

    Troubles come one by one, to calls of `troubled` alone when it names a path. `refreshed_at` is what every
    page says of how fresh it is, as Anthropic's reports for analytics do.
    """

    port: int = 0
    days: dict[str, dict[date, list[dict[str, Any]]]] = field(default_factory=dict)
    results_a_page: int = 0
    days_a_page: int = 0
    refreshed_at: str = ""
    troubles: list[Trouble | None] = field(default_factory=list)
    troubled: str = ""
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tell(self, path: str, day: date, *results: dict[str, Any]) -> None:
        """Say this of a day from now on, in place of what was said."""
        self.days.setdefault(path, {})[day] = list(results)


@contextmanager
def reports() -> Iterator[Reports]:
    """Listen on a free port of this machine."""
    kept = Reports()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with kept.lock:
                kept.asked.append(self.path)
                is_meant = urlsplit(self.path).path == kept.troubled or not kept.troubled
                trouble = kept.troubles.pop(0) if kept.troubles and is_meant else None
            status, document = _answer(kept, self.path, {k.lower(): v for k, v in self.headers.items()})
            body = json.dumps(document).encode()
            if trouble is not None and trouble.status != 200:
                status, body = trouble.status, b'{"error": {"message": "as asked"}}'
            if trouble is not None and trouble.body is not None:
                body = trouble.body
            self.send_response(status)
            for name, value in (trouble.headers if trouble else {}).items():
                self.send_header(name, value)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            cut = trouble.cut_after if trouble else None
            self.wfile.write(body if cut is None else body[:cut])
            if cut is not None:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(kept: Reports, target: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    parts = urlsplit(target)
    query = parse_qs(parts.query)
    if parts.path not in GROUPS:
        return 404, _error("no such path")
    openai = parts.path in OPENAI
    given = headers.get("authorization", "").removeprefix("Bearer ") if openai else headers.get("x-api-key")
    if given != ADMIN_KEY:
        return 401, _error(f"Incorrect API key provided: {given}")
    if not openai and headers.get("anthropic-version") != "2023-06-01":
        return 400, _error("anthropic-version: header is required")
    wrong = _wrong(parts.path, query, openai=openai)
    if wrong:
        return 400, _error(wrong)
    first, last = _period(query, openai=openai)
    return 200, _page(kept, parts.path, query, first, last, openai=openai)


def _wrong(path: str, query: dict[str, list[str]], *, openai: bool) -> str:
    known = {"bucket_width", "limit", "page", "group_by[]"}
    known |= {"start_time", "end_time"} if openai else {"starting_at", "ending_at"}
    if set(query) - known:
        return f"unknown parameters {set(query) - known}"
    if query.get("bucket_width", ["1d"]) != ["1d"] or not set(query.get("group_by[]", [])) <= GROUPS[path]:
        return "bucket_width or group_by"
    if not 1 <= int(query.get("limit", ["7"])[0]) <= MOST_DAYS[path]:
        return "limit"
    return "" if ("start_time" if openai else "starting_at") in query else "the start is required"


def _period(query: dict[str, list[str]], *, openai: bool) -> tuple[date, date]:
    if openai:
        start, end = (datetime.fromtimestamp(int(query[name][0]), UTC) for name in ("start_time", "end_time"))
    else:
        start, end = (datetime.fromisoformat(query[name][0]) for name in ("starting_at", "ending_at"))
    return start.date(), end.date()


def _page(
    kept: Reports, path: str, query: dict[str, list[str]], first: date, end: date, *, openai: bool
) -> dict[str, Any]:
    told = kept.days.get(path, {})
    days = [first + timedelta(days=number) for number in range((end - first).days)]
    if kept.results_a_page:
        parts = [
            (day, (told.get(day) or [])[start : start + kept.results_a_page])
            for day in days
            for start in range(0, max(1, len(told.get(day, []))), kept.results_a_page)
        ]
        size = 1
    else:
        parts = [(day, told.get(day, [])) for day in days]
        size = kept.days_a_page or int(query.get("limit", ["7"])[0])
    at = int(query.get("page", ["page_0"])[0].removeprefix("page_"))
    has_more = at + size < len(parts)
    page = {
        "data": [_bucket(day, results, openai=openai) for day, results in parts[at : at + size]],
        "has_more": has_more,
        "next_page": f"page_{at + size}" if has_more else None,
    }
    if kept.refreshed_at:
        page["data_refreshed_at"] = kept.refreshed_at
    return {"object": "page", **page} if openai else page


def _bucket(day: date, results: list[dict[str, Any]], *, openai: bool) -> dict[str, Any]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=1)
    if openai:
        times = {"start_time": int(start.timestamp()), "end_time": int(end.timestamp())}
        return {"object": "bucket", **times, "results": results}
    return {
        "starting_at": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "ending_at": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "results": results,
    }


def _error(text: str) -> dict[str, Any]:
    return {"error": {"message": text, "type": "invalid_request_error"}}


def openai_usage(**fields: Any) -> dict[str, Any]:
    """Return one result of completions usage."""
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": 1_000, "output_tokens": 500, "input_cached_tokens": 800,
        "input_audio_tokens": 0, "output_audio_tokens": 0, "num_model_requests": 5,
        "project_id": "proj_abc", "user_id": None, "api_key_id": "key_abc", "model": "gpt-5-mini",
        "batch": False, "service_tier": "default",
    } | fields  # fmt: skip


def openai_work(name: str, **fields: Any) -> dict[str, Any]:
    """Return one result of another kind of usage than completions; `name` is that of its report."""
    counted: dict[str, dict[str, Any]] = {
        "embeddings": {"input_tokens": 16_000}, "moderations": {"input_tokens": 16},
        "images": {"images": 2, "size": None, "source": None}, "audio_speeches": {"characters": 45},
        "audio_transcriptions": {"seconds": 20}, "web_search_calls": {"num_requests": 3},
    }  # fmt: skip
    kind = "web_searches" if name == "web_search_calls" else name
    return {
        "object": f"organization.usage.{kind}.result", **counted[name], "num_model_requests": 2,
        "project_id": "proj_abc", "user_id": None, "api_key_id": "key_abc", "model": "gpt-5-mini",
    } | fields  # fmt: skip


def openai_cost(value: float, **fields: Any) -> dict[str, Any]:
    """Return one result of costs."""
    return {
        "object": "organization.costs.result", "amount": {"value": value, "currency": "usd"},
        "line_item": "gpt-5-mini, input", "project_id": "proj_abc", "api_key_id": "key_abc",
    } | fields  # fmt: skip


def anthropic_usage(**fields: Any) -> dict[str, Any]:
    """Return one result of the messages usage report."""
    return {
        "uncached_input_tokens": 1_500,
        "cache_creation": {"ephemeral_1h_input_tokens": 1_000, "ephemeral_5m_input_tokens": 500},
        "cache_read_input_tokens": 200, "output_tokens": 500,
        "server_tool_use": {"web_search_requests": 10},
        "api_key_id": "apikey_01", "workspace_id": "wrkspc_01", "model": "claude-sonnet-5",
        "service_tier": "standard", "context_window": None,
    } | fields  # fmt: skip


def anthropic_cost(amount: str, **fields: Any) -> dict[str, Any]:
    """Return one result of the cost report; the amount is in cents."""
    return {
        "currency": "USD", "amount": amount, "workspace_id": "wrkspc_01",
        "description": "Claude Sonnet 5 Usage - Input Tokens", "cost_type": "tokens",
        "context_window": "0-200k", "model": "claude-sonnet-5", "service_tier": "standard",
        "token_type": "uncached_input_tokens",
    } | fields  # fmt: skip
