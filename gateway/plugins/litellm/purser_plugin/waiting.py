"""Deadlines that count only the time in which this worker's event loop turned.

LiteLLM's first call on a route stops the loop for seconds. What the portal answered meanwhile is read in the
next turn, so such a stop counts as one tick, however long it was: it is not the portal's time.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

TICK_SECONDS = 0.25

_Result = TypeVar("_Result")


async def is_done_within(seconds: float, task: "asyncio.Task[Any]") -> bool:
    """Wait for a task, but no longer than `seconds`; whether it is done."""
    left = seconds
    while left > 0 and not task.done():
        await asyncio.wait({task}, timeout=min(TICK_SECONDS, left))
        left -= TICK_SECONDS
    return task.done()


async def within(seconds: float, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return what comes of some work. Raises TimeoutError, and lets go of it then."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        if not await is_done_within(seconds, task):
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
