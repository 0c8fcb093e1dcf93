"""The portal's decision API over one pooled aiohttp session: authorise with a deadline, settle and release in
the background.
"""

import asyncio
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from .answers import Answer
from .delivery import TurnedAwayError, UndeliveredError
from .refusals import UNAVAILABLE, Refusal, relayed
from .settings import Settings
from .signing import signed_headers
from .waiting import within

log = logging.getLogger("purser")

AUTHORIZE = "/gateway/v1/authorize"
SETTLE = "/gateway/v1/settle"
RELEASE = "/gateway/v1/release"
LEASE = "/gateway/v1/leases"
LEASE_POLL = "/gateway/v1/leases/poll"
LEASE_RETURN = "/gateway/v1/leases/return"
CONNECTIONS = 256
SOFT = "soft_exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An allowed call: its reservation, the output limit that the gateway must enforce, and the soft budgets
    that are exceeded, as its client is told of them.
    """

    reservation: str
    key_id: str
    max_output_tokens: int | None
    warnings: str = ""


class RefusedError(Exception):
    """The portal (or its absence) refused a call.

    `may_hold`: it may have reserved money, and nobody heard of it.
    """

    def __init__(self, refusal: Refusal, *, may_hold: bool = False) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal
        self.may_hold = may_hold


class Portal:
    """A client of the decision API.

    One per event loop, made lazily, because aiohttp sessions belong to their loop.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def authorize(self, body: Mapping[str, object], *, seconds: float) -> Decision:
        """Ask for a decision within `seconds`. Raises RefusedError with the answer for the client.

        A connection that the portal closed is tried once more with the same request_id and a new nonce,
        inside the same deadline.
        """
        try:
            answer = await within(seconds, self._post_again_if_lost(AUTHORIZE, body))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            log.warning("purser.portal_unreachable: %s", type(error).__name__)
            unsent = isinstance(error, aiohttp.ClientConnectorError)
            raise RefusedError(UNAVAILABLE, may_hold=not unsent) from None
        return _decision(answer)

    async def settle(self, items: Sequence[Mapping[str, object]]) -> Sequence[Mapping[str, object]]:
        """Deliver settlements; return one result for each.

        Raises UndeliveredError to try again, ValueError when the batch cannot be read.
        """
        answer = await self._deliver(SETTLE, {"items": list(items)}, final=(200, 400, 413, 422))
        results = answer.document.get("results")
        if not isinstance(results, list) or len(results) != len(items):
            raise ValueError(f"{answer.status} {answer.document.get('code')}")
        return results

    async def release(self, body: Mapping[str, object]) -> str:
        """Deliver a release; return the portal's status or code for it.

        Raises UndeliveredError to try again.
        """
        answer = await self._deliver(RELEASE, body, final=(200, 400, 404, 409, 413, 422))
        return str(answer.document.get("status" if answer.status == 200 else "code"))

    async def lease(self, body: Mapping[str, object]) -> Answer:
        """Ask for a lease or for more of one. Raises UndeliveredError when there is no answer to the wish."""
        final = (200, 400, 401, 403, 404, 409, 422, 429)
        answer = await self._deliver(LEASE, body, final=final, seconds=self._settings.decision_seconds)
        if str(answer.document.get("code", "")).startswith("gateway_"):
            raise UndeliveredError(f"{answer.status} {answer.document.get('code')}")
        return answer

    async def poll_leases(self, node: str, *, allowed: Sequence[Mapping[str, object]]) -> Collection[str]:
        """Return the ids of the leases that `node` must not use any more, and tell of its calls in flight.

        Raises UndeliveredError, and TurnedAwayError, which is one, when the portal takes nothing from here.
        """
        body = {"node": node, **({"allowed": list(allowed)} if allowed else {})}
        seconds = self._settings.decision_seconds
        answer = await self._deliver(LEASE_POLL, body, final=(200, 401), seconds=seconds)
        if answer.status == 401:
            raise TurnedAwayError(f"401 {answer.document.get('code')}")
        stop = answer.document.get("stop")
        if not isinstance(stop, list):
            raise UndeliveredError("an answer without `stop`")
        return frozenset(map(str, stop))

    async def return_lease(self, lease: str, *, keep: str) -> bool:
        """Give back what a lease holds beyond `keep` US dollars. Whether it is over.

        Raises UndeliveredError.
        """
        body = {"lease": lease, "keep_usd": keep}
        seconds = self._settings.decision_seconds
        answer = await self._deliver(LEASE_RETURN, body, final=(200, 404), seconds=seconds)
        return answer.status == 404 or answer.document.get("status") == "closed"

    async def close(self) -> None:
        """Close the pooled connections."""
        if self._session is not None:
            await self._session.close()

    async def _deliver(
        self, path: str, body: Mapping[str, object], *, final: Sequence[int], seconds: float | None = None
    ) -> Answer:
        """Post a delivery. Whatever is not one of the `final` answers says nothing about it: try again."""
        try:
            async with asyncio.timeout(seconds or self._settings.delivery_seconds):
                answer = await self._post(path, body)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise UndeliveredError(type(error).__name__) from None
        if answer.status not in final or not answer.document:
            raise UndeliveredError(f"{answer.status} {answer.document.get('code')}")
        return answer

    async def _post_again_if_lost(self, path: str, body: Mapping[str, object]) -> Answer:
        try:
            return await self._post(path, body)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await self._post(path, body)

    async def _post(self, path: str, body: Mapping[str, object]) -> Answer:
        settings, data = self._settings, json.dumps(body, separators=(",", ":")).encode()
        headers = signed_headers(
            gateway_id=settings.gateway_id, secret=settings.secret, method="POST", target=path, body=data
        )
        url = settings.portal_url + path
        async with self._pool().post(
            url, data=data, headers={**headers, "Content-Type": "application/json"}
        ) as response:
            payload = await response.read()
            return Answer(
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
                document=_json_object(payload),
            )

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=30)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=None), raise_for_status=False
            )
        return self._session


def _decision(answer: Answer) -> Decision:
    """Read an answer to authorize.

    Anything that is neither a decision nor a refusal of the client fails closed.
    """
    document = answer.document
    if answer.status == 200 and isinstance(reservation := document.get("reservation"), str):
        limit = document.get("max_output_tokens")
        return Decision(
            reservation=reservation,
            key_id=str(document.get("key_id", "")),
            max_output_tokens=limit if isinstance(limit, int) else None,
            warnings=_warnings(document.get("warnings")),
        )
    code = str(document.get("code", ""))
    if (
        not 400 <= answer.status < 500
        or not code
        or code.startswith("gateway_")
        or code == "request_id_reused"
    ):
        log.error("purser.no_decision: status %s code %s", answer.status, code or "none")
        raise RefusedError(UNAVAILABLE, may_hold=answer.status >= 500)
    raise RefusedError(relayed(status=answer.status, document=document, headers=answer.headers))


def _warnings(told: object) -> str:
    """Return the soft budgets that are exceeded as the value of a header: `soft_exceeded bdg_...`, each."""
    soft = [each for each in told if each.get("code") == SOFT] if isinstance(told, list) else []
    return ", ".join(f"{SOFT} {each.get('budget')}" for each in soft)


def _json_object(payload: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(payload)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
