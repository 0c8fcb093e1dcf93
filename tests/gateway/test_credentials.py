"""Credentials of gateways in a web process: looked up once for all who wait, before what is kept is over, and
never for long without the database's word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core import clock
from gateway.auth import GatewaySignatureError, SignedRequest
from gateway.hot import asgi
from gateway.hot.asgi import DecisionApplication
from gateway.hot.credentials import KEEP_SECONDS, RENEW_SECONDS

GUS = "gw_gus"


class Ticks:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


class Asked(DecisionApplication):
    """An application whose database is a list of the gateways that there are; it can be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.there_are = {GUS}
        self.asked: list[str] = []
        self.under_way = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def _fetch(self, sql: str, params: Any) -> list[Any]:
        self.asked.append(params[0])
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        return [(1, params[0], [1], clock.now())] if params[0] in self.there_are else []


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    made = Ticks()
    monkeypatch.setattr(asgi, "time", made)
    return made


def run(story: Callable[[Asked], Awaitable[None]]) -> None:
    async def told() -> None:
        await story(Asked())

    asyncio.run(told())


def asks(application: Asked) -> bool:
    """Send one call by the short way, whose signature is wrong; say whether the credential was at hand."""
    waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    request = SignedRequest(
        method="POST", target="/gateway/v1/authorize", headers={"purser-gateway": GUS}, body=b"{}"
    )
    return application.decide_soon(request, waiter)


def test_all_who_wait_share_one_look_up(ticks: Ticks) -> None:
    async def story(application: Asked) -> None:
        application.gate.clear()
        waiting = [asyncio.create_task(application._credential(GUS)) for _ in range(50)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # one that leaves takes nobody with it
        await asyncio.sleep(0)
        application.gate.set()
        found = await asyncio.gather(*waiting[1:])
        assert {credential.public_id for credential in found} == {GUS}
        assert application.asked == [GUS]

    run(story)


def test_what_is_kept_is_renewed_once_while_it_still_serves(ticks: Ticks) -> None:
    async def story(application: Asked) -> None:
        assert not asks(application)
        await application._credential(GUS)
        ticks.seconds += RENEW_SECONDS - 0.01
        assert asks(application)
        assert application.asked == [GUS]
        ticks.seconds += 0.02
        application.gate.clear()
        assert all(asks(application) for _ in range(5))
        await asyncio.sleep(0)
        assert application.asked == [GUS] * 2
        application.gate.set()
        await asyncio.sleep(0.01)
        ticks.seconds += RENEW_SECONDS
        assert asks(application)

    run(story)


def test_a_gateway_is_out_a_second_after_the_database_last_said_that_it_is_in(ticks: Ticks) -> None:
    """Counted from before the question: how long the answer took does not lengthen it."""

    async def story(application: Asked) -> None:
        application.gate.clear()
        waiting = asyncio.create_task(application._credential(GUS))
        await asyncio.sleep(0.01)
        ticks.seconds += KEEP_SECONDS / 2
        application.gate.set()
        await waiting
        ticks.seconds += KEEP_SECONDS / 2 - 0.01
        assert asks(application)
        ticks.seconds += 0.02
        assert not asks(application)

    run(story)


def test_a_gateway_that_was_switched_off_is_out_with_the_renewal(ticks: Ticks) -> None:
    async def story(application: Asked) -> None:
        await application._credential(GUS)
        application.there_are.clear()
        ticks.seconds += RENEW_SECONDS
        assert asks(application)
        await asyncio.sleep(0.01)
        assert not asks(application)
        with pytest.raises(GatewaySignatureError):
            await application._credential(GUS)

    run(story)


def test_made_up_ids_leave_room_for_gateways(ticks: Ticks) -> None:
    async def story(application: Asked) -> None:
        await application._credential(GUS)
        ticks.seconds += RENEW_SECONDS
        application.gate.clear()
        strangers = [asyncio.create_task(application._credential(f"gw_{n}")) for n in range(20)]
        await asyncio.sleep(0.01)
        assert application.under_way == 2
        assert asks(application)
        await asyncio.sleep(0.01)
        assert application.asked.count(GUS) == 2
        application.gate.set()
        refused = await asyncio.gather(*strangers, return_exceptions=True)
        assert {type(each) for each in refused} == {GatewaySignatureError}

    run(story)
