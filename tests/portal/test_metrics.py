"""What Prometheus reads: its format, who may read it, counters that never fall, bounded series."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from budgets.models import Entry, EntryKind
from core import clock
from core.exposition import Kind, Metric, Sample, exposition
from portal.metrics import collected
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import ProjectFactory, TeamFactory
from tests.portal.test_overview import limit
from tests.usage.books import book, refuse
from tests.usage.exposition import BrokenExpositionError, Family, parse
from usage.models import (
    Discrepancy,
    DiscrepancyClass,
    ImportCursor,
    Invoice,
    ProviderAccount,
    ReconciliationRun,
    RunState,
    UsageDay,
)
from usage.selectors import organisation_today, periods

TOKEN = "a-token-of-thirty-two-characters-or-more"
NAMES = {
    "purser_spend_usd_total",
    "purser_spend_credits_usd_total",
    "purser_decisions_total",
    "purser_reserved_usd",
    "purser_budget_limit_usd",
    "purser_budget_spent_usd",
    "purser_budget_forecast_usd",
    "purser_usage_lag_seconds",
    "purser_reconciliation_drift_usd",
}
LABELS = {"team", "project", "model", "tier", "provider", "decision", "reason"}


@pytest.fixture
def switched_on(settings: Settings) -> Settings:
    """Let a scraper in."""
    settings.METRICS_TOKENS = [b"the-one-before-which-is-still-good-12345", TOKEN.encode()]
    return settings


def scrape(token: str = TOKEN) -> Any:
    """Ask as Prometheus does."""
    return Client().get("/metrics", headers={"Authorization": f"Bearer {token}"})


def read() -> dict[str, Family]:
    """Return what is told now."""
    return parse(exposition(collected()))


@pytest.fixture
def busy(cast: Cast) -> Cast:
    """One of everything that metrics tell."""
    today = organisation_today()
    for back in (0, 1, 2):
        book(cast.ranking, cast.large, today - timedelta(days=back), "1.000000000001")
    book(cast.fraud, cast.frontier, today, "20", calls=7)
    refuse(cast.ranking, periods.day_starts_at(today), "budget_exhausted", 41)
    limit(cast.ranking, "300")
    ImportCursor.objects.create(source="gw_one", last_success_at=clock.now() - timedelta(seconds=90))
    return cast


def test_scraper_reads_every_metric(busy: Cast, switched_on: Settings) -> None:
    response = scrape()
    found = parse(response.content.decode())

    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert set(found) == NAMES
    assert {name for family in found.values() for labels in family.samples for name, _ in labels} <= LABELS
    spent = found["purser_spend_usd_total"]
    assert spent.kind == "counter"
    assert spent.total(team="search", project="ranking", model="large", tier="2") == Decimal("3.000000000003")
    decided = found["purser_decisions_total"]
    assert decided.total(team="search", decision="deny", reason="budget_exhausted") == 41
    assert decided.total(team="cards", decision="allow") == 7
    assert found["purser_budget_limit_usd"].total(team="search", project="ranking") == 300
    assert 90 <= found["purser_usage_lag_seconds"].total(provider="gateway") < 150


@pytest.mark.parametrize(
    ("tokens", "sent", "status"), [([], TOKEN, 404), ([TOKEN], "", 401), ([TOKEN], "x" * 40, 401)]
)
def test_nobody_else_reads_them(
    cast: Cast, settings: Settings, tokens: list[str], sent: str, status: int
) -> None:
    settings.METRICS_TOKENS = [token.encode() for token in tokens]
    response = scrape(sent)
    assert response.status_code == status
    assert b"purser_spend" not in response.content


def test_a_session_opens_nothing(busy: Cast, switched_on: Settings) -> None:
    assert Visitor(busy.fay).get("/metrics").status == 401


def test_correction_adds_to_credits_and_takes_nothing_off_the_counter(busy: Cast) -> None:
    before = read()
    take_off(busy, "1.5")
    after = read()

    place = {"team": "search", "project": "ranking", "model": "large", "tier": "2"}
    gross, credit = "purser_spend_usd_total", "purser_spend_credits_usd_total"
    assert after[gross].total(**place) == before[gross].total(**place)
    assert after[credit].total(**place) - before[credit].total(**place) == Decimal("1.5")
    decided = [found["purser_decisions_total"].total(team="search") for found in (before, after)]
    assert decided[0] == decided[1]
    net = after[gross].total(**place) - after[credit].total(**place)
    assert net == sum(row.cost_usd for row in UsageDay.objects.filter(project=busy.ranking))


def take_off(cast: Cast, amount: str) -> None:
    """Take a call of the ranking's back, as the books do: an entry, and the roll-up in the same breath."""
    row = UsageDay.objects.filter(project=cast.ranking).earliest("pk")
    UsageDay.objects.filter(pk=row.pk).update(cost_usd=row.cost_usd - Decimal(amount), calls=row.calls - 1)
    Entry.objects.create(
        kind=EntryKind.ADJUST, amount_usd=-Decimal(amount), budget_ids=[], window_starts=[],
        key_id=row.key_id, project=cast.ranking, team=cast.search, department=cast.product,
        model=cast.large, reason="Refunded.",
        effective_at=clock.now(), recorded_at=clock.now(),
    )  # fmt: skip


