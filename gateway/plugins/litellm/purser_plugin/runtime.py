"""The plugin's one instance in a worker: settings, portal, journal, deliveries and the calls in flight."""

import asyncio
import atexit
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs, urlsplit

from . import bodies, records
from .calls import Call, Exchange, Register
from .delivery import Delivery
from .estimates import estimated
from .journal import CursorError, Journal, decode_cursor, encode_cursor
from .leases import Leases
from .portal import Decision, Portal, RefusedError
from .refusals import JOURNAL_UNAVAILABLE, UNAVAILABLE, Refusal, refusal
from .settings import Settings
from .signing import SignatureError, Verifier
from .usage import finish_of, served_context, usage_of
from .waiting import is_done_within
from .withdrawals import Withdrawals

log = logging.getLogger("purser")

FEED_LIMIT = 1_000
RESTART_SECONDS = 1.0


class Runtime:
    """Everything that lives as long as the worker. Made on the worker's event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.portal = Portal(settings)
        self.calls = Register()
        self.journal = Journal(settings.state_directory, file_bytes=settings.journal_file_bytes)
        self.delivery = Delivery(self.journal, self.portal, keep_days=settings.journal_keep_days)
        self.withdrawals = Withdrawals(self._withdraw)
        self.leases = (
            Leases(self.portal, want_usd=settings.lease_want_usd, delivered=self.delivery.delivered)
            if settings.leases
            else None
        )
        self._verifier = Verifier(gateway_id=settings.gateway_id, secrets=settings.secrets)
        # The deadline counts from the moment that LiteLLM waits for the answer: its first call on a route
        # stops the event loop for seconds, which is not the portal's fault.
        self._longest_question_seconds = 2 * settings.decision_seconds
        self._background: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the background jobs: what a dead predecessor left is delivered without new traffic."""
        jobs = [self.delivery.sync_forever, self.delivery.deliver_forever, self.withdrawals.run_forever]
        if self.leases is not None:
            jobs.append(self.leases.run_forever)
        for job in jobs:
            self._keep(asyncio.get_running_loop().create_task(_always(job)))
        atexit.register(self.delivery.write)

    async def stop(self) -> None:
        """Give back what this worker holds, when it ends in good order."""
        if self.leases is not None:
            await self.leases.give_all_back()

    def admit(self, exchange: Exchange, body: dict[str, object]) -> dict[str, object]:
        """Return the fields of `body` that may pass, and start asking the portal. Raises bodies.BadBodyError.

        Asking here, not in the pre-call hook, hides the portal's time behind LiteLLM's own (4 ms of 15).
        """
        kept = bodies.passing(bodies.ROUTES[exchange.path], body, self.settings.extra_parameters)
        if self.delivery.healthy:
            self._begin(exchange, kept)
        return kept

    async def decide(self, exchange: Exchange, data: Mapping[str, object]) -> Call | Refusal:
        """Return the decision on the way, or on a new question when LiteLLM has changed the model.

        LiteLLM starts a request over when its own rate limit sends it to a fallback: the first hold is given
        back. Raises bodies.BadBodyError.
        """
        if exchange.call is not None:
            self.release(exchange.call, reason="not_dispatched")
            exchange.call, exchange.refusal = None, None
        if not self.delivery.healthy:
            return JOURNAL_UNAVAILABLE
        asking = exchange.asking
        if asking is None or exchange.question is None or exchange.question.model != data.get("model"):
            self._give_back(exchange)
            passing = bodies.ROUTES[exchange.path].fields | self.settings.extra_parameters
            asking = self._begin(exchange, {name: data[name] for name in passing if name in data})
        if not await is_done_within(self.settings.decision_seconds, asking):
            self._give_back(exchange)
            return UNAVAILABLE
        outcome, exchange.asking = asking.result(), None
        exchange.call = outcome if isinstance(outcome, Call) else None
        return outcome

    def settle(
        self,
        call: Call,
        usage: Mapping[str, object],
        *,
        served_model: str | None = None,
        served_context: str | None = None,
        finish: str,
        estimated: bool = False,
        cache_hit: bool = False,
        provider_id: object = None,
        cost_usd: float | None = None,
    ) -> None:
        """Close a call that consumed something. A call that is closed already stays as it was."""
        line = records.settlement(
            call,
            usage=usage,
            served_model=served_model or call.model,
            served_context=served_context,
            finish=finish,
            estimated=estimated,
            cache_hit=cache_hit,
            provider_id=provider_id,
            cost_usd=cost_usd,
        )
        self._close(call, line)

    def release(self, call: Call, *, reason: str) -> None:
        """Close a call that consumed nothing."""
        self._close(call, records.release(call, reason=reason), released=True)

    def answered(self, exchange: Exchange) -> None:
        """Watch a call whose answer is over: its settlement comes within moments, or the call was dropped
        without a word.
        """
        self._give_back(exchange)
        call = exchange.call
        if call is not None and not call.closed:
            grace_seconds = self.settings.settle_grace_seconds
            asyncio.get_running_loop().call_later(grace_seconds, self._close_if_forgotten, call)

    async def feed(
        self, method: str, target: str, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, object]]:
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
        return 200, {
            "items": list(page.items),
            "next_cursor": encode_cursor(page.position),
            "has_more": page.has_more,
        }

    def _close(self, call: Call, line: bytes, *, released: bool = False) -> None:
        if self.calls.close(call):
            position = self.delivery.add(line)
            if self.leases is not None:
                self.leases.closed(call, position, released=released)

    def _close_if_forgotten(self, call: Call) -> None:
        if call.closed:
            return
        log.warning("purser.call_without_outcome: %s", call.reservation)
        usage = usage_of(call.answer)
        if usage is not None:
            served = served_context(call.answer, {})
            self.settle(call, usage, served_context=served, finish=finish_of(call.answer))
        else:
            self._keep(asyncio.get_running_loop().create_task(self._close_by_estimate(call)))

    async def _close_by_estimate(self, call: Call) -> None:
        usage = await asyncio.to_thread(estimated, call)
        self.settle(call, usage, finish="cancelled", estimated=True)

    def _begin(self, exchange: Exchange, asked: Mapping[str, object]) -> "asyncio.Task[Call | Refusal]":
        route, attachment_tokens = bodies.ROUTES[exchange.path], self.settings.attachment_tokens
        exchange.question = bodies.question(route, asked, attachment_tokens=attachment_tokens)
        ask = self._ask(exchange, exchange.question, asked)
        exchange.asking = asyncio.get_running_loop().create_task(ask)
        return exchange.asking

    async def _ask(
        self, exchange: Exchange, question: bodies.Question, asked: Mapping[str, object]
    ) -> Call | Refusal:
        if self.leases is not None and (leased := self.leases.decide(exchange, question, asked)):
            return self._allow(leased)
        body = {
            "request_id": uuid.uuid4().hex,
            "key": exchange.key,
            "model": question.model,
            "route": bodies.ROUTES[exchange.path].path,
            "project_id": exchange.project_id,
            **question.bound,
            "max_output_tokens": question.max_output_tokens,
            "n": question.n,
            "context": question.context,
            "stream": question.stream,
        }
        try:
            decision = await self.portal.authorize(body, seconds=self._longest_question_seconds)
        except RefusedError as error:
            if error.may_hold:
                self.withdrawals.add(body)
            return error.refusal
        if self.leases is not None:
            self.leases.allowed(exchange, question)
        call = _call(decision, body, asked)
        self.calls.open(call)
        return call

    def _allow(self, call: Call) -> Call | Refusal:
        """Write down a call that this worker decided before it is sent: nobody else knows of it."""
        self.calls.open(call)
        if not self.delivery.note(records.allowed(call)):
            self.release(call, reason="not_dispatched")
            return JOURNAL_UNAVAILABLE
        return call

    async def _withdraw(self, body: Mapping[str, object]) -> bool:
        """Ask again what nobody waits for any more; release what it holds. Whether there was an answer."""
        try:
            decision = await self.portal.authorize(body, seconds=self.settings.delivery_seconds)
        except RefusedError as error:
            return error.refusal is not UNAVAILABLE
        self.release(_call(decision, body, {}), reason="not_dispatched")
        return True

    def _give_back(self, exchange: Exchange) -> None:
        """Give back what a question that nobody waits for any more may have reserved."""
        asking, exchange.asking = exchange.asking, None
        if asking is not None:
            self._keep(asyncio.get_running_loop().create_task(self._release_when_answered(asking)))

    async def _release_when_answered(self, asking: "asyncio.Task[Call | Refusal]") -> None:
        outcome = await asking
        if isinstance(outcome, Call):
            self.release(outcome, reason="not_dispatched")

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _always(job: Callable[[], Awaitable[None]]) -> None:
    """Run a background job for ever: whatever ends it is logged, and it starts again."""
    while True:
        try:
            await job()
        except Exception:  # the boundary of a job: without it, settlements would silently stay behind
            log.exception("purser.job_failed: %s", job)
        await asyncio.sleep(RESTART_SECONDS)


def _call(decision: Decision, body: Mapping[str, object], asked: Mapping[str, object]) -> Call:
    return Call(
        reservation=decision.reservation,
        request_id=str(body["request_id"]),
        key_id=decision.key_id,
        model=str(body["model"]),
        max_output_tokens=decision.max_output_tokens,
        asked=asked,
        warnings=decision.warnings,
    )


def _problem(status: int, code: str, detail: str) -> tuple[int, dict[str, object]]:
    return status, dict(refusal(status=status, code=code, title="Refused", detail=detail).document)
