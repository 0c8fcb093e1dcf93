"""The decision API beside Django's request cycle: `portal.asgi` sends `/gateway/v1/*` here, as ASGI or by the
short way of hot/http.py.

Calls that arrive together share a statement (hot/combiner.py), and each kind of statement has a connection of
its own (hot/line.py); what is seldom asked goes over a pool. Each call is answered within the deadline or
with 503.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import nullcontext
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import connection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from core import clock
from core.errors import DomainError
from gateway.auth import SIGNING_HEADERS, Credential, GatewaySignatureError, SignedRequest, verify
from gateway.hot import leases
from gateway.hot.combiner import Combiner, Waiter
from gateway.hot.credentials import CREDENTIAL_SQL, CredentialCache, credential_from_row
from gateway.hot.decisions import ASKS, Kind
from gateway.hot.fields import BodyTooLargeError
from gateway.hot.line import Line
from gateway.hot.refusals import unavailable
from gateway.hot.wire import (
    MAX_BATCH_BODY_BYTES,
    Answer,
    FaultError,
    NoSuchPathError,
    PostOnlyError,
    refusal,
)

log = structlog.get_logger(__name__)

# The statements are point look-ups whatever the tables' sizes are: plans made while a table was small
# must not turn into scans when it has grown.
PLANNING = " ".join(
    f"-c {setting}"
    for setting in (
        "jit=off",
        "plan_cache_mode=force_generic_plan",
        "enable_seqscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
        "enable_material=off",
    )
)

Scope = Mapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class DecisionApplication:
    """Serves the decision API. One instance a process, its pool opened by the first call."""

    def __init__(self) -> None:
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] | None = None
        self._opening = asyncio.Lock()
        self._credentials = CredentialCache()
        self._look_ups: dict[str, asyncio.Task[Credential]] = {}
        # So that made up ids never take all of the pool from gateways.
        self._strangers = asyncio.Semaphore(max(settings.DECISION_POOL_SIZE // 2, 1))
        deadline = settings.DECISION_DEADLINE_SECONDS
        self._lines = {kind: Line(connect, patience_seconds=2 * deadline) for kind in Kind}
        self._combiners = {
            kind: Combiner(kind, line.fetch, deadline_seconds=deadline) for kind, line in self._lines.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        try:
            answer = await self._answer(scope, receive)
        except Exception as error:  # noqa: BLE001  `failed` tells them apart
            answer = failed(error, path=scope["path"])
        await _send(send, answer)

    def decide_soon(self, request: SignedRequest, waiter: Waiter) -> bool:
        """Answer a POST to a path of ASKS through its waiter, at once or with the next statement; false when
        the gateway's credential has to be looked up first, which `__call__` does.
        """
        public_id, now = request.headers.get("purser-gateway", ""), time.monotonic()
        credential = self._credentials.get(public_id, at=now)
        if credential is None:
            return False
        if self._credentials.is_due(public_id, at=now):
            self._look_up_soon(public_id)
        try:
            nonce = verify(request, credential=credential, now_seconds=clock.now().timestamp())
            ask = ASKS[request.target](request.body, credential=credential, nonce=nonce)
        except Exception as error:  # noqa: BLE001  `failed` tells them apart
            ask = failed(error, path=request.target)
        if isinstance(ask, Answer):
            waiter.set_result(ask)
        else:
            self._combiners[ask.kind].ask(ask, waiter)
        return True

    async def close(self) -> None:
        """Close all connections at the end of the process."""
        for line in self._lines.values():
            await line.close()
        if self._pool:
            await self._pool.close()

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        ask_of = ASKS.get(scope["path"]) or leases.ASKS.get(scope["path"])
        if ask_of is None:
            return refusal(NoSuchPathError())
        if scope["method"] != "POST":
            return refusal(PostOnlyError())
        request = _signed(scope, await _body(receive))
        async with asyncio.timeout(settings.DECISION_DEADLINE_SECONDS):
            credential = await self._credential(request.headers.get("purser-gateway", ""))
            nonce = verify(request, credential=credential, now_seconds=clock.now().timestamp())
            ask = ask_of(request.body, credential=credential, nonce=nonce)
            if isinstance(ask, Answer):
                return ask
            if isinstance(ask, leases.Single):
                return ask.answer(await self._fetch(ask.sql, ask.params))
            return await self._combiners[ask.kind].answer(ask)

    async def _credential(self, public_id: str) -> Credential:
        known = self._credentials.get(public_id, at=time.monotonic())
        if known:
            return known
        return await asyncio.shield(self._look_up_soon(public_id))

    def _look_up_soon(self, public_id: str) -> asyncio.Task[Credential]:
        """Return the one look-up of a gateway that is under way; many calls may wait for it."""
        task = self._look_ups.get(public_id)
        if task is None:
            task = self._look_ups[public_id] = asyncio.create_task(self._look_up(public_id))
            task.add_done_callback(
                lambda done: done.cancelled() or done.exception()
            )  # nobody may wait for it
        return task

    async def _look_up(self, public_id: str) -> Credential:
        try:
            async with nullcontext() if self._credentials.has_seen(public_id) else self._strangers:
                now = time.monotonic()
                rows = await self._fetch(CREDENTIAL_SQL, (public_id,))
        finally:
            del self._look_ups[public_id]
        if rows:
            return self._credentials.put(credential_from_row(rows[0]), at=now)
        self._credentials.forget(public_id)
        raise GatewaySignatureError(
            "gateway_unknown", "No gateway has this id. Configure it with `manage.py gateway_config`."
        )

    async def _fetch(self, sql: str, params: Any) -> list[Any]:
        pool = await self._ready_pool()
        async with pool.connection() as conn:
            cursor = await conn.execute(sql, params, prepare=True)
            return await cursor.fetchall()

    async def _ready_pool(self) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    self._pool = await _open_pool()
        return self._pool


async def connect() -> psycopg.AsyncConnection[Any]:
    """Open one connection for decisions; the server ends what takes longer than the deadline."""
    return await psycopg.AsyncConnection.connect(**_parameters())


async def _open_pool() -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
    pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
        "",
        kwargs=_parameters(),
        min_size=1,
        max_size=settings.DECISION_POOL_SIZE,
        timeout=settings.DECISION_DEADLINE_SECONDS,
        open=False,
    )
    await pool.open()
    return pool


def _parameters() -> dict[str, Any]:
    deadline_ms = int(settings.DECISION_DEADLINE_SECONDS * 1000)
    where = {
        name: value
        for name, value in connection.get_connection_params().items()
        if name in {"dbname", "user", "password", "host", "port"}
    }
    return {
        **where,
        "autocommit": True,
        "prepare_threshold": 0,
        "application_name": "purser-decisions",
        "options": f"-c statement_timeout={deadline_ms} -c lock_timeout={deadline_ms} {PLANNING}",
    }


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BATCH_BODY_BYTES:
            raise BodyTooLargeError(
                f"The body has more than {MAX_BATCH_BODY_BYTES} bytes. Send smaller batches."
            )
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def failed(error: Exception, *, path: str) -> Answer:
    """Return what is told instead of a decision: a refusal, an outage, or a fault, which is logged."""
    if isinstance(error, DomainError):
        return refusal(error)
    if isinstance(error, psycopg.Error | PoolTimeout | TimeoutError):
        log.warning("decision.unavailable", path=path, error=type(error).__name__)
        return unavailable()
    log.error("decision.failed", path=path, exc_info=error)
    return refusal(FaultError())


def _signed(scope: Scope, body: bytes) -> SignedRequest:
    headers = dict(scope["headers"])
    return SignedRequest(
        method=scope["method"],
        target=_target(scope),
        headers={name: headers.get(name.encode(), b"").decode("latin-1") for name in SIGNING_HEADERS},
        body=body,
    )


def _target(scope: Scope) -> str:
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{path}?{query}" if query else path


async def _send(send: Send, answer: Answer) -> None:
    body = answer.encode()
    headers = [*answer.header_lines(), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


decisions = DecisionApplication()
