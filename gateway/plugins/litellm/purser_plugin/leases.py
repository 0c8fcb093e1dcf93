"""Leases: money that this worker holds at the portal, to decide calls of busy keys by itself for a while.

A lease belongs to one key calling one model. It is asked for, renewed and given back in the background; a
call only ever looks at what is here. What a call may cost at most is taken off the lease and not put back:
settling the call frees the rest at the portal. A lease is over when the portal recalls it, when its time ends
by this worker's own monotonic clock, or when the worker stops; it is given back then, except for what its
calls need that the portal has not heard of.

Calls in flight are told with every poll, once each, so that the portal charges them should this host never
be heard of again. One that was told and consumed nothing is released there.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from .answers import Answer
from .bodies import ROUTES, Question
from .calls import Call, Exchange
from .delivery import TurnedAwayError, UndeliveredError
from .holdings import Hold, Lease, Path, PathName, is_plain, leased_call, new_wish, path_name
from .journal import Position
from .terms import Grant, UnreadableGrantError, read_grant, wire_usd

log = logging.getLogger("purser")

POLL_SECONDS = 0.5
MARGIN_SECONDS = 2.0  # a lease is not used at its very end: the two clocks do not run alike
PAUSE_SECONDS = 1.0  # after an answer that gave less than was wanted, or none
REFUSED_SECONDS = 30.0  # after a refusal: a rate limit on the path, an exhausted budget
FORGET_SECONDS = 3_600.0  # the portal has reclaimed a lease by then, whatever became of its calls
MOST_PATHS = 10_000
MOST_TOLD = 500  # calls in one poll: half of what the portal reads; the others go with the next

Clock = Callable[[], float]


class Lender(Protocol):
    """The portal's side. All raise UndeliveredError when there is no answer."""

    async def lease(self, body: Mapping[str, object]) -> Answer: ...

    async def poll_leases(self, node: str, *, allowed: Sequence[Mapping[str, object]]) -> Collection[str]: ...

    async def release(self, body: Mapping[str, object]) -> str: ...

    async def return_lease(self, lease: str, *, keep: str) -> bool: ...


