"""The Overview: will we pass the budget, which project causes it."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from budgets.models import Balance, Budget, Mode, ScopeKind, Window
from budgets.selectors import budget_rows
from teams.models import Department, Project, Team
from tests.cast import Cast
from tests.factories import ApiKeyFactory, BudgetLimitFactory, ProjectFactory, approved_grant
from tests.usage.books import book, refuse
from usage import selectors
from usage.types import Overview

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TODAY = NOON.date()
FIRST = date(2026, 11, 1)
Limit = Callable[..., Budget]


@pytest.fixture
def limit(cast: Cast) -> Limit:
    """Give a project or a team a limit since September, and what its running window spent."""

    def make(scope: Project | Team, amount: str, *, spent: str = "0", **fields: object) -> Budget:
        department: Department = scope.department if isinstance(scope, Team) else scope.team.department
        values = {"window": Window.MONTH, "mode": Mode.HARD, **fields}
        kind = ScopeKind.TEAM if isinstance(scope, Team) else ScopeKind.PROJECT
        budget = Budget.objects.create(scope_kind=kind, scope_id=scope.pk, department=department, **values)
        BudgetLimitFactory.create(
            budget=budget, amount_usd=Decimal(amount), valid_from=datetime(2026, 9, 1, tzinfo=UTC)
        )
        [row] = budget_rows(Budget.objects.filter(pk=budget.pk), at=NOON)
        Balance.objects.create(
            budget=budget,
            window_start=row.window_starts_at,
            window_end=row.window_ends_at,
            spent_usd=Decimal(spent),
        )
        return budget

    return make


def every_day(cast: Cast, project: Project, amount: str, *, first: date = FIRST, last: date = TODAY) -> None:
    """Book the same cost on each day."""
    for number in range((last - first).days + 1):
        book(project, cast.small, first + timedelta(days=number), amount)


def page(cast: Cast, **options: object) -> Overview:
    """Read ben's Overview at noon."""
    return selectors.overview(selectors.team_scope(cast.search), at=NOON, **options)  # type: ignore[arg-type]


def test_figures_are_spend_budget_forecast_and_pace(cast: Cast, limit: Limit) -> None:
    every_day(cast, cast.ranking, "10", first=date(2026, 10, 1))
    limit(cast.search, "250")

    figures = page(cast).figures

    assert (figures.spent_usd, figures.limit_usd, figures.spent_percent) == (230, 250, 92)
    assert figures.period_ends_on == date(2026, 11, 30)
    assert (figures.forecast_usd, figures.low_usd, figures.high_usd) == (305, 305, 305)
    assert (figures.forecast_percent, figures.over_usd) == (122, 55)
    assert figures.forecast_method == "80% range, weekly pattern"
    assert (figures.last7_per_day_usd, figures.previous7_per_day_usd) == (10, 10)
    assert figures.change is not None
    assert (figures.change.tone, figures.change.text) == ("info", "About the same")


def test_a_changed_pace_is_told(cast: Cast) -> None:
    every_day(cast, cast.ranking, "10", first=date(2026, 11, 9), last=date(2026, 11, 15))
    every_day(cast, cast.ranking, "14.20", first=date(2026, 11, 16), last=date(2026, 11, 22))

    change = page(cast).figures.change

    assert change is not None
    assert (change.tone, change.text) == ("warn", "Up 42%")


def test_without_usage_or_budget_the_page_says_so(cast: Cast) -> None:
    seen = page(cast)

    assert seen.figures.spent_usd == 0
    assert (seen.figures.limit_usd, seen.figures.forecast_usd, seen.figures.change) == (None, None, None)
    assert seen.figures.blocked_reason == "No call was refused"
    assert [(row.name, row.status.text) for row in seen.projects] == [("Ranking", "No budget")]
    assert len(seen.days) == 23
    assert (seen.breach, seen.models) == (None, ())


def test_projects_say_how_they_stand(cast: Cast, limit: Limit) -> None:
    def project(name: str, per_day: str, amount: str, **fields: object) -> None:
        made = ProjectFactory.create(team=cast.search, code=name, name=name)
        every_day(cast, made, per_day)
        limit(made, amount, spent=str(Decimal(per_day) * 23), **fields)

    project("fine", "1", "100")
    project("near", "1", "28.60", mode=Mode.SOFT)
    project("forecast", "10", "300")
    project("blocked", "10", "230")
    project("over", "10", "200", mode=Mode.SOFT)
    project("notified", "10", "1", mode=Mode.NOTIFY)

    seen = {row.name: (row.status.tone, row.status.text) for row in page(cast).projects}

    assert seen == {
        "fine": ("ok", "On track"),
        "near": ("warn", "Forecast over"),
        "forecast": ("warn", "Forecast over"),
        "blocked": ("bad", "Blocked (429)"),
        "over": ("bad", "Over budget"),
        "notified": ("info", "No budget"),
        "Ranking": ("info", "No budget"),
    }


