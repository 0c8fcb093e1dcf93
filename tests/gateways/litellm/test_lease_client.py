"""A worker decides calls by itself while it holds a lease, and never with more money or time than it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from gateway.plugins.litellm.purser_plugin import leases as module
from gateway.plugins.litellm.purser_plugin.answers import Answer
from gateway.plugins.litellm.purser_plugin.bodies import Question
from gateway.plugins.litellm.purser_plugin.calls import Call, Exchange
from gateway.plugins.litellm.purser_plugin.delivery import TurnedAwayError, UndeliveredError
from gateway.plugins.litellm.purser_plugin.holdings import Lease
from gateway.plugins.litellm.purser_plugin.journal import Position
from gateway.plugins.litellm.purser_plugin.leases import (
    MARGIN_SECONDS,
    PAUSE_SECONDS,
    REFUSED_SECONDS,
    Leases,
)

TERMS = {
    "key_id": "key_1",
    "project": "search-rank",
    "input_usd": "0.000001000000000",
    "output_usd": "0.000002000000000",
    "request_usd": "0.000000000000000",
    "context_window_tokens": 100_000,
    "max_output_tokens": 8_000,
    "default_output_tokens": 4_000,
    "floor_output_tokens": 256,
}
HELD = Decimal("0.0012")  # 1,000 bytes in at 1 µ$, 100 tokens out at 2 µ$


@dataclass
class Lender:
    """The portal's side: lends what it is told to, and remembers what came back."""

    adds: str = "1.000000000000"
    seconds: float = 30.0
    refuses: tuple[int, str] | None = None
    down: bool = False
    off: bool = False
    stop: set[str] = field(default_factory=set)
    wishes: list[Mapping[str, object]] = field(default_factory=list)
    returned: list[tuple[str, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    polls: int = 0
    leases: int = 0

    async def lease(self, body: Mapping[str, object]) -> Answer:
        self.wishes.append(body)
        self._answer()
        if self.refuses is not None:
            return Answer(status=self.refuses[0], headers={}, document={"code": self.refuses[1]})
        if is_wish(body):
            self.leases += 1
        name = f"lse_{self.leases}" if is_wish(body) else body["lease"]
        grant = {"lease": name, "added_usd": self.adds, "seconds": self.seconds}
        return Answer(status=200, headers={}, document=TERMS | grant)

    async def poll_leases(self, node: str, *, allowed: Sequence[Mapping[str, object]]) -> Collection[str]:
        self.polls += 1
        self.told += [str(item["reservation"]) for item in allowed]
        self._answer()
        return self.stop

    async def release(self, body: Mapping[str, object]) -> str:
        self._answer()
        self.released.append(str(body["reservation"]))
        return "released"

    async def return_lease(self, lease: str, *, keep: str) -> bool:
        self._answer()
        self.returned.append((lease, keep))
        return not Decimal(keep)

    def _answer(self) -> None:
        if self.down:
            raise UndeliveredError("ClientConnectorError")
        if self.off:
            raise TurnedAwayError("401 gateway_unknown")


@dataclass
class Worker:
    """A worker with its leases, a clock that a test moves, and the journal's delivered position."""

    lender: Lender = field(default_factory=Lender)
    now: float = 1_000.0
    delivered: Position = field(default_factory=Position)
    want: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        self.leases = Leases(
            self.lender, want_usd=self.want, delivered=lambda: self.delivered, clock=lambda: self.now
        )

    async def is_busy(self, **changes: Any) -> None:
        """Have the portal allow three calls at once."""
        for _ in range(3):
            self.leases.allowed(exchange(), question(**changes))
        await settled()

    async def call(self, **changes: Any) -> Call | None:
        """Decide one call."""
        project = changes.pop("project", None)
        found = self.leases.decide(exchange(project=project), question(**changes), {})
        await settled()
        return found

    async def ends(self, call: Call | None, *, released: bool = False) -> None:
        """Have the journal tell of the end of a call; the portal does not know it yet."""
        assert call is not None
        self.leases.closed(call, Position(1, 100), released=released)

    @property
    def held(self) -> list[Lease]:
        return list(self.leases._held.values())


def exchange(*, path: str = "/v1/chat/completions", project: str | None = None) -> Exchange:
    return Exchange(path=path, method="POST", key="psr_live_x", fingerprint="psr_1", project_id=project)


def question(**changes: Any) -> Question:
    asked: dict[str, Any] = {
        "model": "small",
        "n": 1,
        "max_output_tokens": 100,
        "context": "standard",
        "stream": False,
        "bound": {"input_bytes": 1_000},
    }
    return Question(**asked | changes)


def is_wish(body: Mapping[str, object]) -> bool:
    """Whether a lease is asked for by a name that the worker made up."""
    return str(body["lease"]).startswith("wish_")


async def settled() -> None:
    """Let what was begun in the background end."""
    for _ in range(5):
        await asyncio.sleep(0)


def story(told: Callable[[Worker], Awaitable[None]]) -> Callable[[], None]:
    """Run a story about one worker on an event loop of its own."""

    def test() -> None:
        async def run() -> None:
            await told(Worker())

        asyncio.run(run())

    test.__name__ = told.__name__
    return test


@story
async def test_a_key_that_is_not_busy_gets_no_lease(worker: Worker) -> None:
    for _ in range(6):
        worker.leases.allowed(exchange(), question())
        worker.now += 6
    await settled()
    assert worker.lender.wishes == []
    assert await worker.call() is None


@story
async def test_a_busy_key_gets_a_lease_and_its_calls_are_decided_here(worker: Worker) -> None:
    await worker.is_busy()
    assert [wish["want_usd"] for wish in worker.lender.wishes] == ["1.000000000000"]
    call = await worker.call()
    assert call is not None
    assert (call.key_id, call.max_output_tokens) == ("key_1", 100)
    told = call.leased["call"]
    assert isinstance(told, dict)
    assert call.leased["lease"] == "lse_1"
    assert (told["held_usd"], told["input_tokens"], told["n"]) == ("0.001200000000", 1_000, 1)
    assert worker.held[0].left_usd == 1 - HELD


@story
async def test_a_wish_without_an_answer_is_asked_again_by_its_name_and_the_next_has_another(
    worker: Worker,
) -> None:
    worker.lender.down = True
    await worker.is_busy()
    worker.lender.down = False
    worker.now += PAUSE_SECONDS
    await worker.is_busy()
    worker.now += 60
    await worker.leases.look_after()
    await worker.is_busy()
    first, again, other = [wish["lease"] for wish in worker.lender.wishes]
    assert first == again != other
    assert all(is_wish(wish) for wish in worker.lender.wishes)


@story
async def test_a_lease_is_never_overdrawn(worker: Worker) -> None:
    worker.lender.adds = "0.005000000000"
    await worker.is_busy()
    worker.lender.down = True
    allowed = [call for _ in range(20) if (call := await worker.call()) is not None]
    held = sum(hold.usd for hold in worker.held[0].holds.values())
    assert len(allowed) == len(worker.held[0].holds)
    assert Decimal("0.0048") <= held <= Decimal("0.005")


@story
async def test_a_lease_is_renewed_when_less_than_a_third_of_the_money_is_left(worker: Worker) -> None:
    worker.lender.adds = "1.000000000000"
    await worker.is_busy()
    wide = {"max_output_tokens": 8_000, "bound": {"input_bytes": 84_000}}  # $0.1 each
    for _ in range(6):
        await worker.call(**wide)
    assert len(worker.lender.wishes) == 1
    await worker.call(**wide)
    assert is_wish(worker.lender.wishes[0])
    assert worker.lender.wishes[1]["lease"] == "lse_1"
    assert worker.held[0].left_usd == Decimal("1.3")


@story
async def test_a_lease_is_renewed_when_less_than_a_third_of_the_time_is_left(worker: Worker) -> None:
    await worker.is_busy()
    worker.now += 18
    await worker.call()
    assert len(worker.lender.wishes) == 1
    worker.now += 1
    await worker.call()
    assert len(worker.lender.wishes) == 2
    worker.now += 20
    assert await worker.call() is not None


@story
async def test_a_lease_is_not_used_in_its_last_seconds(worker: Worker) -> None:
    await worker.is_busy()
    worker.lender.down = True
    worker.now += 30 - MARGIN_SECONDS - 0.001
    assert await worker.call() is not None
    worker.now += 0.001
    assert await worker.call() is None


@story
async def test_the_time_counts_from_the_question_not_from_the_answer(worker: Worker) -> None:
    lend = worker.lender.lease

    async def slowly(body: Mapping[str, object]) -> Answer:
        answer = await lend(body)
        worker.now += 5
        return answer

    worker.lender.lease = slowly  # type: ignore[method-assign]
    await worker.is_busy()
    assert worker.held[0].ends_at == 1_000 + 30 - MARGIN_SECONDS


@story
async def test_calls_that_a_lease_is_not_for_are_left_to_the_portal(worker: Worker) -> None:
    await worker.is_busy()
    assert await worker.call(project="search-rank") is not None
    assert await worker.call(project="another") is None
    assert await worker.call(context="flex") is None
    assert await worker.call(n=129) is None
    assert await worker.call(model="large") is None
    embedding = exchange(path="/v1/embeddings")
    assert worker.leases.decide(embedding, question(max_output_tokens=None), {}) is None


@story
async def test_a_call_that_is_too_large_is_left_to_the_portal_while_it_answers(worker: Worker) -> None:
    await worker.is_busy()
    worker.held[0].left_usd = Decimal("0.0085")
    large = {"max_output_tokens": 8_000}
    assert await worker.call(**large) is None
    worker.lender.down = True
    await worker.leases.look_after()
    call = await worker.call(**large)
    assert call is not None
    assert call.max_output_tokens == 3_750
    assert worker.held[0].left_usd == 0


@story
async def test_a_scarce_lease_cuts_calls_down_to_the_floor_and_no_further(worker: Worker) -> None:
    worker.lender.adds = "0.001512000000"
    await worker.is_busy()
    call = await worker.call(max_output_tokens=500)
    assert call is not None
    assert call.max_output_tokens == 256
    worker.held[0].left_usd = Decimal("0.001511999999")
    assert await worker.call(max_output_tokens=500) is None


@story
async def test_scarce_money_is_not_asked_for_without_a_pause(worker: Worker) -> None:
    worker.lender.adds = "0.010000000000"
    await worker.is_busy()
    for _ in range(8):
        await worker.call()
    assert len(worker.lender.wishes) == 1
    worker.now += PAUSE_SECONDS
    await worker.call(max_output_tokens=1, bound={"input_bytes": 10})
    assert len(worker.lender.wishes) == 2


@pytest.mark.parametrize(("status", "code"), [(409, "lease_not_offered"), (429, "budget_held")])
def test_a_refused_lease_is_not_asked_for_again_soon(status: int, code: str) -> None:
    @story
    async def told(worker: Worker) -> None:
        worker.lender.refuses = (status, code)
        for _ in range(3):
            await worker.is_busy()
        assert len(worker.lender.wishes) == 1
        assert await worker.call() is None
        worker.now += REFUSED_SECONDS
        await worker.is_busy()
        assert len(worker.lender.wishes) == 2

    told()


@story
async def test_a_refused_renewal_ends_the_lease(worker: Worker) -> None:
    await worker.is_busy()
    worker.lender.refuses = (401, "invalid_api_key")
    worker.now += 25
    assert await worker.call() is not None
    assert await worker.call() is None
    worker.lender.refuses = None
    await worker.leases.look_after()
    assert worker.lender.returned == [("lse_1", "0.000000000000")]


@story
async def test_a_recalled_lease_is_not_used_and_given_back_but_for_what_calls_need(worker: Worker) -> None:
    await worker.is_busy()
    done, open_call = await worker.call(), await worker.call()
    assert done is not None
    assert open_call is not None
    worker.leases.closed(done, Position(1, 100), released=False)
    worker.lender.stop = {"lse_1", "lse_of_another_time"}
    await worker.leases.look_after()
    assert await worker.call() is None
    assert worker.lender.told == [open_call.reservation]  # whose hold is its own now
    assert worker.lender.returned == [("lse_1", "0.001200000000")]
    await worker.leases.look_after()
    worker.delivered = Position(1, 100)
    await worker.leases.look_after()
    assert [keep for _, keep in worker.lender.returned[1:]] == ["0.000000000000"]
    assert len(worker.leases) == 0


@story
async def test_no_lease_is_used_once_the_gateway_is_switched_off(worker: Worker) -> None:
    await worker.is_busy()
    assert await worker.call() is not None
    worker.lender.off = True
    assert await worker.call() is not None  # until the next poll
    await worker.leases.look_after()
    assert await worker.call() is None


@story
async def test_what_is_granted_to_a_recalled_lease_is_given_back_too(worker: Worker) -> None:
    await worker.is_busy()
    await worker.ends(await worker.call())
    lend, answered = worker.lender.lease, asyncio.Event()

    async def late(body: Mapping[str, object]) -> Answer:
        await answered.wait()
        return await lend(body)

    worker.lender.lease = late  # type: ignore[method-assign]
    worker.now += 25
    await worker.ends(await worker.call())
    worker.lender.stop = {"lse_1"}
    await worker.leases.look_after()
    answered.set()
    await settled()
    assert await worker.call() is None
    await worker.leases.look_after()
    assert worker.lender.returned == [("lse_1", "0.002400000000")] * 2


@story
async def test_a_late_answer_never_revives_a_lease_that_was_given_back(worker: Worker) -> None:
    await worker.is_busy()
    lend, answered = worker.lender.lease, asyncio.Event()

    async def late(body: Mapping[str, object]) -> Answer:
        await answered.wait()
        return await lend(body)

    worker.lender.lease = late  # type: ignore[method-assign]
    worker.now += 25
    await worker.is_busy()
    worker.lender.stop = {"lse_1"}
    await worker.leases.look_after()
    assert worker.lender.returned == [("lse_1", "0.000000000000")]
    answered.set()
    await settled()
    assert worker.lender.wishes[-1]["lease"] == "lse_1"
    assert await worker.call() is None
    assert len(worker.leases) == 0


@story
async def test_a_lease_that_cannot_go_on_is_replaced_and_given_back(worker: Worker) -> None:
    await worker.is_busy()
    lend = worker.lender.lease

    async def another(body: Mapping[str, object]) -> Answer:
        return await lend({**body, "lease": "wish_another"})

    worker.lender.lease = another  # type: ignore[method-assign]
    worker.now += 25
    await worker.call()
    call = await worker.call()
    assert call is not None
    assert call.leased["lease"] == "lse_2"
    await worker.leases.look_after()
    assert worker.lender.returned == [("lse_1", "0.000000000000")]


@story
async def test_keys_that_went_quiet_are_forgotten_and_those_with_a_lease_are_not(worker: Worker) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_PATHS", 3)
        await worker.is_busy()
        for number in range(20):
            worker.leases.allowed(exchange(), question(model=f"model-{number}"))
            assert len(worker.leases._paths) <= 3
        assert await worker.call() is not None


@story
async def test_without_the_portal_leases_are_used_until_they_end_and_given_back_later(worker: Worker) -> None:
    await worker.is_busy()
    worker.lender.down = True
    for _ in range(28):
        assert await worker.call() is not None
        await worker.leases.look_after()
        worker.now += 1
    assert await worker.call() is None
    await worker.leases.look_after()
    worker.lender.down = False
    await worker.leases.look_after()
    assert len(set(worker.lender.told)) == 28
    assert worker.lender.returned == [("lse_1", "0.000000000000")]


@story
async def test_an_idle_lease_ends_by_itself_and_nobody_is_asked_any_more(worker: Worker) -> None:
    await worker.is_busy()
    worker.now += 28
    await worker.leases.look_after()
    assert worker.lender.returned == [("lse_1", "0.000000000000")]
    assert (len(worker.leases), worker.lender.polls, len(worker.lender.wishes)) == (0, 0, 1)


@story
async def test_a_worker_that_ends_gives_everything_back(worker: Worker) -> None:
    await worker.is_busy()
    await worker.is_busy(model="large")
    assert len(worker.leases) == 2
    await worker.leases.give_all_back()
    assert worker.lender.returned == [("lse_1", "0.000000000000"), ("lse_2", "0.000000000000")]
    assert await worker.call() is None


@pytest.mark.parametrize(
    "damage", [{"seconds": None}, {"added_usd": "NaN"}, {"lease": 7}, {"input_usd": "x"}]
)
def test_an_answer_that_cannot_be_read_is_no_lease(
    damage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @story
    async def told(worker: Worker) -> None:
        lend = worker.lender.lease

        async def damaged(body: Mapping[str, object]) -> Answer:
            answer = await lend(body)
            return Answer(status=200, headers={}, document={**answer.document, **damage})

        monkeypatch.setattr(worker.lender, "lease", damaged)
        await worker.is_busy()
        assert await worker.call() is None
        assert len(worker.leases) == 0

    told()


@story
async def test_a_call_in_flight_is_told_once_and_one_that_ended_never(worker: Worker) -> None:
    await worker.is_busy()
    flying, ended = await worker.call(), await worker.call()
    await worker.ends(ended)
    for _ in range(3):
        await worker.leases.look_after()
    assert flying is not None
    assert worker.lender.told == [flying.reservation]


@story
async def test_a_call_whose_telling_had_no_answer_is_told_again(worker: Worker) -> None:
    await worker.is_busy()
    call = await worker.call()
    worker.lender.down = True
    await worker.leases.look_after()
    worker.lender.down = False
    await worker.leases.look_after()
    await worker.leases.look_after()
    assert call is not None
    assert worker.lender.told == [call.reservation] * 2


@story
async def test_only_what_was_told_is_released(worker: Worker) -> None:
    await worker.is_busy()
    told, untold = await worker.call(), None
    await worker.leases.look_after()
    untold = await worker.call()
    for call in (told, untold):
        await worker.ends(call, released=True)
    for _ in range(2):
        await worker.leases.look_after()
    assert told is not None
    assert worker.lender.released == [told.reservation]


@story
async def test_a_call_that_may_have_been_heard_of_is_released_when_the_portal_is_back(worker: Worker) -> None:
    await worker.is_busy()
    call = await worker.call()
    worker.lender.down = True
    await worker.leases.look_after()
    await worker.ends(call, released=True)
    await worker.leases.look_after()
    assert worker.lender.released == []
    worker.lender.down = False
    await worker.leases.look_after()
    assert call is not None
    assert worker.lender.released == [call.reservation]


@story
async def test_a_release_outlives_the_lease_of_its_call(worker: Worker) -> None:
    await worker.is_busy()
    call = await worker.call()
    worker.lender.stop = {"lse_1"}
    await worker.leases.look_after()
    assert len(worker.leases) == 0
    job = asyncio.create_task(worker.leases.run_forever())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "POLL_SECONDS", 0)
        await settled()
        await worker.ends(call, released=True)
        await settled()
    job.cancel()
    assert call is not None
    assert worker.lender.released == [call.reservation]


@story
async def test_many_calls_in_flight_are_told_over_some_polls(worker: Worker) -> None:
    await worker.is_busy()
    calls = [await worker.call() for _ in range(5)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_TOLD", 2)
        for told in (2, 4, 5, 5):
            await worker.leases.look_after()
            assert len(worker.lender.told) == told
    assert worker.lender.told == [call.reservation for call in calls if call]
