"""A deadline is the portal's: the time in which the worker's own event loop stood still is not on it."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.plugins.litellm.purser_plugin.waiting import is_done_within, within


def test_answer_that_came_while_the_loop_stood_still_is_taken() -> None:
    async def told() -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def first_call() -> None:
            time.sleep(1)  # noqa: ASYNC251  as LiteLLM does
            asyncio.get_running_loop().call_later(0.1, answer.set_result, "yes")

        async def asked() -> str:
            return await answer

        stopped = asyncio.create_task(first_call())
        found = await within(0.8, asked())
        await stopped
        return found

    assert asyncio.run(told()) == "yes"


def test_answer_that_does_not_come_ends_the_wait_and_the_question() -> None:
    ended: list[str] = []

    async def never() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("let go")
            raise

    async def told() -> None:
        with pytest.raises(TimeoutError):
            await within(0.3, never())
        await asyncio.sleep(0)

    begun = time.monotonic()
    asyncio.run(told())
    assert 0.3 <= time.monotonic() - begun < 5
    assert ended == ["let go"]


def test_task_that_is_waited_for_goes_on_after_the_wait() -> None:
    async def told() -> tuple[bool, bool]:
        task = asyncio.create_task(asyncio.sleep(0.2))
        return await is_done_within(0.05, task), await is_done_within(10, task)

    assert asyncio.run(told()) == (False, True)
