"""The short way of a decision through uvicorn: from the bytes of a plain request to the combiner and from its
answer to the socket, without a parser's calls, a task, an ASGI message or a timer of its own. docs/adr/0013
has the measurements.

Whatever is out of the ordinary (a header that is not known here, a large body, requests sent before the last
one is answered, an unknown gateway, an access log) takes the long way: uvicorn's parser and the same
application by ASGI. The connection stays uvicorn's, so that keep-alive and a graceful stop are its own.
"""

import asyncio
import re
from functools import lru_cache
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.auth import SIGNING_HEADERS, SignedRequest
from gateway.hot.asgi import decisions, failed
from gateway.hot.decisions import ASKS
from gateway.hot.wire import Answer, HeaderLines

SHORT_BODY_BYTES = 32_768
KEPT_HEADS = 16
HEAD = re.compile(rb"POST (/gateway/v1/[a-z]+) HTTP/1\.1\r\n((?:[A-Za-z-]+: [!-~][ -~]*\r\n)+)\r\n")
LINE = re.compile(rb"([^:]+): ([^\r]+)\r\n")
SIGNING = {name.encode(): name for name in SIGNING_HEADERS}
# Whatever else a client sends, above all what says where the body ends, is left to uvicorn.
KNOWN_HEADERS = frozenset(
    [
        *SIGNING,
        b"host",
        b"connection",
        b"user-agent",
        b"accept",
        b"accept-encoding",
        b"content-type",
        b"content-length",
    ]
)
PATHS = {path.encode(): path for path in ASKS}


def read_head(data: bytes) -> tuple[str, dict[bytes, bytes], int] | None:
    """Return path, headers (names in lower case) and length of the head of a plain POST for a decision, or
    None for everything else.
    """
    found = HEAD.match(data)
    if found is None or b" \r\n" in found[2]:
        return None
    path = PATHS.get(found[1])
    lines = LINE.findall(found[2])
    headers = {name.lower(): value for name, value in lines}
    is_plain = (
        len(headers) == len(lines)
        and headers.keys() <= KNOWN_HEADERS
        and headers.get(b"connection", b"keep-alive") == b"keep-alive"
        and b"host" in headers
    )
    return (path, headers, found.end()) if path and is_plain else None


class Exchange:
    """One plain request and the one who waits for its answer: what a connection of uvicorn asks of a cycle,
    and what the combiner asks of a waiter. A client that left is not answered.
    """

    __slots__ = ("_path", "_protocol", "disconnected", "keep_alive", "response_complete")

    message_event = asyncio.Event()  # nobody waits for it

    def __init__(self, protocol: "DecisionProtocol", path: str) -> None:
        self._protocol = protocol
        self._path = path
        self.keep_alive = True
        self.disconnected = self.response_complete = False

    def done(self) -> bool:
        return self.response_complete or self.disconnected

    def set_exception(self, exception: Exception, /) -> None:
        self.set_result(failed(exception, path=self._path))

    def set_result(self, result: Answer, /) -> None:
        self.response_complete = True
        self._protocol.answer(result, keep_alive=self.keep_alive)


class DecisionProtocol(HttpToolsProtocol):
    """One connection. A plain request whose body is not whole yet is held until it is.

    The alarm that closes an idle connection is uvicorn's, but plain requests do not stop and set it each
    time: one that rings too early is set again for what is left.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held = b""
        self._is_between_requests = True  # so far as uvicorn's parser has seen
        self._is_plain = not self.access_log and self.limit_concurrency is None
        self._idle_since = 0.0

    def data_received(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        if not (self._is_plain and self._is_between_requests and self._is_answered() and self._takes(data)):
            super().data_received(data)

    def on_message_begin(self) -> None:
        self._is_between_requests = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_between_requests = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._held or not self._is_answered() or self.transport.is_closing():
            return  # it is set again after the answer
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def answer(self, answer: Answer, *, keep_alive: bool) -> None:
        """Write the answer to a plain request and wait for the next."""
        body = answer.encode()
        lines = (*self.server_state.default_headers, *answer.header_lines())
        end = b"" if keep_alive else b"connection: close\r\n"
        self.transport.write(
            b"%bcontent-length: %d\r\n%b\r\n%b" % (_head(answer.status, lines), len(body), end, body)
        )
        if not keep_alive:
            self.transport.close()
        if self.pipeline or self.transport.is_closing() or self.timeout_keep_alive_task is None:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._idle_since = self.loop.time()
            self.flow.resume_reading()

    def _is_answered(self) -> bool:
        last = cast("RequestResponseCycle | None", self.cycle)
        return last is None or last.response_complete

    def _takes(self, data: bytes) -> bool:
        """Take the short way with a plain request, or hold what there is of it; false is the long way."""
        head = read_head(data)
        if head is None:
            return False
        path, headers, start = head
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or len(length) > len(str(SHORT_BODY_BYTES)):
            return False
        missing = int(length) - (len(data) - start)
        if missing < 0 or int(length) > SHORT_BODY_BYTES:
            return False
        if missing:
            self._held = data
            return True
        signing = {text: headers[name].decode() for name, text in SIGNING.items() if name in headers}
        exchange, last = Exchange(self, path), self.cycle
        self.cycle = cast("RequestResponseCycle", exchange)
        request = SignedRequest(method="POST", target=path, headers=signing, body=data[start:])
        if decisions.decide_soon(request, exchange):
            return True
        self.cycle = last
        return False


@lru_cache(maxsize=KEPT_HEADS)
def _head(status: int, lines: HeaderLines) -> bytes:
    """Return the head of an answer; those of one second have few that differ."""
    return STATUS_LINE[status] + b"".join(b"%b: %b\r\n" % line for line in lines)
