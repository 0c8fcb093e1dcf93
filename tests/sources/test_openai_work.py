"""OpenAI tells of each kind of work at an address of its own, and a day is all of them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from catalog.pricing import TokenUsage
from core import clock
from tests.fakes import reports as fake
from tests.fakes.reports import OPENAI_WORK, Reports, Trouble
from tests.sources.test_reports import current, cursor, pull
from usage.models import ProviderAccount, ProviderUsage, SourceKind
from usage.services.reconciliation.volumes import same_kinds
from usage.services.reports import REPORTS
from usage.variance import Counted

D17, D18, D19 = (date(2026, 11, number) for number in (17, 18, 19))


@pytest.mark.parametrize(
    ("name", "tokens", "units"),
    [
        ("embeddings", 16_000, {}),
        ("moderations", 16, {}),
        ("images", 0, {"image": 2}),
        ("audio_speeches", 0, {"character": 45}),
        ("audio_transcriptions", 0, {"second": 20}),
    ],
)
def test_each_kind_of_work_is_kept_in_the_unit_that_prices_it(
    openai: ProviderAccount, provider: Reports, name: str, tokens: int, units: dict[str, int]
) -> None:
    provider.tell(OPENAI_WORK[name], D18, fake.openai_work(name, model="some-model"))
    assert pull(openai).new == 1
    row = current().get()
    assert (row.day, row.upstream_key, row.upstream_project) == (D18, "key_abc", "proj_abc")
    assert (row.model_name, row.context, row.requests) == ("some-model", "standard", 2)
    assert (row.input_tokens, row.output_tokens, row.units) == (tokens, 0, units)


def test_searches_of_a_model_join_its_completions_and_their_calls_count_once(
    openai: ProviderAccount, provider: Reports
) -> None:
    provider.tell(fake.OPENAI_USAGE, D18, fake.openai_usage())
    name = "web_search_calls"
    for day, level in ((D18, "low"), (D18, "high"), (D19, "low")):
        told = provider.days.setdefault(OPENAI_WORK[name], {}).get(day, [])
        provider.tell(OPENAI_WORK[name], day, *told, fake.openai_work(name, context_level=level))
    pull(openai)
    both, alone = current()
    assert (both.day, both.requests, both.input_tokens, both.units) == (D18, 5, 1000, {"search": 6})
    assert (alone.day, alone.requests, alone.units) == (D19, 0, {"search": 3})


def test_seconds_may_have_parts_and_are_the_same_when_they_are_read_again(
    openai: ProviderAccount, provider: Reports
) -> None:
    name = "audio_transcriptions"
    provider.tell(OPENAI_WORK[name], D19, fake.openai_work(name, seconds=0.7))
    pull(openai)
    assert (pull(openai).unchanged, current().get().units) == (1, {"second": 0.7})


def test_a_late_image_makes_another_version(openai: ProviderAccount, provider: Reports) -> None:
    provider.tell(OPENAI_WORK["images"], D19, fake.openai_work("images"))
    pull(openai)
    provider.tell(OPENAI_WORK["images"], D19, fake.openai_work("images", images=3))
    assert pull(openai).changed == 1
    assert ProviderUsage.objects.count() == 2
    assert current().get().units == {"image": 3}


@pytest.mark.parametrize("shape", [{"days_a_page": 1}, {"days_a_page": 2}, {"results_a_page": 1}, {}])
def test_reports_whose_pages_end_elsewhere_make_the_same_days(
    openai: ProviderAccount, provider: Reports, shape: dict[str, int]
) -> None:
    for attribute, value in shape.items():
        setattr(provider, attribute, value)
    provider.tell(fake.OPENAI_USAGE, D17, *(fake.openai_usage(api_key_id=f"key_{n}") for n in range(3)))
    for name in OPENAI_WORK:
        for day in (D17, D19):
            provider.tell(OPENAI_WORK[name], day, fake.openai_work(name, model=name))
    counts = pull(openai)
    assert (counts.new, cursor(openai).position) == (3 + 2 * len(OPENAI_WORK), "2026-11-20")


@pytest.mark.parametrize("name", OPENAI_WORK)
def test_a_report_that_fails_stops_at_its_day_and_says_when_to_come_back(
    openai: ProviderAccount, provider: Reports, name: str
) -> None:
    provider.days_a_page = 1
    for day in (D17, D18):
        provider.tell(fake.OPENAI_USAGE, day, fake.openai_usage())
    # Pages of 15 to 18 November: the one of the 19th, which ends the 18th, is refused.
    provider.troubled = OPENAI_WORK[name]
    provider.troubles = [None] * 4 + [Trouble(status=429, headers={"retry-after": "600"})]

    pull(openai)

    assert [row.day for row in current()] == [D17]
    failed = cursor(openai)
    assert failed.last_error == "OpenAI asks to be called less often (429)."
    assert failed.next_attempt_at == clock.now() + timedelta(minutes=10)
    pull(openai)
    assert [row.day for row in current()] == [D17, D18]


def test_tokens_are_ours_where_the_provider_counts_in_other_units() -> None:
    ours = Counted(
        calls=1, tokens=TokenUsage(input_tokens=50, output_tokens=9), units={"second": Decimal(20)}
    )
    theirs = Counted(calls=1, units={"second": Decimal(20)})
    assert same_kinds(theirs, ours).minus(ours).is_nothing()
    assert not same_kinds(Counted(calls=1), ours).minus(ours).is_nothing()


@pytest.mark.parametrize(
    ("kind", "open_until", "read_at"),
    [
        (SourceKind.USAGE, "2026-11-21T00:00:00Z", "2026-11-22T12:00:00Z"),
        (SourceKind.COST, "2026-11-23T00:00:00Z", "2026-11-25T12:00:00Z"),
    ],
)
def test_how_fresh_figures_are_decides_when_they_are_final_where_the_provider_says_it(
    anthropic: ProviderAccount, provider: Reports, kind: SourceKind, open_until: str, read_at: str
) -> None:
    provider.tell(fake.ANTHROPIC_USAGE, D19, fake.anthropic_usage())
    provider.tell(fake.ANTHROPIC_COSTS, D19, fake.anthropic_cost("1"))
    final_from = datetime.fromisoformat(open_until)
    with time_machine.travel(read_at, tick=False):
        for refreshed_at, final in ((final_from - timedelta(seconds=1), False), (final_from, True)):
            provider.refreshed_at = refreshed_at.isoformat()
            pull(anthropic, kind)
            row = REPORTS[kind].table.objects.get()
            assert (row.data_refreshed_at, row.final) == (refreshed_at, final)


def test_how_fresh_figures_are_has_to_be_a_moment(anthropic: ProviderAccount, provider: Reports) -> None:
    provider.refreshed_at = "yesterday"
    pull(anthropic)
    assert cursor(anthropic).last_error == "Anthropic says up to when it has counted, and it is no moment."