def test_a_day_budget_that_is_used_up_blocks_a_project_too(cast: Cast, limit: Limit) -> None:
    limit(cast.ranking, "100")
    limit(cast.ranking, "5", spent="5", window=Window.DAY)

    [row] = page(cast).projects

    assert (row.status.text, row.limit_usd) == ("Blocked (429)", 100)


def test_near_the_limit_without_passing_it_is_a_warning(cast: Cast, limit: Limit) -> None:
    book(cast.ranking, cast.small, date(2026, 11, 2), "85")
    limit(cast.ranking, "100", spent="85")

    [row] = page(cast).projects

    assert (row.status.text, row.spent_percent, row.forecast_usd) == ("Near its budget", 85, None)


def test_rows_carry_owner_tier_and_thirteen_weeks(cast: Cast) -> None:
    key = ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    approved_grant(
        key, tier_number=2, starts_at=NOON - timedelta(days=5), expires_at=NOON + timedelta(days=5)
    )
    book(cast.ranking, cast.small, TODAY, "1")
    book(cast.ranking, cast.small, TODAY - timedelta(days=6), "2")
    book(cast.ranking, cast.small, TODAY - timedelta(days=7), "4")
    book(cast.ranking, cast.small, TODAY - timedelta(days=90), "8")
    book(cast.ranking, cast.small, TODAY - timedelta(days=91), "16")

    [row] = page(cast).projects

    assert (row.code, row.owner, row.tier) == ("ranking", "Ben Okafor", "Tier 2")
    assert row.trend == (8, *[0] * 10, 4, 3)
    assert row.spent_usd == 7


@pytest.mark.parametrize("today", [date(2026, 11, 1), TODAY, date(2026, 11, 30)])
@pytest.mark.parametrize("chosen", ["this_month", "last_month", "last_days"])
def test_the_thirteen_weeks_are_the_same_in_every_period(cast: Cast, today: date, chosen: str) -> None:
    days = [today - timedelta(days=back) for back in range(100)]
    for number, day in enumerate(days):
        book(cast.ranking, cast.small, day, f"{2 * number + 1}.25")
    weeks = [
        sum(2 * number + Decimal("1.25") for number in range(7 * week, 7 * week + 7)) for week in range(13)
    ]
    now = datetime.combine(today, NOON.timetz())

    [row] = selectors.overview(
        selectors.team_scope(cast.search), period=getattr(selectors, chosen)(today), at=now
    ).projects

    assert row.trend == tuple(reversed(weeks))


def test_a_project_that_spent_weeks_ago_alone_stays_in_the_table(cast: Cast) -> None:
    book(cast.ranking, cast.small, TODAY - timedelta(days=80), "7")
    cast.ranking.team = cast.cards
    cast.ranking.save()

    assert [(row.name, row.spent_usd, sum(row.trend)) for row in page(cast).projects] == [("Ranking", 0, 7)]


def test_models_that_were_used_outside_the_period_alone_are_left_out(cast: Cast) -> None:
    book(cast.ranking, cast.small, TODAY, "1")
    book(cast.ranking, cast.large, TODAY - timedelta(days=7), "2")
    book(cast.ranking, cast.frontier, FIRST - timedelta(days=60), "4")

    assert [row.name for row in page(cast, period=selectors.last_days(TODAY)).models] == ["small"]


def test_the_breach_that_comes_first_is_named_with_its_date(cast: Cast, limit: Limit) -> None:
    later = ProjectFactory.create(team=cast.search, code="later", name="Later")
    gone = ProjectFactory.create(team=cast.search, code="gone", name="Gone")
    for project in (cast.ranking, later, gone):
        every_day(cast, project, "10")
    budget = limit(cast.ranking, "265", spent="230")
    limit(later, "290", spent="230")
    limit(gone, "230", spent="230")

    breach = page(cast).breach

    assert breach is not None
    assert (breach.title, breach.tone) == ("Ranking is forecast to pass its budget on 27 November.", "warn")
    assert breach.text == "Calls will then return 429 until 1 December."
    assert (breach.on, breach.project, breach.budget) == (date(2026, 11, 27), "ranking", budget.public_id)


