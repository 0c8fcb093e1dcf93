"""What other pages read of usage: cheaper models, where budgets go, how fresh it is."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from budgets.models import Budget, Entry, Mode, ScopeKind, Window
from budgets.selectors import budget_rows
from catalog.models import LlmModel
from tests.cast import Cast
from tests.factories import BudgetLimitFactory, LlmModelFactory, ProjectFactory
from tests.usage.books import book
from usage import selectors
from usage.models import Discrepancy, ImportCursor, ReconciliationRun, RunState

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TODAY = NOON.date()
MILLION = 1_000_000


def priced(cast: Cast) -> list[LlmModel]:
    """Return the models: small 0.15/0.60, large 2.50/10, larger 3/15, frontier 15/75 dollars a million."""
    return [cast.small, cast.large, cast.larger, cast.frontier]


def test_the_same_use_is_priced_on_every_model_with_how_much_cheaper_it_is(cast: Cast) -> None:
    book(
        cast.ranking,
        cast.large,
        TODAY,
        "350",
        calls=1_000,
        input_tokens=100 * MILLION,
        output_tokens=10 * MILLION,
    )
    book(cast.ranking, cast.large, TODAY - timedelta(days=30), "999", input_tokens=MILLION)

    usage = selectors.project_usage_last_30_days(cast.ranking, at=NOON)
    rows = selectors.reprice(usage, priced(cast), asked=[cast.large.pk], at=NOON)

    assert [(row.name, row.cost_usd, row.use.calls) for row in usage] == [("large", 350, 1_000)]
    assert [(row.name, row.tier, row.monthly_usd, row.asked) for row in rows] == [
        ("frontier", "Tier 3", 2_250, False),
        ("larger", "Tier 2", 450, False),
        ("large", "Tier 2", 350, True),
        ("small", "Tier 1", 21, False),
    ]
    assert rows[-1].times_cheaper is not None
    assert round(rows[-1].times_cheaper, 1) == Decimal("16.7")


def test_an_expected_cost_is_that_of_the_dearest_model_asked_for(cast: Cast) -> None:
    book(
        cast.ranking,
        cast.small,
        TODAY,
        "1",
        calls=1_000,
        input_tokens=100 * MILLION,
        output_tokens=10 * MILLION,
    )

    rows = selectors.reprice(
        selectors.project_usage_last_30_days(cast.ranking, at=NOON),
        priced(cast),
        asked=[cast.large.pk, cast.larger.pk],
        expected_usd=Decimal(540),
        at=NOON,
    )

    amounts = {row.name: row.monthly_usd for row in rows}
    assert amounts == {"frontier": 2_700, "larger": 540, "large": 420, "small": Decimal("25.2")}


def test_a_new_project_is_compared_at_a_usual_mix(cast: Cast) -> None:
    assert selectors.total_use(selectors.project_usage_last_30_days(cast.ranking, at=NOON)) is None

    rows = selectors.reprice([], priced(cast), asked=[cast.large.pk], expected_usd=Decimal(175), at=NOON)

    assert {row.name: row.monthly_usd for row in rows}["small"] == Decimal("10.5")


def test_unpriced_models_come_last_without_an_amount_and_embeddings_not_at_all(cast: Cast) -> None:
    unpriced = LlmModelFactory.create(name="a-new-one", tier=cast.tier1)
    embedding = LlmModelFactory.create(
        name="vectors", mode="embedding", max_output_tokens=None, tier=cast.tier1
    )

    rows = selectors.reprice([], [*priced(cast), unpriced, embedding], at=NOON)

    assert [row.name for row in rows] == ["frontier", "larger", "large", "small", "a-new-one"]
    assert (rows[-1].monthly_usd, rows[-1].times_cheaper) == (None, None)
    assert rows[0].times_cheaper is None  # nothing was asked for, so nothing is compared


@pytest.fixture
def budget(cast: Cast) -> Budget:
    """Give ada's project a monthly budget of 500 dollars."""
    made = Budget.objects.create(
        scope_kind=ScopeKind.PROJECT, scope_id=cast.ranking.pk, department=cast.product, window=Window.MONTH
    )
    BudgetLimitFactory.create(budget=made, amount_usd=500, valid_from=datetime(2026, 9, 1, tzinfo=UTC))
    return made


def test_budgets_are_forecast_by_their_scope_and_filter(cast: Cast, budget: Budget) -> None:
    team, tier2, organisation, day = (
        Budget.objects.create(
            scope_kind=kind, scope_id=scope, department=home, window=window, mode=Mode.HARD, only_tier=tier
        )
        for kind, scope, home, window, tier in (
            (ScopeKind.TEAM, cast.search.pk, cast.product, Window.MONTH, None),
            (ScopeKind.TEAM, cast.search.pk, cast.product, Window.MONTH, cast.tier2),
            (ScopeKind.ORGANISATION, 0, None, Window.MONTH, None),
            (ScopeKind.TEAM, cast.search.pk, cast.product, Window.DAY, None),
        )
    )
    neighbour = ProjectFactory.create(team=cast.search)
    for back in range(1, 15):
        at = TODAY - timedelta(days=back)
        book(cast.ranking, cast.small, at, "10")
        book(neighbour, cast.large, at, "4")
        book(cast.fraud, cast.small, at, "100")
    rows = budget_rows(Budget.objects.all(), at=NOON)

    with CaptureQueriesContext(connection) as captured:
        found = selectors.forecast_budgets(rows, at=NOON)

    assert len(captured) == 1
    paces = {pk: found[pk].per_day_usd for pk in found}
    assert paces == {budget.pk: 10, team.pk: 14, tier2.pk: 4, organisation.pk: 114}
    assert day.pk not in found
    assert found[budget.pk].end_usd == 75  # nothing on its balance, 7.5 days at 10 dollars


def test_a_budget_of_an_unused_scope_has_no_forecast(cast: Cast, budget: Budget) -> None:
    assert selectors.forecast_budgets(budget_rows(Budget.objects.all(), at=NOON), at=NOON) == {}
    assert selectors.forecast_budgets([], at=NOON) == {}


def test_freshness_tells_of_booking_pulling_reconciling_and_what_does_not_match(cast: Cast) -> None:
    assert selectors.freshness().usage_at is None
    hour = timedelta(hours=1)
    for number, kind in enumerate(("settle", "correction")):
        Entry.objects.create(
            kind=kind, reason="A test.", amount_usd=0, budget_ids=[], window_starts=[], key_id=1,
            project=cast.ranking, team=cast.search, department=cast.product, model=cast.small,
            effective_at=NOON, recorded_at=NOON + number * hour, corrects=Entry.objects.first(),
        )  # fmt: skip
    ImportCursor.objects.create(source="gw_a", last_success_at=NOON)
    ImportCursor.objects.create(source="gw_b", last_success_at=NOON - hour, last_error="connection refused")
    run = ReconciliationRun.objects.create(
        day=date(2026, 11, 22), source="gw_a", state=RunState.DIFFERENT, first_run_at=NOON, last_run_at=NOON
    )
    Discrepancy.objects.create(run=run, kind="token_mismatch", external_id="a", opened_at=NOON)
    Discrepancy.objects.create(
        run=run, kind="token_mismatch", external_id="b", state="accepted", opened_at=NOON, closed_at=NOON
    )

    with CaptureQueriesContext(connection) as captured:
        fresh = selectors.freshness()

    assert len(captured) == 1
    assert (fresh.usage_at, fresh.pulled_at, fresh.reconciled_at) == (NOON, NOON - hour, NOON)
    assert (fresh.unmatched, fresh.failing_sources) == (1, 1)
