"""nginx's log: read by position as it grows, is rotated or cut off; what no provider worked for is freed."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from budgets.models import Entry, Reservation, ReservationState
from gateway.models import GatewayLog
from gateway.tasks import log_of
from tests.gateway.conftest import World
from tests.sources.logged import allowed, line, pull
from usage.models import ImportCursor, Quarantine, UsageEvent
from usage.services.logs import LogCounts


def test_nginx_lines_are_read_as_they_come_and_half_a_line_waits(
    world: World, folder: Path, access: GatewayLog
) -> None:
    reservation = allowed(world)
    path = folder / "usage.log"
    path.write_bytes(line("r1", reservation=reservation) + line("r2")[:30])
    assert pull(access) == LogCounts(ours=1)
    with path.open("ab") as file:
        file.write(line("r2")[30:])
    assert pull(access) == LogCounts(others=1)
    assert pull(access) == LogCounts()
    assert UsageEvent.objects.get().cost_usd == Decimal("0.0003")


def test_nginx_lines_without_use_are_left_out(folder: Path, access: GatewayLog) -> None:
    (folder / "usage.log").write_bytes(
        line("denied", status=429, denied="429", usage="") + line("no-usage", usage="")
        + line("refused", status=403) + line("good")
    )  # fmt: skip
    assert pull(access) == LogCounts(others=1, skipped=3)


@pytest.mark.parametrize(
    "told",
    [
        {"status": 500, "connected": "0.001", "answered": "0.020"},
        {"status": 429, "connected": "0.001", "answered": "0.020"},
        {"status": 502, "connected": "-", "answered": "-"},
        {"status": 503, "denied": "decision_unavailable", "reservation": ""},
    ],
)
def test_what_is_held_for_a_call_that_no_provider_worked_for_is_freed_once(
    world: World, folder: Path, access: GatewayLog, told: dict[str, Any]
) -> None:
    held = Reservation.objects.get(public_id=allowed(world))
    unused = line(held.request_id, **{"reservation": held.public_id, "usage": "", **told})
    (folder / "usage.log").write_bytes(unused * 2)
    assert pull(access) == LogCounts(freed=2)
    held.refresh_from_db()
    assert held.state == ReservationState.RELEASED
    assert not Entry.objects.exists()
    with (folder / "usage.log").open("ab") as file:
        file.write(unused)
    assert pull(access) == LogCounts()


@pytest.mark.parametrize(
    "told",
    [
        {"status": 200, "connected": "0.001", "answered": "0.020", "completion": ""},
        {"status": 504, "connected": "0.001", "answered": "-"},
        {"status": 504, "connected": "0.001", "answered": "0.020"},
        {"status": 502, "connected": "0.001", "answered": "-"},
        {"status": 499, "connected": "-", "answered": "-"},
        {"status": 500},
        {"status": 429, "denied": "budget_held"},
    ],
)
def test_a_call_that_the_provider_may_have_worked_for_keeps_its_hold(
    world: World, folder: Path, access: GatewayLog, told: dict[str, Any]
) -> None:
    held = Reservation.objects.get(public_id=allowed(world))
    (folder / "usage.log").write_bytes(line("r1", reservation=held.public_id, usage="", **told))
    assert pull(access) == LogCounts(skipped=1)
    held.refresh_from_db()
    assert held.state == ReservationState.OPEN


def test_a_log_frees_nothing_of_another_gateway_and_nothing_that_was_settled(
    world: World, folder: Path, access: GatewayLog
) -> None:
    settled = Reservation.objects.get(public_id=allowed(world))
    world.gus.settle(settled.public_id)
    other = Reservation.objects.get(public_id=allowed(world))
    Reservation.objects.filter(pk=other.pk).update(source="gw_other")
    told = {"status": 500, "usage": "", "connected": "0.001", "answered": "0.020"}
    (folder / "usage.log").write_bytes(
        b"".join(line("r", reservation=held.public_id, **told) for held in (settled, other))
    )
    pull(access)
    assert [*Reservation.objects.order_by("pk").values_list("state", flat=True)] == [
        ReservationState.SETTLED,
        ReservationState.OPEN,
    ]
    assert Entry.objects.count() == 1


def test_nginx_lines_that_cannot_be_read_stop_nothing(folder: Path, access: GatewayLog) -> None:
    (folder / "usage.log").write_bytes(
        b"not json\n" + b"\xff\xfe\x00{}\n" + b"[]\n" + b"x" * 200_000 + b"\n" + line("", model="x")
        + line("bad", usage='{"prompt_tokens": -1}') + line("anthropic", usage='{"input_tokens": "many"}')
        + line("good")
    )  # fmt: skip
    counts = pull(access)
    assert (counts.others, counts.refused) == (1, 7)
    assert pull(access) == LogCounts()


def test_anthropic_usage_in_a_line_becomes_an_inclusive_total(folder: Path, access: GatewayLog) -> None:
    told = (
        '{"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3,'
        ' "output_tokens": 2}'
    )
    (folder / "usage.log").write_bytes(line("r", usage=told))
    page = log_of(access).page("", limit=10)
    assert page.rows[0].tokens == {
        "input_tokens": 18, "cached_tokens": 5, "cache_write_tokens": 3, "output_tokens": 2,
        "reasoning_tokens": 0,
    }  # fmt: skip


@pytest.mark.parametrize("way", ["moved", "moved twice", "copied and cut off"])
def test_what_a_rotated_file_still_holds_is_read(folder: Path, access: GatewayLog, way: str) -> None:
    path = folder / "usage.log"
    path.write_bytes(line("r1"))
    pull(access)
    with path.open("ab") as file:
        file.write(line("r2"))
    if way == "copied and cut off":
        (folder / "usage.log.1").write_bytes(path.read_bytes())
        os.truncate(path, 0)
    else:
        path.rename(folder / "usage.log.1")
    path.open("ab").close()
    with path.open("ab") as file:
        file.write(line("r3"))
    if way == "moved twice":
        (folder / "usage.log.1").rename(folder / "usage.log.2")
        path.rename(folder / "usage.log.1")
        os.utime(folder / "usage.log.2", (1, 1))
        path.write_bytes(line("r4"))
    pull(access)
    expected = {"r1", "r2", "r3"} | ({"r4"} if way == "moved twice" else set())
    assert set(Quarantine.objects.values_list("external_id", flat=True)) == expected


def test_a_file_that_was_cut_off_is_read_anew(folder: Path, access: GatewayLog) -> None:
    path = folder / "usage.log"
    path.write_bytes(line("r1") + line("r2"))
    pull(access)
    os.truncate(path, 0)
    with path.open("ab") as file:
        file.write(line("r3"))
    assert pull(access) == LogCounts(others=1)


def test_a_log_outside_of_its_directory_is_not_read(world: World, folder: Path, access: GatewayLog) -> None:
    (folder / "usage.log").unlink()
    (folder / "usage.log").symlink_to("/etc/passwd")
    pull(access)
    assert "are read below" in ImportCursor.objects.get().last_error
    assert not Quarantine.objects.exists()


def test_a_log_that_is_not_there_is_said(folder: Path, access: GatewayLog) -> None:
    (folder / "usage.log").unlink()
    pull(access)
    assert "cannot be read by the worker (FileNotFoundError)" in ImportCursor.objects.get().last_error
