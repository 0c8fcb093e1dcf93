"""The plugin's one running instance in a worker: settings, portal, journal, deliveries and the calls in flight."""

import asyncio
import atexit
import logging
import uuid
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from . import records
from .calls import Call, Exchange, Register
from .delivery import Delivery
from .estimates import estimated
from .journal import CursorError, Journal, decode_cursor, encode_cursor
from .portal import Decision, Portal
from .refusals import refusal
from .settings import Settings
from .signing import SignatureError, Verifier

log = logging.getLogger("purser")

FEED_LIMIT = 1_000


class Runtime:
    """Everything that lives as long as the worker. Made on the worker's event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.extra_parameters = settings.extra_parameters
        self.portal = Portal(settings)
        self.calls = Register()
        self.journal = Journal(settings.state_directory, file_bytes=settings.journal_file_bytes)
        self.delivery = Delivery(self.journal, self.portal, keep_days=settings.journal_keep_days)
        self._verifier = Verifier(gateway_id=settings.gateway_id, secrets=settings.secrets)
        self._background: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the background jobs on the running loop, so that what a dead predecessor left is delivered without new traffic."""
        for job in (self.delivery.write_forever(), self.delivery.deliver_forever()):
            self._keep(asyncio.get_running_loop().create_task(job))
        atexit.register(self.delivery.write_now)

    async def authorize(self, exchange: Exchange, body: Mapping[str, object], asked: Mapping[str, object]) -> Decision:
        """Ask the portal and remember the call. Raises portal.RefusedError."""
        request_id = uuid.uuid4().hex
        decision = await self.portal.authorize({"request_id": request_id, **body})
        call = Call(
            reservation=decision.reservation,
            request_id=request_id,
            key_id=decision.key_id,
            model=str(body["model"]),
            asked=asked,
        )
        exchange.call = call
        self.calls.open(call)
        return decision

    def settle(
        self,
        call: Call,
        usage: Mapping[str, int],
        *,
        served_model: str | None = None,
        finish: str,
        estimated: bool = False,
        cache_hit: bool = False,
        provider_id: object = None,
    ) -> None:
        """Close a call that consumed something. A call that is closed already stays as it was."""
        line = records.settlement(
            call,
            usage=usage,
            served_model=served_model or call.model,
            finish=finish,
            estimated=estimated,
            cache_hit=cache_hit,
            provider_id=provider_id,
        )
        if self.calls.close(call):
            self.delivery.add(line)

    def release(self, call: Call, *, reason: str) -> None:
        """Close a call that consumed nothing."""
        line = records.release(call, reason=reason)
        if self.calls.close(call):
            self.delivery.add(line)

    def answered(self, exchange: Exchange) -> None:
        """Watch a call whose answer is over: its settlement comes within moments, or the call was dropped without a word."""
        call = exchange.call
        if call is not None and not call.closed:
            self._keep(asyncio.get_running_loop().create_task(self._close_if_forgotten(call)))

    async def feed(self, method: str, target: str, headers: Mapping[str, str]) -> tuple[int, dict[str, object]]:
        """Answer the portal's pull: journal lines after a cursor."""
        if method != "GET":
            return _problem(405, "method_not_allowed", "The usage feed is read with GET.")
        try:
            self._verifier.verify(method=method, target=target, headers=headers, body=b"")
            query = parse_qs(urlsplit(target).query)
            position = decode_cursor(query.get("cursor", [""])[0])
            limit = int(query.get("limit", [str(FEED_LIMIT)])[0])
        except SignatureError as error:
            return _problem(401, error.code, error.detail)
        except (CursorError, ValueError) as error:
            return _problem(400, "invalid_request", str(error))
        if not 1 <= limit <= FEED_LIMIT:
            return _problem(400, "invalid_request", f"limit must be 1 to {FEED_LIMIT}.")
        page = await asyncio.to_thread(self.journal.read, position, limit=limit)
        return 200, {"items": list(page.items), "next_cursor": encode_cursor(page.position), "has_more": page.has_more}

    async def _close_if_forgotten(self, call: Call) -> None:
        await asyncio.sleep(self.settings.settle_grace_seconds)
        if not call.closed:
            log.warning("purser.call_without_outcome: %s", call.reservation)
            usage = await asyncio.to_thread(estimated, call)
            self.settle(call, usage, finish="cancelled", estimated=True)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _problem(status: int, code: str, detail: str) -> tuple[int, dict[str, object]]:
    return status, dict(refusal(status=status, code=code, title="Refused", detail=detail).document)
