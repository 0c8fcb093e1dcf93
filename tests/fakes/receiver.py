"""A program that is told: keeps what it is sent, and answers as a test wants, also badly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Call:
    """One call: where to, with which headers and what body."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers `status` with `headers` and `body`; a drip sends a byte at a time until the other side ends."""

    port: int = 0
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drips: bool = False
    calls: list[Call] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?of=purser"


@contextmanager
def receiver(**answers: Any) -> Iterator[Receiver]:
    """Listen on a free port of this machine."""
    kept = Receiver(**answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept.calls.append(Call(self.path, headers, self.rfile.read(length)))
            if kept.drips:
                self._drip()
                return
            self.send_response(kept.status)
            for name, value in kept.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(kept.body)))
            self.end_headers()
            self.wfile.write(kept.body)

        do_GET = do_POST  # noqa: N815  the name that the server looks for

        def _drip(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            while not kept.stopped.wait(0.05):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        kept.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
