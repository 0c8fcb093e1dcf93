"""Ordinary logs of gateways: calls of ours are their side of the books, others are shown to a person."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
import time_machine
from pytest_django.fixtures import Settings

from budgets.models import Entry
from core import clock
from gateway.models import GatewayLog
from gateway.tasks import log_of, pull_logs, pull_one_log, recount_logs
from tests.fakes.reports import Trouble
from tests.fakes.spend_logs import SpendLogs, row
from tests.gateway.conftest import World
from tests.sources.logged import allowed, lately, pull
from usage.models import GatewayCall, ImportCursor, Quarantine, UsageEvent
from usage.ports import SourceUnavailableError
from usage.services.logs import LogCounts


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
