"""What providers say of usage and cost: whole days, every version of every figure, nothing twice."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import connection

from gateway.tasks import pull_one_report, pull_reports, reports_of
from tests.fakes import reports as fake
from tests.fakes.reports import Reports, Trouble
from usage.models import ImportCursor, ProviderAccount, ProviderCost, ProviderUsage, SourceKind
from usage.ports import CostDayRead, CostFigure
from usage.services import pull_report
from usage.services import reports as service
from usage.services.reports import VersionCounts, source_name

D16, D17, D18, D19, D20 = (date(2026, 11, number) for number in range(16, 21))


def pull(account: ProviderAccount, kind: SourceKind = SourceKind.USAGE) -> VersionCounts:
    """Read a report as if its next attempt had come."""
    ImportCursor.objects.update(next_attempt_at=None)
    return pull_report(account=account, kind=kind, reports=reports_of(account))


def cursor(account: ProviderAccount, kind: SourceKind = SourceKind.USAGE) -> ImportCursor:
    return ImportCursor.objects.get(source=source_name(account, kind))


def current(table: Any = ProviderUsage) -> Any:
    return table.objects.filter(superseded_at=None).order_by("day", "pk")


def test_openai_usage_keeps_inclusive_totals_by_key_project_model_and_context(
    openai: ProviderAccount, provider: Reports
) -> None:
    provider.tell(
        fake.OPENAI_USAGE,
        D18,
        fake.openai_usage(),
        fake.openai_usage(batch=True, num_model_requests=2),
        fake.openai_usage(service_tier="flex", input_tokens=7, input_cached_tokens=0),
        fake.openai_usage(service_tier="priority", input_audio_tokens=30, output_audio_tokens=4),
        fake.openai_usage(api_key_id=None, project_id=None, input_cache_write_tokens=50),
    )
    assert pull(openai).new == 5
    rows = {(row.upstream_key, row.context): row for row in current()}
    plain = rows["key_abc", "standard"]
    assert (plain.input_tokens, plain.cached_tokens, plain.output_tokens, plain.requests) == (
        1000,
        800,
        500,
        5,
    )
    assert (plain.upstream_project, plain.model_name, plain.day) == ("proj_abc", "gpt-5-mini", D18)
    assert rows["key_abc", "batch"].requests == 2
    assert rows["key_abc", "flex"].input_tokens == 7
    assert rows["key_abc", "priority"].units == {"input_audio_tokens": 30, "output_audio_tokens": 4}
    assert rows["", "standard"].cache_write_tokens == 50


def test_what_openai_splits_and_we_keep_together_is_added_up(
    openai: ProviderAccount, provider: Reports
) -> None:
    provider.tell(
        fake.OPENAI_USAGE, D18, fake.openai_usage(), fake.openai_usage(service_tier="scale"),
        fake.openai_usage(model="idle", input_tokens=0, output_tokens=0, input_cached_tokens=0,
                          num_model_requests=0),
    )  # fmt: skip
    pull(openai)
    row = current().get()
    assert (row.input_tokens, row.requests) == (2000, 10)


def test_openai_costs_are_exact_and_credits_are_negative(openai: ProviderAccount, provider: Reports) -> None:
    provider.tell(
        fake.OPENAI_COSTS,
        D18,
        fake.openai_cost(0.1),
        fake.openai_cost(0.060000000001, line_item="gpt-5-mini, cached input"),
        fake.openai_cost(-25, line_item="Credit", api_key_id=None),
    )
    pull(openai, SourceKind.COST)
    rows = {row.line_item: row for row in current(ProviderCost)}
    assert rows["gpt-5-mini, input"].amount_usd == Decimal("0.1")
    assert rows["gpt-5-mini, cached input"].amount_usd == Decimal("0.060000000001")
    assert rows["gpt-5-mini, cached input"].model_name == "gpt-5-mini"
    assert (rows["Credit"].amount_usd, rows["Credit"].model_name) == (-25, "")


def test_anthropic_parts_make_an_inclusive_total(anthropic: ProviderAccount, provider: Reports) -> None:
    provider.tell(
        fake.ANTHROPIC_USAGE,
        D18,
        fake.anthropic_usage(),
        fake.anthropic_usage(service_tier="batch", api_key_id=None, workspace_id=None),
        fake.anthropic_usage(service_tier="priority_on_demand"),
        fake.anthropic_usage(service_tier="flex_discount"),
    )
    pull(anthropic)
    rows = {row.context: row for row in current()}
    row = rows["standard"]
    assert (row.input_tokens, row.cached_tokens, row.cache_write_tokens) == (3200, 200, 1500)
    assert (row.output_tokens, row.requests) == (500, None)
    assert row.units == {"cache_write_1h_tokens": 1000, "search": 10}
    assert (row.upstream_key, row.upstream_project) == ("apikey_01", "wrkspc_01")
    assert (rows["batch"].upstream_key, rows["batch"].upstream_project) == ("", "")
    assert set(rows) == {"standard", "batch", "priority", "flex"}


def test_anthropic_amounts_are_cents_with_fractions(anthropic: ProviderAccount, provider: Reports) -> None:
    provider.tell(
        fake.ANTHROPIC_COSTS, D18, fake.anthropic_cost("123.78912"),
        fake.anthropic_cost("-0.0000000001", description="Credit", model=None),
    )  # fmt: skip
    pull(anthropic, SourceKind.COST)
    rows = {row.line_item: row.amount_usd for row in current(ProviderCost)}
    assert rows["Claude Sonnet 5 Usage - Input Tokens"] == Decimal("1.2378912")
    assert rows["Credit"] == Decimal("-0.000000000001")


@pytest.mark.parametrize("shape", [{"days_a_page": 1}, {"days_a_page": 2}, {"results_a_page": 1}, {}])
def test_pages_of_any_size_give_the_same_days(
    openai: ProviderAccount, provider: Reports, shape: dict[str, int]
) -> None:
    for name, value in shape.items():
        setattr(provider, name, value)
    for day in (D17, D18, D19):
        results = [fake.openai_usage(api_key_id=f"key_{number}") for number in range(3)]
        provider.tell(fake.OPENAI_USAGE, day, *results)
    counts = pull(openai)
    assert (counts.new, current().count(), cursor(openai).position) == (9, 9, "2026-11-20")
    assert cursor(openai).rows_read == 9


def test_a_figure_that_did_not_change_writes_nothing(openai: ProviderAccount, provider: Reports) -> None:
    provider.tell(fake.OPENAI_USAGE, D20, fake.openai_usage())
    provider.tell(fake.OPENAI_COSTS, D20, fake.openai_cost(0.1))
    for kind in (SourceKind.USAGE, SourceKind.COST):
        pull(openai, kind)
    before = list(ProviderUsage.objects.values()), list(ProviderCost.objects.values())
    for _ in range(3):
        assert pull(openai).unchanged == 1
        assert pull(openai, SourceKind.COST).unchanged == 1
    assert (list(ProviderUsage.objects.values()), list(ProviderCost.objects.values())) == before


def test_a_changed_figure_supersedes_and_keeps_the_one_before(
    openai: ProviderAccount, provider: Reports, clockwork: time_machine.Traveller
) -> None:
    provider.tell(fake.OPENAI_USAGE, D20, fake.openai_usage(), fake.openai_usage(api_key_id="key_same"))
    pull(openai)
    first_read = datetime(2026, 11, 20, 12, tzinfo=UTC)
    clockwork.shift(3600)
    provider.tell(
        fake.OPENAI_USAGE,
        D20,
        fake.openai_usage(input_tokens=1_100),
        fake.openai_usage(api_key_id="key_same"),
    )
    counts = pull(openai)
    assert (counts.changed, counts.unchanged, counts.new) == (1, 1, 0)
    old, new = ProviderUsage.objects.filter(upstream_key="key_abc").order_by("pk")
    assert (old.input_tokens, old.read_at, old.superseded_at) == (
        1000,
        first_read,
        first_read + timedelta(hours=1),
    )
    assert (new.input_tokens, new.read_at, new.superseded_at) == (1100, first_read + timedelta(hours=1), None)


def test_a_figure_that_is_told_no_more_is_superseded_by_none(
    openai: ProviderAccount, provider: Reports
) -> None:
    provider.tell(fake.OPENAI_COSTS, D19, fake.openai_cost(0.1), fake.openai_cost(5, line_item="A mistake"))
    pull(openai, SourceKind.COST)
    provider.tell(fake.OPENAI_COSTS, D19, fake.openai_cost(0.1))
    assert pull(openai, SourceKind.COST).gone == 1
    assert [row.line_item for row in current(ProviderCost)] == ["gpt-5-mini, input"]
    assert ProviderCost.objects.count() == 2


@pytest.mark.parametrize(("kind", "days"), [(SourceKind.USAGE, 1), (SourceKind.COST, 3)])
def test_a_figure_is_final_some_days_after_its_own(
    openai: ProviderAccount,
    provider: Reports,
    clockwork: time_machine.Traveller,
    kind: SourceKind,
    days: int,
) -> None:
    provider.tell(fake.OPENAI_USAGE, D19, fake.openai_usage())
    provider.tell(fake.OPENAI_COSTS, D19, fake.openai_cost(0.1))
    table = service.REPORTS[kind].table
    end = datetime(2026, 11, 20, tzinfo=UTC)
    clockwork.move_to(end + timedelta(days=days, seconds=-1))
    pull(openai, kind)
    assert not table.objects.get().final
    clockwork.move_to(end + timedelta(days=days))
    counts = pull(openai, kind)
    assert (counts.unchanged, counts.new) == (1, 0)
    assert table.objects.get().final


def test_late_rows_within_the_overlap_are_found(
    openai: ProviderAccount, provider: Reports, clockwork: time_machine.Traveller
) -> None:
    pull(openai)
    clockwork.shift(timedelta(days=1))
    provider.tell(fake.OPENAI_USAGE, D17, fake.openai_usage(api_key_id="key_late"))
    provider.tell(fake.OPENAI_USAGE, D16, fake.openai_usage(api_key_id="key_too_late"))
    assert pull(openai).new == 1
    assert current().get().upstream_key == "key_late"


def test_a_day_that_was_read_half_is_not_there(openai: ProviderAccount, provider: Reports) -> None:
    provider.results_a_page = 1
    provider.tell(fake.OPENAI_USAGE, D17, fake.openai_usage(), fake.openai_usage(api_key_id="key_2"))
    provider.tell(fake.OPENAI_USAGE, D18, fake.openai_usage(), fake.openai_usage(api_key_id="key_2"))
    # One page a day for 15 and 16 November and after, two for the 17th and 18th: the 6th is the other half.
    provider.troubled = fake.OPENAI_USAGE
    provider.troubles = [None] * 5 + [Trouble(cut_after=40)]
    counts = pull(openai)
    assert (counts.days, {row.day for row in current()}) == (3, {D17})
    failed = cursor(openai)
    assert (failed.failures, failed.last_error) == (1, "The answer of OpenAI broke off.")
    assert pull(openai).new == 2
    assert {row.day for row in current()} == {D17, D18}
    assert (cursor(openai).failures, cursor(openai).last_error) == (0, "")


def test_a_reader_that_is_killed_in_the_middle_leaves_whole_days_and_the_next_one_goes_on(
    openai: ProviderAccount, provider: Reports, clockwork: time_machine.Traveller
) -> None:
    for day in (D17, D18, D19):
        provider.tell(fake.OPENAI_USAGE, day, fake.openai_usage())
    provider.days_a_page = 1

    class Killed(type(reports_of(openai))):  # type: ignore[misc]  # the reader of whichever provider
        def usage(self, first: date, last: date) -> Any:
            for number, read in enumerate(super().usage(first, last)):
                if number == 3:
                    raise KeyboardInterrupt
                yield read

    with pytest.raises(KeyboardInterrupt):
        pull_report(account=openai, kind=SourceKind.USAGE, reports=Killed(openai))
    assert [row.day for row in current()] == [D17]
    assert pull(openai) == VersionCounts(), "the killed reader still holds the source"
    clockwork.shift(151)
    counts = pull(openai)
    assert (counts.new, counts.days) == (2, 3)
    assert [row.day for row in current()] == [D17, D18, D19]


def test_a_pull_without_time_goes_on_where_it_stopped(
    openai: ProviderAccount, provider: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.tell(fake.OPENAI_USAGE, D17, fake.openai_usage())
    provider.tell(fake.OPENAI_USAGE, D18, fake.openai_usage())
    monkeypatch.setattr(service, "READING", timedelta(seconds=-1))
    for number in range(1, 6):
        assert pull_report(account=openai, kind=SourceKind.USAGE, reports=reports_of(openai)).days == 1
        assert cursor(openai).next_attempt_at is None, number
    assert current().count() == 2
    pull_report(account=openai, kind=SourceKind.USAGE, reports=reports_of(openai))
    assert cursor(openai).position == "2026-11-20"
    assert cursor(openai).next_attempt_at is not None


def test_an_older_reading_changes_nothing(openai: ProviderAccount, clockwork: time_machine.Traveller) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)

    def told(amount: str) -> list[CostFigure]:
        return [
            CostFigure(
                upstream_key="", upstream_project="", line_item="x", model_name="", amount_usd=Decimal(amount)
            )
        ]

    for amount, read_at in (("2", now), ("1", now - timedelta(minutes=1))):
        read = CostDayRead(day=D19, figures=told(amount))
        service.keep_day(account=openai, kind=SourceKind.COST, told=read, read_at=read_at)
    assert current(ProviderCost).get().amount_usd == 2


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (Trouble(status=401), "OpenAI refused the admin key (401)."),
        (Trouble(status=403), "OpenAI does not allow the admin key to read this (403)."),
        (Trouble(status=500), "OpenAI answered (500)."),
        (Trouble(body=b"<html>"), "OpenAI answered with something that is not JSON."),
        (Trouble(body=b"[]"), "OpenAI answered with something that is not a report."),
        (Trouble(body=b'{"data": 1}'), "OpenAI answered with something that is not a report."),
        (
            Trouble(body=b'{"data": [], "has_more": true, "next_page": null}'),
            "OpenAI says that there is more, and not where.",
        ),
        (
            Trouble(body=b'{"data": [{"start_time": 1763424000, "results": [{"input_tokens": -4}]}]}'),
            "OpenAI reports input_tokens that is no count.",
        ),
    ],
)
def test_what_goes_wrong_is_said_and_nothing_is_written(
    openai: ProviderAccount, provider: Reports, trouble: Trouble, said: str
) -> None:
    provider.tell(fake.OPENAI_USAGE, D17, fake.openai_usage())
    provider.troubles = [trouble]
    pull(openai)
    assert (cursor(openai).last_error, current().count()) == (said, 0)
    assert pull(openai).new == 1


def test_another_currency_is_refused(
    openai: ProviderAccount, anthropic: ProviderAccount, provider: Reports
) -> None:
    provider.tell(fake.OPENAI_COSTS, D17, fake.openai_cost(1, amount={"value": 1, "currency": "eur"}))
    provider.tell(fake.ANTHROPIC_COSTS, D17, fake.anthropic_cost("1", currency="EUR"))
    for account in (openai, anthropic):
        pull(account, SourceKind.COST)
        assert "does not charge in US dollars" in cursor(account, SourceKind.COST).last_error
    assert current(ProviderCost).count() == 0


def test_the_job_queues_each_due_report_once_and_reads_it(
    openai: ProviderAccount, provider: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(pull_one_report, "delay_on_commit", queued.append)
    assert pull_reports() == queued
    assert queued == [source_name(openai, kind) for kind in (SourceKind.USAGE, SourceKind.COST)]
    provider.tell(fake.OPENAI_USAGE, D17, fake.openai_usage())
    assert pull_one_report(queued[0])["new"] == 1
    assert pull_reports() == [source_name(openai, SourceKind.COST)]
    openai.closed_at = openai.created_at
    openai.save()
    assert pull_reports() == []


@pytest.mark.django_db(transaction=True)
def test_two_readers_at_once_read_once(openai: ProviderAccount, provider: Reports) -> None:
    for number in range(5):
        provider.tell(fake.OPENAI_USAGE, D16 + timedelta(days=number), fake.openai_usage())
    together = threading.Barrier(2)
    counts: list[VersionCounts] = []

    def read() -> None:
        together.wait()
        counts.append(pull_report(account=openai, kind=SourceKind.USAGE, reports=reports_of(openai)))
        connection.close()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert sorted(count.new for count in counts) == [0, 5]
    assert ProviderUsage.objects.count() == 5