def test_later_series_are_counted_together_and_none_changes_its_place(cast: Cast, settings: Settings) -> None:
    settings.METRICS_MAX_SERIES = 2
    today = organisation_today()
    projects = [ProjectFactory.create(team=cast.search, code=f"project-{number}") for number in range(4)]
    for project in projects:
        book(project, cast.small, today, "1")
    first = read()["purser_spend_usd_total"]
    book(projects[3], cast.small, today - timedelta(days=1), "1000")
    book(cast.fraud, cast.frontier, today, "5000")
    second = read()["purser_spend_usd_total"]

    assert len(first.samples) == len(second.samples) == 3
    assert first.total(project="other") == 2
    assert second.total(project="other") == 6_002
    assert all(second.samples[labels] >= value for labels, value in first.samples.items())


def test_queries_are_few_and_the_same_for_any_number(busy: Cast, switched_on: Settings) -> None:
    few = queries()
    for _ in range(45):
        project = ProjectFactory.create(team=TeamFactory.create(department=busy.product))
        book(project, busy.small, organisation_today(), "1")
        limit(project, "10")
        refuse(project, clock.now(), "tier_not_granted", 1)
    assert queries() == few <= 12


def queries() -> int:
    with CaptureQueriesContext(connection) as captured:
        assert scrape().status_code == 200
    return len(captured.captured_queries)


def test_source_that_was_never_read_is_infinitely_late(cast: Cast) -> None:
    assert read()["purser_usage_lag_seconds"].samples == {}
    ImportCursor.objects.create(source="gw_one")
    assert read()["purser_usage_lag_seconds"].total() == Decimal("Infinity")


def test_lag_and_drift_are_told_by_provider(cast: Cast) -> None:
    now = clock.now()
    accounts = [
        ProviderAccount.objects.create(provider=provider, name=name)
        for provider, name in (("openai", "org-1"), ("openai", "org-2"), ("anthropic", "org-3"))
    ]
    closed = ProviderAccount.objects.create(provider="google", name="org-4", closed_at=now)
    known, bill = [each.public_id for each in accounts], bill_of(accounts[2])
    for source, minutes in (("gw_one", 2), *((f"{each}:usage", 50) for each in known)):
        ImportCursor.objects.create(source=source, last_success_at=now - timedelta(minutes=minutes))
    ImportCursor.objects.create(source=f"{accounts[1].public_id}:cost")
    ImportCursor.objects.create(source=f"{closed.public_id}:usage", closed_at=now)
    for source, usd in (("gw_one", "-1"), (bill, "8"), *zip(known, ("2", "-4"), strict=False)):
        differ(source, usd)

    found = read()
    lag, drift = found["purser_usage_lag_seconds"], found["purser_reconciliation_drift_usd"]

    assert {provider for ((_, provider),) in lag.samples} == {"gateway", "openai", "anthropic"}
    assert lag.total(provider="openai") == Decimal("Infinity")
    assert 3_000 <= lag.total(provider="anthropic") < 3_060
    assert {provider: usd for ((_, provider),), usd in drift.samples.items()} == {
        "gateway": 1, "openai": 6, "anthropic": 8, "google": 0,
    }  # fmt: skip


def bill_of(account: ProviderAccount) -> str:
    """Enter a bill of an account and return its public id."""
    day = organisation_today().replace(day=1)
    return Invoice.objects.create(
        account=account, number="1", period_start=day, period_end=day + timedelta(days=28), total_usd=1
    ).public_id


def differ(source: str, usd: str) -> None:
    """Open a difference with a source."""
    day, now = organisation_today(), clock.now()
    run = ReconciliationRun.objects.create(
        source=source, day=day, state=RunState.DIFFERENT, first_run_at=now, last_run_at=now
    )
    Discrepancy.objects.create(
        run=run,
        kind=DiscrepancyClass.TOKEN_MISMATCH,
        external_id="one",
        amount_usd=Decimal(usd),
        opened_at=now,
    )


def test_text_of_people_cannot_break_the_format() -> None:
    odd = 'a "quoted" \\ back\nslash'
    metric = Metric(
        name="odd_usd", kind=Kind.GAUGE, help="A\nhelp \\ text",
        samples=[Sample(labels={"team": odd, "project": ""}, value=Decimal("1E-12"))],
    )  # fmt: skip
    [family] = parse(exposition([metric])).values()
    assert family.samples == {frozenset({("team", odd)}): Decimal("0.000000000001")}


@pytest.mark.parametrize(
    "text",
    [
        "purser_x 1\n",
        "# HELP a b\n# TYPE a counter\na 1",
        "# HELP a b\n# TYPE a counter\na -1\n",
        "# HELP a b\n# TYPE a gauge\na 1e5\n",
        '# HELP a b\n# TYPE a gauge\na{team="x"} 1\na{team="x"} 2\n',
        '# HELP a b\n# TYPE a gauge\na{team="x\ny"} 1\n',
        '# HELP a b\n# TYPE a gauge\na{team="x",team="y"} 1\n',
        "# HELP a b\n# TYPE a gauge\nb 1\n",
    ],
)
def test_reader_sees_what_is_broken(text: str) -> None:
    with pytest.raises(BrokenExpositionError):
        parse(text)
