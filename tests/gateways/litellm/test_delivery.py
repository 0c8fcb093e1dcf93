"""Settlements reach the portal once it takes them, in order, and none is dropped on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.plugins.litellm.purser_plugin import delivery as module
from gateway.plugins.litellm.purser_plugin import records
from gateway.plugins.litellm.purser_plugin.calls import Call, Register
from gateway.plugins.litellm.purser_plugin.delivery import Delivery, UndeliveredError
from gateway.plugins.litellm.purser_plugin.journal import Journal, Position
from gateway.plugins.litellm.purser_plugin.withdrawals import Withdrawals

SECONDS = 10


@dataclass
class Portal:
    """The receiving end: down for its first calls, unable to read some batches."""

    down_for: int = 0
    unreadable: set[str] = field(default_factory=set)
    settled: list[str] = field(default_factory=list)
    items: list[Mapping[str, object]] = field(default_factory=list)
    released: list[str] = field(default_factory=list)

    async def settle(self, items: Sequence[Mapping[str, object]]) -> Sequence[Mapping[str, object]]:
        self._answer()
        if any(item["reservation"] in self.unreadable for item in items):
            raise ValueError("400 invalid_request")
        self.items += items
        self.settled += [str(item["reservation"]) for item in items]
        return [{"reservation": item["reservation"], "status": "settled"} for item in items]

    async def release(self, body: Mapping[str, object]) -> str:
        self._answer()
        self.released.append(str(body["reservation"]))
        return "released"

    def _answer(self) -> None:
        if self.down_for:
            self.down_for -= 1
            raise UndeliveredError("503 decision_unavailable")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less than in earnest."""
    for name, seconds in (
        ("LINGER_SECONDS", 0.01),
        ("SYNC_SECONDS", 0.001),
        ("POLL_SECONDS", 0.05),
        ("LONGEST_PAUSE_SECONDS", 0.05),
    ):
        monkeypatch.setattr(module, name, seconds)


def call(number: int) -> Call:
    """Return one call in flight."""
    return Call(
        reservation=f"rsv_{number}",
        request_id=f"r{number}",
        key_id="key_1",
        model="small",
        max_output_tokens=5,
        asked={},
    )


def settled_line(number: int) -> bytes:
    """Return the journal line of a settlement."""
    return records.settlement(call(number), usage={"input_tokens": 1}, served_model="small", finish="stop")


def run(
    directory: Path,
    portal: Portal,
    *,
    until: Callable[[], bool],
    add: Callable[[Delivery], object] = lambda _: None,
) -> Delivery:
    """Run the background jobs of one worker until a condition holds."""

    async def worker() -> Delivery:
        delivery = Delivery(Journal(directory, file_bytes=500), portal, keep_days=35)
        jobs = [asyncio.ensure_future(job()) for job in (delivery.sync_forever, delivery.deliver_forever)]
        add(delivery)
        await reached(until)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        return delivery

    return asyncio.run(worker())


