"""Questions that the portal may have answered after nobody was waiting any more: their holds are given back.

A call is refused when no decision comes in time, but the portal may still reserve money for it. The same
question is asked again (the same request_id gets the same answer and holds nothing twice) until it is
answered, and what it reserved is released. What is lost with the process is released by the portal when the
hold's time is over.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

MOST_WAITING = 10_000
PAUSE_SECONDS = 1.0

Body = Mapping[str, object]
Withdraw = Callable[
    [Body], Awaitable[bool]
]  # asks again; whether there is an answer by now, its hold released


class Withdrawals:
    """The questions to be withdrawn, in memory, oldest first; beyond the limit the oldest is left to the
    portal's expiry.
    """

    def __init__(self, withdraw: Withdraw) -> None:
        self._withdraw = withdraw
        self._waiting: deque[Body] = deque(maxlen=MOST_WAITING)
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, body: Body) -> None:
        """Take a question that is to be withdrawn."""
        self._waiting.append(body)
        self._arrived.set()

    async def run_forever(self) -> None:
        """Withdraw one question after the other, for ever; pause while the portal does not answer."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                body = self._waiting.popleft()
                if not await self._withdraw(body):
                    self._waiting.appendleft(body)
                    await asyncio.sleep(PAUSE_SECONDS)