class Leases:
    """The leases of one worker, which is one node for the portal."""

    def __init__(
        self,
        lender: Lender,
        *,
        want_usd: Decimal,
        delivered: Callable[[], Position],
        clock: Clock = time.monotonic,
    ) -> None:
        self.node = f"{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lender = lender
        self._want_usd = want_usd
        self._delivered = delivered
        self._clock = clock
        self._paths: dict[PathName, Path] = {}
        self._held: dict[str, Lease] = {}
        self._begun = asyncio.Event()
        self._asks: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()  # calls in flight that the portal may have heard of
        self._unreleased: list[str] = []  # those of them that have consumed nothing
        self._away = False  # whether the portal left the last question without an answer

    def __len__(self) -> int:
        return len(self._held)

    def decide(self, exchange: Exchange, question: Question, asked: Mapping[str, object]) -> Call | None:
        """Allow a call under a lease; None when the portal must decide.

        A call is cut to what the lease holds only while no more can be had.
        """
        path = self._paths.get(path_name(exchange, question))
        lease, now = path.lease if path is not None else None, self._clock()
        if path is None or lease is None or lease.stopped or now >= lease.ends_at:
            return None
        if not is_plain(exchange, question, lease.terms):
            return None
        decided = lease.terms.decide(
            bound=sum(question.bound.values()),
            asked=question.max_output_tokens,
            choices=question.n,
            left_usd=lease.left_usd,
            clamp=self._away or lease.scarce,
        )
        if decided is None:
            return None
        call = leased_call(exchange, question, lease, decided, asked)
        lease.left_usd -= decided.held_usd
        lease.holds[call.reservation] = Hold(decided.held_usd, call.leased)
        if lease.is_low(now):
            self._ask_soon(path)
        return call

    def allowed(self, exchange: Exchange, question: Question) -> None:
        """Note that the portal allowed a call: a few of them at once make a lease worth while."""
        name, now = path_name(exchange, question), self._clock()
        if exchange.key is None:
            return
        if name not in self._paths:
            self._forget_paths(now)
            self._paths[name] = Path(exchange.key, question.model, ROUTES[exchange.path].path)
        path = self._paths[name]
        path.allowed_at.append(now)
        if path.is_busy(now) and (path.lease is None or path.lease.is_low(now)):
            self._ask_soon(path)

    def closed(self, call: Call, position: Position | None, *, released: bool) -> None:
        """Note where the journal tells of a finished call; one that consumed nothing holds nothing more."""
        lease = self._held.get(str(call.leased.get("lease")))
        if lease is not None and call.reservation in lease.holds:
            hold = lease.holds[call.reservation]
            hold.position, hold.ended = position, True
        if call.reservation in self._told:
            self._told.remove(call.reservation)
            if released:
                self._unreleased.append(call.reservation)
                self._begun.set()

    async def run_forever(self) -> None:
        """Look after the leases while there are any, twice a second."""
        while True:
            if not self._held and not self._unreleased:
                self._begun.clear()
                await self._begun.wait()
            await asyncio.sleep(POLL_SECONDS)
            await self.look_after()

    async def look_after(self) -> None:
        """Stop what has ended or was recalled, tell of what is in flight, and give back what is stopped."""
        self._forget_delivered()
        now = self._clock()
        for lease in list(self._held.values()):
            if now >= lease.ends_at:
                self._stop(lease)
            if now >= lease.ends_at + FORGET_SECONDS:
                self._drop(lease)
        try:
            await self._poll()
            await self._release()
            for lease in [lease for lease in self._held.values() if lease.stopped]:
                await self._give_back(lease)
        except TurnedAwayError as error:
            for lease in self._held.values():
                self._stop(lease)
            self._notice_absence(error, "none is used any more")
        except UndeliveredError as error:
            self._notice_absence(error)
        else:
            self._away = False

    async def give_all_back(self) -> None:
        """Stop every lease and give it back, best effort: the worker is about to end."""
        for lease in self._held.values():
            self._stop(lease)
        await self.look_after()

    async def _poll(self) -> None:
        """Tell of the calls in flight, and stop the leases that the portal recalls."""
        flying = {name: hold for lease in self._held.values() for name, hold in lease.in_flight().items()}
        told = dict(list(flying.items())[:MOST_TOLD])
        if not told and all(lease.stopped for lease in self._held.values()):
            return
        self._told |= told.keys()  # before there is an answer: it may be lost
        recalled = await self._lender.poll_leases(
            self.node, allowed=[{"reservation": name, **hold.leased} for name, hold in told.items()]
        )
        for hold in told.values():
            hold.heard = True
        for lease in [self._held[found] for found in recalled if found in self._held]:
            self._stop(lease)

    async def _release(self) -> None:
        """Release what was told to be in flight and consumed nothing; after the poll, so that it is there."""
        while self._unreleased:
            await self._lender.release({"reservation": self._unreleased[0]})
            self._unreleased.pop(0)

    def _ask_soon(self, path: Path) -> None:
        if path.asking or self._clock() < path.not_before:
            return
        path.asking = True
        task = asyncio.get_running_loop().create_task(self._ask(path))
        self._asks.add(task)
        task.add_done_callback(self._asks.discard)

    async def _ask(self, path: Path) -> None:
        """Ask for a lease, or for more of the one that there is."""
        asked_at, lease = self._clock(), path.lease
        body = {
            "node": self.node,
            "lease": lease.id if lease is not None else path.wish,
            "key": path.key,
            "model": path.model,
            "route": path.route,
            "want_usd": wire_usd(self._want_usd),
        }
        try:
            answer = await self._lender.lease(body)
            self._away = False
            if answer.status == 200:
                self._granted(path, lease, read_grant(answer.document), asked_at)
            else:
                self._refused(path, answer)
        except UndeliveredError as error:
            self._notice_absence(error)
            path.not_before = self._clock() + PAUSE_SECONDS
        except UnreadableGrantError as error:
            log.error("purser.lease_unreadable: %s", error)
            path.not_before = self._clock() + REFUSED_SECONDS
        finally:
            path.asking = False

    def _granted(self, path: Path, asked: Lease | None, grant: Grant, asked_at: float) -> None:
        """Add what was granted. A lease that was stopped meanwhile stays so and is given back again."""
        path.wish = new_wish()
        lease = asked if asked is not None and asked.id == grant.lease else Lease(grant.lease, grant.terms)
        if lease.stopped:
            lease.kept_usd = None
            return
        if path.lease is not None and path.lease is not lease:
            self._stop(path.lease)
        lease.terms = grant.terms
        lease.left_usd += grant.added_usd
        lease.size_usd = lease.left_usd
        lease.scarce = grant.added_usd < self._want_usd
        lease.seconds = grant.seconds - MARGIN_SECONDS
        lease.ends_at = asked_at + lease.seconds
        path.lease = self._held[lease.id] = lease
        path.not_before = self._clock() + (PAUSE_SECONDS if lease.scarce else 0)
        self._begun.set()

    def _refused(self, path: Path, answer: Answer) -> None:
        """Leave a path alone for a while. What refuses the key refuses the lease that it has."""
        log.info("purser.lease_refused: %s %s", answer.status, answer.document.get("code"))
        path.not_before = self._clock() + REFUSED_SECONDS
        if path.lease is not None and answer.status != 429:
            self._stop(path.lease)

    async def _give_back(self, lease: Lease) -> None:
        """Give back what no call needs; forget the lease when no call needs anything."""
        keep_usd = lease.owed_usd()
        if lease.kept_usd == keep_usd:
            return
        lease.kept_usd = keep_usd
        try:
            over = await self._lender.return_lease(lease.id, keep=wire_usd(keep_usd))
        except UndeliveredError:
            lease.kept_usd = None
            raise
        if over and lease.kept_usd is not None:
            self._drop(lease)

    def _stop(self, lease: Lease) -> None:
        lease.stopped = True
        for path in self._paths.values():
            if path.lease is lease:
                path.lease = None

    def _drop(self, lease: Lease) -> None:
        self._stop(lease)
        self._held.pop(lease.id, None)

    def _notice_absence(self, error: UndeliveredError, so: str = "they are used until they end") -> None:
        if not self._away:
            log.warning("purser.leases_without_portal: %s; %s", error, so)
        self._away = True

    def _forget_delivered(self) -> None:
        """Forget the holds of calls that the portal has heard of."""
        delivered = self._delivered()
        for lease in self._held.values():
            lease.holds = {
                name: hold
                for name, hold in lease.holds.items()
                if hold.position is None or hold.position > delivered
            }

    def _forget_paths(self, now: float) -> None:
        if len(self._paths) >= MOST_PATHS:
            self._paths = {
                name: path
                for name, path in self._paths.items()
                if path.lease or path.asking or path.is_busy(now)
            }
