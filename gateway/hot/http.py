"""The short way of a decision through uvicorn: from the parsed request to the combiner and from its answer to
the socket, without a task, an ASGI message or a timer of its own. docs/adr/0013 has the measurements.

Whatever is out of the ordinary (an unknown gateway, a large body, `Expect`, an access log) takes the long
way: the same application by ASGI. Both build on what HttpToolsProtocol offers to subclasses and keep its
record of the connection, so that keep-alive, pipelining and a graceful stop are uvicorn's.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.hot.asgi import decisions, failed
from gateway.hot.wire import Answer

SHORT_BODY_BYTES = 32_768


class Exchange:
    """Waits for the answer to one request and writes it; a client that left is not answered."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def done(self) -> bool:
        return self._cycle.response_complete or self._cycle.disconnected

    def set_exception(self, exception: Exception, /) -> None:
        self.set_result(failed(exception, path=self._cycle.scope["path"]))

    def set_result(self, result: Answer, /) -> None:
        cycle = self._cycle
        body = result.encode()
        lines = [STATUS_LINE[result.status]]
        for name, value in (*cycle.default_headers, *result.header_lines(body)):
            lines += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += (b"\r\n", body)
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(b"".join(lines))
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


class DecisionProtocol(HttpToolsProtocol):
    """One connection. A request that may take the short way is held until its body is there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: RequestResponseCycle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        is_short = app is self.app and decisions.knows(cycle.scope) and not self.access_log
        if not is_short or cycle.waiting_for_100_continue:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._held = cycle
        else:
            self._decide(cycle)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self._held and len(self._held.body) > SHORT_BODY_BYTES:
            self._release(self._held)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._held:
            self._decide(self._held)

    def _decide(self, cycle: RequestResponseCycle) -> None:
        self._held = None
        if not decisions.decide_soon(cycle.scope, bytes(cycle.body), Exchange(cycle)):
            self._release(cycle)

    def _release(self, cycle: RequestResponseCycle) -> None:
        """Let the request take the long way."""
        self._held = None
        super()._start_asgi_task(cycle, self.app)
