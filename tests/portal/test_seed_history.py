"""The demo organisation with a long history: told as a gateway tells, booked by the bulk ingest."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Max, Sum
from pytest_django.plugin import DjangoDbBlocker

from approvals.models import AccessRequest, RequestStatus
from budgets.models import Budget, BudgetLimit, Entry, ScopeKind
from budgets.selectors import list_budgets
from catalog.models import Context, LlmModel, Mode
from core import clock
from keys.models import ApiKey, GrantState
from portal import ledger
from portal.demo.history import LAUNCH, RUNAWAY, TELLS_AGAIN_AFTER, History, Row, tell
from portal.demo.provider import DEARER_BY, DEARER_MODEL, SHARED, STRANGER
from portal.demo.story import PROJECTS
from portal.management.commands.seed_demo import SIGN_INS, _count, file_for
from teams.models import User
from tests import factories
from usage.models import (
    Level,
    ProviderCost,
    ProviderUsage,
    Quarantine,
    ReconciliationRun,
    UpstreamCredential,
    UsageDay,
    UsageEvent,
)
from usage.selectors.periods import organisation_today, this_month

CALLS, DAYS = 6_000, 90
MOMENT = datetime(2026, 11, 25, 13, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def seeded(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Make Northwind with its long history once for this file, and take it back at the end."""
    with django_db_blocker.unblock(), transaction.atomic():
        for number in (1, 2, 3):  # a test that commits leaves no tiers and policies behind
            tier = factories.tier(number)
            if number > 1:
                factories.policy_of(tier)
        path = tmp_path_factory.mktemp("demo") / "sign-ins.txt"
        call_command("seed_demo", password="not used", sign_ins=path, events=CALLS, days=DAYS, verbosity=0)
        connection.check_constraints()
        yield
        transaction.set_rollback(True)


