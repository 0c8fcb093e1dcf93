"""Ordinary logs of gateways: calls of ours are their side of the books, others are shown to a person."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import time_machine
from pytest_django.fixtures import Settings

from budgets.models import Entry, ScopeKind
from core import clock
from gateway.models import GatewayLog, LogKind
from gateway.services import register_log
from gateway.tasks import log_of, pull_logs, pull_one_log, recount_logs
from tests.fakes.reports import Trouble
from tests.fakes.spend_logs import SpendLogs, row
from tests.gateway.conftest import World
from usage.models import GatewayCall, ImportCursor, Quarantine, UsageEvent
from usage.ports import SourceUnavailableError
from usage.services import pull_log
from usage.services.logs import LogCounts


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.GATEWAY_LOG_DIRECTORY = str(tmp_path)
    return tmp_path


@pytest.fixture
def access(world: World, folder: Path) -> GatewayLog:
    world.budget("key", kind=ScopeKind.KEY, limit="10")
    (folder / "usage.log").touch()
    return register_log(
        actor=None, gateway=world.gus.gateway, kind=LogKind.NGINX, place=str(folder / "usage.log")
    )


def pull(log: GatewayLog) -> LogCounts:
    ImportCursor.objects.update(next_attempt_at=None)
    return pull_log(source=log_of(log))


def lately() -> datetime:
    """Return a moment whose second is over: the one that runs is read by the next pull."""
    return clock.now() - timedelta(seconds=2)


def allowed(world: World) -> str:
    reservation: str = world.gus.authorize(world.token).json()["reservation"]
    return reservation


def line(request_id: str, **fields: Any) -> bytes:
    """One line of nginx's log, as docs/sources.md has it."""
    usage = {"prompt_tokens": 200, "completion_tokens": 50, "total_tokens": 250}
    return (
        orjson.dumps(
            {
                "ts": f"{clock.now().timestamp():.3f}", "request_id": request_id, "reservation": "",
                "key_id": "key_x", "model": "small", "usage": orjson.dumps(usage).decode(), "status": 200,
                "denied": "", "completion": "OK",
            }
            | fields
        )
        + b"\n"
    )  # fmt: skip


def test_a_settled_call_of_ours_is_the_gateways_side_of_it(
    world: World, litellm: SpendLogs, spend: GatewayLog
) -> None:
    reservation = allowed(world)
    world.gus.settle(reservation)
    litellm.rows = [row("chatcmpl-1", lately(), reservation=reservation)]
    assert pull(spend) == LogCounts(ours=1)
    call = GatewayCall.objects.get()
    assert (call.external_id, call.source) == (reservation, world.gus.gateway.public_id)
    assert (call.input_tokens, call.cached_tokens, call.output_tokens, call.reasoning_tokens) == (
        *(200, 40, 50, 10),
    )
    assert UsageEvent.objects.count() == 1
    assert not Quarantine.objects.exists()


def test_a_lost_settlement_is_found_in_the_log(world: World, litellm: SpendLogs, spend: GatewayLog) -> None:
    litellm.rows = [row("chatcmpl-1", lately(), reservation=allowed(world))]
    for _ in range(3):
        pull(spend)
    assert UsageEvent.objects.get().input_tokens == 200
    assert Entry.objects.count() == 1
    assert GatewayCall.objects.count() == 1


def test_a_call_that_purser_never_decided_is_booked_once_by_what_the_line_tells(
    world: World, litellm: SpendLogs, spend: GatewayLog
) -> None:
    at = lately()
    named = row("chatcmpl-1", at)
    named["metadata"]["user_api_key_alias"] = world.key.public_id
    litellm.rows = [named]
    for _ in range(3):
        assert pull(spend) == LogCounts(others=1)
    event = UsageEvent.objects.get()
    assert (event.external_id, event.input_tokens, event.reservation_id) == ("chatcmpl-1", 200, None)
    assert Entry.objects.count() == 1
    assert (GatewayCall.objects.get().external_id, GatewayCall.objects.get().at) == ("chatcmpl-1", event.at)


def test_a_call_on_a_key_that_nobody_knows_is_shown_to_a_person_once(
    litellm: SpendLogs, spend: GatewayLog
) -> None:
    litellm.rows = [row("chatcmpl-1", lately(), messages={"secret": "text"})]
    for _ in range(2):
        pull(spend)
    found = Quarantine.objects.get()
    assert (found.external_id, found.reason) == ("chatcmpl-1", "unknown_key")
    assert "secret" not in str(found.row)
    assert not GatewayCall.objects.exists()


