"""LiteLLM's `GET /spend/logs/v2` as version 1.106.2 has it, over a list of rows.

Both ends of the window are included, to the second; `total` stops at 10,000; rows of one moment come in no
certain order (this one turns them around with every call, as a database may).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.reports import Trouble

MASTER_KEY = "sk-master-of-a-test-0123456789"
CAP, MOST_ROWS = 10_000, 1_000
FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d")


@dataclass
class SpendLogs:
    """The rows of the table, and how the server behaves."""

    port: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    troubles: list[Trouble | None] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    turned: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def spend_logs() -> Iterator[SpendLogs]:
    """Listen on a free port of this machine."""
    kept = SpendLogs()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            kept.asked.append(query)
            trouble = kept.troubles.pop(0) if kept.troubles else None
            status, document = _answer(kept, parts.path, query, self.headers.get("Authorization", ""))
            body = json.dumps(document).encode()
            if trouble is not None and trouble.status != 200:
                status, body = trouble.status, b"{}"
            self.send_response(status)
            for name, value in (trouble.headers if trouble else {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: trouble.cut_after] if trouble else body)

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


def row(request_id: str, at: datetime, *, reservation: str = "", **fields: Any) -> dict[str, Any]:
    """Return one row as the table has it: 200 tokens in, 40 of them cached, 50 out, 10 of them thought."""
    logged = {"purser_reservation": reservation} if reservation else None
    usage = {
        "prompt_tokens": 200,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 10},
    }
    return {
        "request_id": request_id, "call_type": "acompletion", "api_key": "88dc28", "spend": 0.0012,
        "total_tokens": 250, "prompt_tokens": 200, "completion_tokens": 50,
        "startTime": at.isoformat(), "endTime": at.isoformat(), "model": "openai/gpt-5-mini",
        "model_group": "small", "custom_llm_provider": "openai", "user": "", "team_id": None,
        "metadata": {"spend_logs_metadata": logged, "usage_object": usage, "status": "success"},
        "cache_hit": "False", "status": "success", "messages": {}, "response": {},
    } | fields  # fmt: skip


def _answer(kept: SpendLogs, path: str, query: dict[str, str], key: str) -> tuple[int, dict[str, Any]]:
    if path != "/spend/logs/v2":
        return 404, {"detail": "Not Found"}
    if key != f"Bearer {MASTER_KEY}":
        return 401, {"error": {"message": "Authentication Error, Invalid proxy server token passed"}}
    try:
        start, end = _moment(query["start_date"]), _moment(query["end_date"])
    except (KeyError, ValueError):
        return 400, {"error": {"message": "Invalid date format"}}
    page, size = int(query.get("page", "1")), int(query.get("page_size", "50"))
    if not 1 <= size <= MOST_ROWS or page < 1:
        return 422, {"detail": "page_size"}
    kept.turned = not kept.turned
    within = [one for one in kept.rows if start <= datetime.fromisoformat(one["startTime"]) <= end]
    ordered = sorted(reversed(within) if kept.turned else within, key=lambda one: str(one["startTime"]))
    if query.get("sort_order", "desc") == "desc":
        ordered.reverse()
    total = min(len(ordered), CAP)
    return 200, {
        "data": ordered[(page - 1) * size : page * size],
        "total": total,
        "page": page,
        "page_size": size,
        "total_pages": -(-total // size),
        "total_is_capped": len(ordered) > CAP,
    }


def _moment(text: str) -> datetime:
    for form in FORMATS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ValueError(text)
