"""Settlements on their way to the portal: to the journal first, then to the portal in batches, in order,
until it has taken them.

Delivery is at least once; the portal recognises what it has already booked, so the effect is exactly once.
One worker at a time delivers for all of them. A position file remembers how far the portal has acknowledged,
across restarts of either side.
"""

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from .journal import Journal, Page, Position
from .records import RELEASE_FIELDS, SETTLEMENT_FIELDS

log = logging.getLogger("purser")

BATCH = 500
LINGER_SECONDS = 0.2  # lets a batch form: a settlement is booked this much later, five posts a second
SYNC_SECONDS = 0.05  # what a power cut can lose of the journal; the death of the process loses nothing
POLL_SECONDS = 1.0  # how often other workers' lines, and a lock that came free, are looked for
LONGEST_PAUSE_SECONDS = 15.0
POSITION = "delivered"


class UndeliveredError(Exception):
    """The portal did not take a delivery now; it is tried again later."""


class TurnedAwayError(UndeliveredError):
    """The portal knows no gateway of this secret: an administrator may have switched this one off."""


class Receiver(Protocol):
    """Where deliveries go. Both raise UndeliveredError to be tried again.

    `settle` raises ValueError for a batch that it cannot read.
    """

    async def settle(self, items: Sequence[Mapping[str, object]]) -> Sequence[Mapping[str, object]]: ...

    async def release(self, body: Mapping[str, object]) -> str: ...


class Delivery:
    """Writes lines to the journal, and runs a worker's two background jobs: sync it, deliver it."""

    def __init__(self, journal: Journal, receiver: Receiver, *, keep_days: int) -> None:
        self._journal = journal
        self._receiver = receiver
        self._keep_days = keep_days
        self._waiting: list[bytes] = []
        self._added = asyncio.Event()
        self._arrived = asyncio.Event()
        self.healthy = True

    def add(self, line: bytes) -> Position | None:
        """Write a line to the journal; return the position after it.

        While the disk refuses, lines wait in memory, `healthy` is false and there is no position.
        """
        self._waiting.append(line)
        position = self.write()
        self._added.set()
        self._arrived.set()
        return position

    def note(self, line: bytes) -> bool:
        """Write a line that only a pull reads, synced with the next delivered one; whether it is written."""
        self._waiting.append(line)
        return self.write() is not None

    def write(self) -> Position | None:
        """Write the lines that wait; return the position after them, None when nothing was written."""
        if not self._waiting:
            return None
        try:
            position = self._journal.append(self._waiting)
        except OSError as error:
            self.healthy = False
            log.error("purser.journal_unwritable: %s lines wait: %s", len(self._waiting), error)
            return None
        self.healthy = True
        self._waiting = []
        return position

    def delivered(self) -> Position:
        """Return the position up to which the portal has acknowledged the journal, whichever worker asked."""
        return self._journal.load_position(POSITION)

    async def sync_forever(self) -> None:
        """Sync the journal soon after lines came, many to one sync; write again what the disk refused."""
        while True:
            await self._added.wait()
            self._added.clear()
            await asyncio.sleep(SYNC_SECONDS)
            try:
                await asyncio.to_thread(self._journal.sync)
            except OSError as error:
                log.error("purser.journal_not_synced: %s", error)
            while not self.healthy:
                await asyncio.sleep(POLL_SECONDS)
                self.write()

    async def deliver_forever(self) -> None:
        """Deliver the journal from where the portal left off; wait while another worker does it."""
        while True:
            try:
                with self._journal.lock("deliver", wait=False):
                    await self._deliver_while_mine()
            except BlockingIOError:
                await asyncio.sleep(POLL_SECONDS)
            except OSError as error:
                log.error("purser.journal_unreadable: %s", error)
                await asyncio.sleep(LONGEST_PAUSE_SECONDS)

    async def _deliver_while_mine(self) -> None:
        position, failures = self._journal.load_position(POSITION), 0
        while True:
            page = await asyncio.to_thread(self._journal.read, position, limit=BATCH)
            try:
                await self.deliver(page)
            except UndeliveredError as error:
                failures += 1
                log.warning("purser.delivery_waits: %s, attempt %s", error, failures)
                await asyncio.sleep(random.uniform(0.5, 1.0) * min(LONGEST_PAUSE_SECONDS, 0.5 * 2**failures))  # noqa: S311
                continue
            failures = 0
            if page.position != position:
                position = page.position
                await asyncio.to_thread(self._remember, position)
            if not page.has_more:
                await self._next_lines()

    async def deliver(self, page: Page) -> None:
        """Deliver one page; raises UndeliveredError when any of it must be tried again."""
        settlements = [item for item in page.items if item.get("kind") == "settle"]
        if settlements:
            await self._settle(
                [{name: item[name] for name in SETTLEMENT_FIELDS if name in item} for item in settlements]
            )
        for item in page.items:
            # A call under a lease that consumed nothing is the leases' own to release, if it was told at all.
            if item.get("kind") == "release" and not item.get("lease"):
                answer = await self._receiver.release({name: item.get(name) for name in RELEASE_FIELDS})
                log.debug("purser.released: %s %s", item.get("id"), answer)

    async def _settle(self, items: Sequence[Mapping[str, object]]) -> None:
        """Settle a batch. One that cannot be read is halved, so that a bad line never blocks the others."""
        try:
            results = await self._receiver.settle(items)
        except ValueError as error:
            if len(items) == 1:
                log.error("purser.settlement_refused: %s %s", items[0].get("reservation"), error)
                return
            middle = len(items) // 2
            await self._settle(items[:middle])
            await self._settle(items[middle:])
            return
        for result in results:
            if result.get("status") not in ("settled", "late", "duplicate"):
                log.error(
                    "purser.settlement_kept_apart: %s %s %s",
                    result.get("reservation"),
                    result.get("status"),
                    result.get("detail"),
                )

    async def _next_lines(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._arrived.wait()
            await asyncio.sleep(LINGER_SECONDS)
        except TimeoutError:
            pass
        self._arrived.clear()

    def _remember(self, position: Position) -> None:
        self._journal.save_position(POSITION, position)
        self._journal.prune(older_than_days=self._keep_days, delivered=position)