@pytest.fixture
def northwind(seeded: None) -> Iterator[None]:
    """Let a test read the history, and take back what it writes."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def story(**changes: Any) -> History:
    return History(**{"until": MOMENT, "days": DAYS, "calls": CALLS, "seed": 7, **changes})


def told(history: History) -> list[Row]:
    """Return the rows of a history, without a database."""
    models = {
        name: LlmModel(
            name=name,
            context_window_tokens=400_000,
            mode=Mode.EMBEDDING if "embedding" in name else Mode.CHAT,
        )
        for project in PROJECTS
        for name, _ in project.models
    }
    keys = {
        project.code: [ApiKey(public_id=f"key_{project.code}_{place}") for place in range(len(project.keys))]
        for project in PROJECTS
    }
    return list(tell(history, keys=keys, models=models))


def calls_of(rows: list[Row]) -> dict[str, Row]:
    """Return each call once; those that cannot be booked are left out."""
    return {row["external_id"]: row for row in rows if "odd" not in row["external_id"]}


def test_exactly_so_many_calls_are_booked_and_the_books_agree(northwind: None) -> None:
    assert UsageEvent.objects.count() == CALLS
    assert UsageDay.objects.aggregate(calls=Sum("calls"))["calls"] == CALLS
    events = UsageEvent.objects.aggregate(usd=Sum("cost_usd"))["usd"]
    assert events == Entry.objects.aggregate(usd=Sum("amount_usd"))["usd"] > 100
    assert ledger.verify().findings == ()


def test_budgets_are_planned_around_what_was_booked(northwind: None) -> None:
    rows = list_budgets(User.objects.get(email="fay@northwind.example"))
    wider = [row for row in rows if row.scope_kind is not ScopeKind.KEY]  # one key is over its own
    over = [row.name for row in wider if row.left_usd is not None and row.left_usd < 0]

    month = this_month(organisation_today()).first_day
    backfill = UsageDay.objects.filter(project__code="invoice-ocr", day__gte=month, cost_usd__gt=0)
    assert over == ["Invoice reading"] * backfill.exists()  # so few calls may leave a young month without one
    assert Budget.objects.count() == len(rows) > 10
    assert set(BudgetLimit.objects.values_list("budget_id", flat=True)) == set(
        Budget.objects.values_list("pk", flat=True)
    )


def test_keys_and_grants_are_alive_after_ninety_days(northwind: None) -> None:
    now = clock.now()
    assert not ApiKey.objects.filter(expires_at__lte=now).exists()
    granted = [key for key in ApiKey.objects.prefetch_related("grants") if key.grants.all()]
    assert len(granted) == 11
    assert all(grant.state is GrantState.ACTIVE for key in granted for grant in key.grants.all())
    assert AccessRequest.objects.filter(status=RequestStatus.APPROVED).count() == 11


def test_the_last_days_match_the_gateways_own_record(northwind: None) -> None:
    runs = ReconciliationRun.objects.filter(level=Level.CALLS)
    assert set(runs.values_list("state", flat=True)) == {"matched"}
    assert runs.filter(portal_calls__gt=0).count() >= 7


def test_rows_that_cannot_be_booked_wait_in_quarantine(northwind: None) -> None:
    reasons = Counter(Quarantine.objects.values_list("reason", flat=True))

    assert reasons["unknown_key"] == reasons["unknown_model"] == 2
    assert sum(reasons.values()) == 8


def test_providers_count_what_we_count_but_for_a_stranger_and_a_shared_key(northwind: None) -> None:
    today = clock.now().astimezone(UTC).date()
    ours = _by_day(today)
    registered = set(UpstreamCredential.objects.values_list("external_id", flat=True))
    strange, more = set(), set()
    for row in ProviderUsage.objects.select_related("account"):
        if row.upstream_key not in registered:
            strange.add((row.upstream_key, row.account.provider))
        elif row.requests != ours[row.day, row.model_name]:
            more.add(row.account.provider)
            assert row.requests is not None
            assert row.requests > ours[row.day, row.model_name]

    assert strange == {(STRANGER, "openai")}
    assert more <= {SHARED}
    assert set(ProviderUsage.objects.values_list("context", flat=True)) == {Context.STANDARD}
    assert ProviderUsage.objects.aggregate(day=Max("day"))["day"] < today


def test_one_rate_rose_two_weeks_ago(northwind: None) -> None:
    key = UpstreamCredential.objects.get(account__provider="openai").external_id
    rates = {
        row.day: row.amount_usd / cost
        for row in ProviderCost.objects.filter(model_name=DEARER_MODEL, upstream_key=key)
        if (cost := _cost(row.day, DEARER_MODEL))
    }
    first = min(day for day, rate in rates.items() if rate > Decimal("1.05"))

    assert all((rate > Decimal("1.05")) == (day >= first) for day, rate in rates.items())
    assert abs(rates[first] - DEARER_BY) < Decimal("0.01")


def test_the_same_moment_and_seed_tell_the_same(seeded: None) -> None:
    first, again, other = told(story()), told(story()), told(story(seed=8))

    assert first == again
    assert first != other


@pytest.mark.parametrize("changes", [{"calls": 1}, {"days": 1}, {"days": 400}, {"calls": 25_000, "days": 7}])
def test_any_number_of_calls_and_days_is_told_exactly(changes: dict[str, int]) -> None:
    history = story(**changes)
    calls = calls_of(told(history))

    assert len(calls) == history.calls
    moments = [row["at"] for row in calls.values()]
    assert history.first_day() <= min(moments).date()
    assert max(moments) <= MOMENT


def test_some_calls_are_told_twice_with_the_same_figures() -> None:
    rows = told(story(calls=20_000))
    times = Counter(row["external_id"] for row in rows)
    twice = [name for name, count in times.items() if count > 1]

    assert 40 < len(twice) < 140
    assert max(times.values()) == 2
    assert TELLS_AGAIN_AFTER < 20_000


def test_nights_and_weekends_are_quiet_and_a_script_runs_away() -> None:
    calls = calls_of(told(story(calls=60_000)))
    office = [row for row in calls.values() if row["key"].startswith("key_fraud-notes")]
    by_hour = Counter(row["at"].hour for row in office)
    by_weekday = Counter(row["at"].weekday() < 5 for row in office)
    runaway = Counter(
        row["at"].date() for row in calls.values() if row["key"] == f"key_{RUNAWAY.project}_{RUNAWAY.key}"
    )
    worst, quiet = runaway.most_common(2)

    assert by_hour[10] > 5 * by_hour[2]
    assert by_weekday[True] > 10 * by_weekday[False]
    assert worst[0] == MOMENT.date() - timedelta(days=RUNAWAY.days_ago)
    assert worst[1] > 5 * quiet[1]


def test_a_launch_is_busier_than_the_same_hours_of_any_day() -> None:
    calls = calls_of(told(story(calls=60_000)))
    hours = range(LAUNCH.hour, LAUNCH.hour + LAUNCH.hours)
    busy = Counter(
        row["at"].date()
        for row in calls.values()
        if row["key"].startswith(f"key_{LAUNCH.project}") and row["at"].hour in hours
    )

    assert busy.most_common(1)[0][0] == MOMENT.date() - timedelta(days=LAUNCH.days_ago)


def test_the_rows_come_in_the_order_of_time_without_holding_all(tmp_path: Path) -> None:
    rows = list(islice(calls_of(told(story())).values(), 2_000))
    hours = [row["at"].replace(minute=0, second=0, microsecond=0) for row in rows]

    assert hours == sorted(hours)


@pytest.mark.django_db  # one such test lets the file have a database
@pytest.mark.parametrize("text", ["0", "-5"])
def test_there_is_no_history_of_nothing(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        _count(text)


def _by_day(before: Any) -> dict[tuple[Any, str], int]:
    counts: Counter[tuple[Any, str]] = Counter()
    for at, name in UsageEvent.objects.filter(cache_hit=False).values_list("at", "model__name"):
        if at.astimezone(UTC).date() < before:
            counts[at.astimezone(UTC).date(), name] += 1
    return dict(counts)


def _cost(day: Any, model: str) -> Decimal:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    found = UsageEvent.objects.filter(model__name=model, at__gte=start, at__lt=start + timedelta(days=1))
    cost: Decimal = found.aggregate(usd=Sum("cost_usd"))["usd"] or Decimal(0)
    return cost


def test_sign_ins_of_a_chosen_password_take_nobody_elses_place(tmp_path: Path) -> None:
    assert file_for(None, None) == SIGN_INS
    assert file_for("chosen", None) is None
    assert file_for("chosen", tmp_path) == tmp_path