async def reached(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  what is waited for happens in files and lists
            await asyncio.sleep(0.005)


def add_lines(*numbers: int) -> Callable[[Delivery], None]:
    """Return what adds these settlements."""

    def add(delivery: Delivery) -> None:
        for number in numbers:
            delivery.add(settled_line(number))

    return add


def test_settlements_and_releases_are_delivered_in_order(tmp_path: Path) -> None:
    portal = Portal()

    def add(delivery: Delivery) -> None:
        add_lines(1, 2)(delivery)
        delivery.add(records.release(call(3), reason="upstream_refused"))

    run(tmp_path, portal, add=add, until=lambda: len(portal.settled) == 2 and len(portal.released) == 1)
    assert (portal.settled, portal.released) == (["rsv_1", "rsv_2"], ["rsv_3"])


def test_a_call_under_a_lease_tells_of_it_and_its_release_is_nobodys_business(tmp_path: Path) -> None:
    portal = Portal()

    def add(delivery: Delivery) -> None:
        for number in (1, 2):
            leased = call(number)
            leased.leased = {"lease": "lse_1", "call": {"n": 1}}
            usage = {"input_tokens": 1}
            delivery.add(records.settlement(leased, usage=usage, served_model="small", finish="stop"))
            delivery.add(records.release(leased, reason="upstream_refused"))
        delivery.add(settled_line(3))

    run(tmp_path, portal, add=add, until=lambda: len(portal.settled) == 3)
    assert portal.released == []
    assert [(item.get("lease"), item.get("call")) for item in portal.items] == [
        ("lse_1", {"n": 1}),
        ("lse_1", {"n": 1}),
        (None, None),
    ]


def test_what_a_worker_allows_by_itself_is_in_the_journal_before_it_is_sent_and_is_not_delivered(
    tmp_path: Path,
) -> None:
    portal = Portal()
    leased = call(1)
    leased.leased = {"lease": "lse_1", "call": {"n": 1}}

    def add(delivery: Delivery) -> None:
        assert delivery.note(records.allowed(leased))
        [line] = Journal(tmp_path, file_bytes=500).read(Position(), limit=9).items
        assert (line["kind"], line["id"], line["lease"]) == ("allowed", "rsv_1", "lse_1")
        delivery.add(settled_line(2))

    run(tmp_path, portal, add=add, until=lambda: bool(portal.settled))
    assert (portal.settled, portal.released) == (["rsv_2"], [])


def test_a_call_that_cannot_be_written_down_is_not_allowed(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "00000001.jsonl").symlink_to("/dev/full")
    delivery = Delivery(Journal(tmp_path, file_bytes=500), Portal(), keep_days=35)
    assert not delivery.note(records.allowed(call(1)))
    assert not delivery.healthy


def test_a_line_is_delivered_when_the_portal_is_past_its_position(tmp_path: Path) -> None:
    portal = Portal()
    positions: list[Position] = []

    def add(delivery: Delivery) -> None:
        for number in range(5):
            position = delivery.add(settled_line(number))
            assert position is not None
            positions.append(position)

    delivery = run(tmp_path, portal, add=add, until=(tmp_path / "delivered.position").exists)
    assert positions == sorted(set(positions))
    assert len({position.file for position in positions}) > 1
    assert delivery.delivered() == positions[-1]


def test_a_portal_that_is_down_gets_everything_when_it_is_back(tmp_path: Path) -> None:
    portal = Portal(down_for=4)
    run(tmp_path, portal, add=add_lines(*range(30)), until=lambda: len(portal.settled) == 30)
    assert portal.settled == [f"rsv_{number}" for number in range(30)]


def test_what_a_dead_worker_wrote_is_delivered_by_the_next_from_where_it_stopped(tmp_path: Path) -> None:
    first, second = Portal(), Portal()
    run(tmp_path, first, add=add_lines(1, 2), until=(tmp_path / "delivered.position").exists)
    Journal(tmp_path, file_bytes=500).append([settled_line(3)])
    run(tmp_path, second, until=lambda: second.settled != [])
    assert (first.settled, second.settled) == (["rsv_1", "rsv_2"], ["rsv_3"])


def test_a_line_that_the_portal_cannot_read_never_blocks_the_others(tmp_path: Path) -> None:
    portal = Portal(unreadable={"rsv_5", "rsv_6"})
    run(tmp_path, portal, add=add_lines(*range(12)), until=lambda: len(portal.settled) == 10)
    assert set(portal.settled) == {f"rsv_{number}" for number in range(12)} - portal.unreadable


def test_only_one_worker_delivers_at_a_time(tmp_path: Path) -> None:
    portal, other = Portal(), Journal(tmp_path, file_bytes=500)
    other.append([settled_line(1)])
    with other.lock("deliver", wait=False):
        delivery = run(
            tmp_path, portal, add=add_lines(2), until=lambda: len(other.read(Position(), limit=9).items) == 2
        )
    assert portal.settled == []
    assert delivery.healthy


def test_lines_wait_in_memory_while_the_disk_refuses_and_the_gateway_is_unhealthy(tmp_path: Path) -> None:
    portal, directory = Portal(), tmp_path / "journal"
    directory.mkdir()
    (directory / "00000001.jsonl").symlink_to("/dev/full")

    async def worker() -> None:
        delivery = Delivery(Journal(tmp_path, file_bytes=500), portal, keep_days=35)
        add_lines(1, 2)(delivery)
        assert not delivery.healthy
        (directory / "00000001.jsonl").unlink()
        delivery._journal._descriptor = None  # what a remount does
        job = asyncio.ensure_future(delivery.sync_forever())
        await reached(lambda: delivery.healthy)
        job.cancel()

    asyncio.run(worker())
    assert [item["id"] for item in Journal(tmp_path, file_bytes=500).read(Position(), limit=9).items] == [
        "rsv_1",
        "rsv_2",
    ]


def test_a_line_holds_what_a_settlement_needs_and_no_key() -> None:
    line = json.loads(
        records.settlement(
            call(1),
            usage={"input_tokens": 5},
            served_model="large",
            finish="length",
            estimated=True,
            provider_id="x" * 300,
        )
    )
    assert {line["id"], line["reservation"]} == {"rsv_1"}
    assert (line["request_id"], line["key_id"], line["model"], line["served_model"]) == (
        "r1",
        "key_1",
        "small",
        "large",
    )
    assert (line["finish"], line["estimated"], line["cache_hit"], len(line["provider_id"])) == (
        "length",
        True,
        False,
        100,
    )


def test_a_call_closes_once() -> None:
    register, one = Register(), call(1)
    register.open(one)
    assert register.find("rsv_1") is one
    assert register.find("rsv_made_up") is None
    assert register.find(["rsv_1"]) is None
    assert register.close(one)
    assert not register.close(one)
    assert register.find("rsv_1") is None
    assert len(register) == 0


def test_a_withdrawal_is_repeated_until_the_portal_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.plugins.litellm.purser_plugin.withdrawals.PAUSE_SECONDS", 0.001)
    asked: list[str] = []

    async def withdraw(body: Mapping[str, object]) -> bool:
        asked.append(str(body["request_id"]))
        return len(asked) > 2

    async def worker() -> None:
        withdrawals = Withdrawals(withdraw)
        job: asyncio.Future[None] = asyncio.ensure_future(withdrawals.run_forever())
        for name in ("a", "b"):
            withdrawals.add({"request_id": name})
        await reached(lambda: len(asked) == 4)
        assert len(withdrawals) == 0
        job.cancel()

    asyncio.run(worker())
    assert asked == ["a", "a", "a", "b"]


def test_what_litellm_reckons_stays_in_the_journal(tmp_path: Path) -> None:
    portal = Portal()
    told = records.settlement(
        call(1), usage={"input_tokens": 1}, served_model="small", finish="stop", cost_usd=1.2e-05
    )
    unknown = records.settlement(
        call(2), usage={"input_tokens": 1}, served_model="small", finish="stop", cost_usd=0.0
    )

    run(tmp_path, portal, add=lambda delivery: delivery.add(told), until=lambda: len(portal.settled) == 1)

    assert (json.loads(told)["cost_usd"], json.loads(unknown)["cost_usd"]) == ("0.000012000000", None)
    assert "cost_usd" not in records.SETTLEMENT_FIELDS  # the portal prices what it is told