def test_a_decision_that_is_not_known_is_waited_for_and_then_shown(
    litellm: SpendLogs, spend: GatewayLog
) -> None:
    """A node under a lease tells of its calls later: booking the line as well would charge them twice."""
    litellm.rows = [row("chatcmpl-1", lately(), reservation="rsv_not_told_yet")]
    assert pull(spend) == LogCounts(waiting=1)
    assert not Quarantine.objects.exists()
    assert not UsageEvent.objects.exists()
    litellm.rows = [row("chatcmpl-1", clock.now() - timedelta(minutes=61), reservation="rsv_of_nobody")]
    assert pull(spend) == LogCounts(refused=1)
    assert Quarantine.objects.get().reason == "unknown_call"
    assert not UsageEvent.objects.exists()


def test_what_is_kept_of_the_use_without_the_whole_is_read_too(litellm: SpendLogs, spend: GatewayLog) -> None:
    kept = {"cache_read_input_tokens": 30, "cache_creation_input_tokens": 20}
    litellm.rows = [row("r", lately(), metadata=orjson.dumps({"additional_usage_values": kept}).decode())]
    [found] = log_of(spend).page((clock.now() - timedelta(minutes=1)).isoformat(), limit=10).rows
    assert (found.tokens["cached_tokens"], found.tokens["cache_write_tokens"]) == (30, 20)
    assert (found.tokens["input_tokens"], found.key) == (200, "88dc28")


def test_failed_attempts_are_left_out_and_poisonous_rows_stop_nothing(
    litellm: SpendLogs, spend: GatewayLog
) -> None:
    now = lately()
    litellm.rows = [
        row("failed", now, status="failure"),
        row("negative", now, prompt_tokens=-1),
        row("", now),
        row("good", now),
    ]
    assert pull(spend) == LogCounts(others=1, refused=2, skipped=1)
    assert set(Quarantine.objects.values_list("reason", flat=True)) == {
        *("bad_tokens", "malformed", "unknown_key"),
    }


def test_a_total_that_is_capped_hides_no_row(litellm: SpendLogs, spend: GatewayLog) -> None:
    """10,500 rows of one hour, 2,500 of them in one second: `total` says 10,000, pages hold 1,000."""
    start = clock.now().replace(microsecond=0) - timedelta(hours=1)
    litellm.rows = [
        row(f"spread-{number}", start + timedelta(milliseconds=number * 400)) for number in range(8_000)
    ] + [
        row(f"burst-{number}", start + timedelta(minutes=30, microseconds=number)) for number in range(2_500)
    ]
    counts = pull(spend)
    assert Quarantine.objects.count() == 10_500
    assert counts.others >= 10_500
    assert max(int(query["page"]) for query in litellm.asked) == 3


def test_late_rows_within_the_overlap_are_found_and_later_ones_at_night(
    world: World, litellm: SpendLogs, spend: GatewayLog
) -> None:
    pull(spend)
    litellm.rows = [row("late", clock.now() - timedelta(minutes=100))]
    assert pull(spend).others == 1
    yesterday = (clock.now() - timedelta(days=1)).replace(hour=12)
    litellm.rows += [row("very-late", yesterday)]
    pull(spend)
    assert Quarantine.objects.count() == 1
    assert recount_logs() == 1
    pull(spend)
    assert Quarantine.objects.count() == 2


def test_a_pull_that_was_cut_goes_on_and_books_nothing_twice(litellm: SpendLogs, spend: GatewayLog) -> None:
    start = clock.now() - timedelta(hours=20)
    litellm.rows = [row(f"r{number}", start + timedelta(hours=number)) for number in range(18)]
    litellm.troubles = [None] * 6 + [Trouble(cut_after=30)]
    pull(spend)
    cursor = ImportCursor.objects.get()
    assert "broke off" in cursor.last_error
    assert 0 < Quarantine.objects.count() < 18
    pull(spend)
    assert Quarantine.objects.count() == 18
    assert ImportCursor.objects.get().last_error == ""


def test_spend_logs_in_a_private_network_are_read_only_where_a_setting_allows_it(
    spend: GatewayLog, settings: Settings
) -> None:
    settings.GATEWAY_ALLOWED_NETWORKS = []
    with pytest.raises(SourceUnavailableError, match="not on the public internet"):
        log_of(spend).page("", limit=10)


def test_a_job_of_its_own_reads_each_log_that_is_due(
    litellm: SpendLogs, spend: GatewayLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(pull_one_log, "delay_on_commit", queued.append)
    litellm.rows = [row("r", lately())]
    assert pull_logs() == queued == [spend.public_id]
    assert pull_one_log(spend.public_id)["others"] == 1
    litellm.troubles = [Trouble(status=429, headers={"Retry-After": "900"})]
    pull_one_log(spend.public_id)
    assert pull_logs() == []
    with time_machine.travel(clock.now() + timedelta(seconds=901)):
        assert pull_logs() == [spend.public_id]


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