def test_a_budget_that_is_passed_is_named_when_none_is_coming(cast: Cast, limit: Limit) -> None:
    every_day(cast, cast.ranking, "10")
    limit(cast.ranking, "200", spent="230", mode=Mode.SOFT)

    breach = page(cast).breach

    assert breach is not None
    assert (breach.title, breach.tone) == ("Ranking has spent its budget.", "bad")
    assert breach.text == "It is $30.00 over. Calls go on: this budget only warns."


def test_blocked_calls_of_today_say_whose_and_why(cast: Cast) -> None:
    refuse(cast.ranking, NOON, "budget_exhausted", 1_200)
    assert page(cast).figures.blocked_reason == "All Ranking, over its budget"

    refuse(cast.ranking, NOON, "tier_not_granted", 84)
    refuse(cast.ranking, NOON - timedelta(days=1), "rate_limited", 9)
    refuse(cast.fraud, NOON, "rate_limited", 9_999)

    figures = page(cast).figures
    assert (figures.blocked_today, figures.blocked_reason) == (1_284, "Most Ranking, over its budget")
    assert [row.code for row in selectors.blocked_today(selectors.team_scope(cast.search), at=NOON)] == [
        "budget_exhausted",
        "tier_not_granted",
    ]


def test_models_have_their_share_of_the_period(cast: Cast) -> None:
    book(cast.ranking, cast.large, TODAY, "30")
    book(cast.ranking, cast.small, TODAY, "10")
    book(cast.ranking, cast.frontier, date(2026, 10, 31), "500")

    models = page(cast).models

    assert [(row.name, row.spent_usd, row.share_percent) for row in models] == [
        ("large", 30, 75),
        ("small", 10, 25),
    ]


def test_last_month_is_held_against_its_own_limit_and_has_no_forecast(cast: Cast, limit: Limit) -> None:
    every_day(cast, cast.ranking, "10", first=date(2026, 10, 1))
    limit(cast.search, "400")

    seen = page(cast, period=selectors.last_month(TODAY))

    assert (seen.figures.spent_usd, seen.figures.limit_usd, seen.figures.spent_percent) == (
        310,
        400,
        Decimal("77.5"),
    )
    assert (seen.figures.forecast_usd, seen.breach) == (None, None)
    assert len(seen.days) == 31


def test_seven_days_are_held_against_no_limit(cast: Cast, limit: Limit) -> None:
    every_day(cast, cast.ranking, "10")
    limit(cast.search, "235")
    limit(cast.ranking, "235", spent="230")

    seen = page(cast, period=selectors.last_days(TODAY))

    assert (seen.figures.spent_usd, seen.figures.limit_usd, seen.figures.forecast_usd) == (70, None, None)
    assert [(row.spent_usd, row.limit_usd) for row in seen.projects] == [(70, None)]
    assert seen.projects[0].status.text == "Forecast over"


def test_charts_take_the_days_the_budget_and_the_forecast(cast: Cast, limit: Limit) -> None:
    every_day(cast, cast.ranking, "10")
    limit(cast.search, "250")

    seen = page(cast)

    assert (seen.burn_up.budget_usd, seen.burn_up.alert_usd) == (250, 200)
    assert seen.burn_up.forecast is not None
    assert seen.burn_up.forecast.end_usd == 305
    assert len(seen.burn_up.days) == len(seen.stacked.days) == 23
    assert seen.stacked.tier_names == ("Tier 1", "Tier 2", "Tier 3")


def test_projects_that_moved_away_stay_in_the_table_they_were_paid_from(cast: Cast) -> None:
    book(cast.ranking, cast.small, TODAY, "5")
    cast.ranking.team = cast.cards
    cast.ranking.save()

    assert [(row.name, row.spent_usd) for row in page(cast).projects] == [("Ranking", 5)]


def test_the_page_reads_as_often_for_fifty_projects_as_for_five(cast: Cast, limit: Limit) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            selectors.overview(selectors.scope_for(cast.ben), at=NOON)
        return len(captured)

    def add(number: int) -> None:
        for _ in range(number):
            project = ProjectFactory.create(team=cast.search)
            book(project, cast.small, TODAY, "1")
            limit(project, "100")

    add(4)
    few = queries()
    add(45)

    assert len(page(cast).projects) == 50
    assert queries() == few == 8
