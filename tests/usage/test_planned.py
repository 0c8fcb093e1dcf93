"""Prices that are known to change: what they do to teams and forecasts, and what own use costs elsewhere."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from budgets.models import Budget, Mode, ScopeKind, Window
from budgets.selectors import budget_rows
from catalog.models import LlmModel, Price, PriceSource
from core import clock
from teams.models import User
from teams.selectors import roles_of
from tests.cast import Cast
from tests.usage.books import book
from usage import selectors
from usage.selectors.planned import Step, extra_usd

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
TODAY = date(2026, 11, 15)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
HALF = datetime(2026, 11, 20, 12, tzinfo=UTC)


def doubles(model: LlmModel, at: datetime) -> None:
    """Plan that every price of a model doubles."""
    for row in list(Price.objects.filter(model=model)):
        Price.objects.create(
            model=model, unit=row.unit, usd_per_unit=row.usd_per_unit * 2, valid_from=at,
            source=PriceSource.CONTRACT, source_version="test",
        )  # fmt: skip


def effects(person: User) -> list[tuple[str, datetime, Decimal | None, Decimal, list[tuple[str, Decimal]]]]:
    return [
        (
            each.model,
            each.at,
            each.times,
            each.monthly_usd,
            [(team.team, team.monthly_usd) for team in each.teams],
        )
        for each in selectors.planned_effects(roles_of(person), at=NOON)
    ]


@pytest.fixture
def used(cast: Cast) -> Cast:
    """Use 1 M tokens in and 100 k out of the small model in Search, twice that in Cards."""
    for project, number in ((cast.ranking, 1), (cast.fraud, 2)):
        book(
            project, cast.small, TODAY - timedelta(days=3), f"{number * 0.21}", calls=10,
            input_tokens=number * 1_000_000, output_tokens=number * 100_000,
        )  # fmt: skip
    book(cast.ranking, cast.large, TODAY, "1")
    doubles(cast.small, DECEMBER)
    return cast


def test_a_doubling_is_told_by_team_to_who_may_see_the_team(used: Cast) -> None:
    # 1 M at $0.15 and 100 k at $0.60 a million
    search, cards = ("Search", Decimal("0.21")), ("Cards", Decimal("0.42"))
    assert effects(used.fay) == [("small", DECEMBER, Decimal(2), Decimal("0.63"), [cards, search])]
    assert effects(used.ada) == [("small", DECEMBER, Decimal(2), Decimal("0.21"), [search])]
    assert effects(used.cleo) == effects(used.ada)
    assert effects(used.dan) == [("small", DECEMBER, Decimal(2), Decimal("0.42"), [cards])]


def test_what_nobody_uses_or_does_not_change_is_not_told(cast: Cast) -> None:
    doubles(cast.large, DECEMBER)
    book(cast.ranking, cast.small, TODAY, "1")
    assert effects(cast.fay) == []


def test_a_change_that_was_called_off_is_not_told(cast: Cast) -> None:
    now = clock.now()  # only what is not in force yet can be called off
    change = now + timedelta(days=20)
    book(cast.ranking, cast.small, now.date() - timedelta(days=3), "1", calls=1, input_tokens=1_000_000)
    doubles(cast.small, change)
    assert [each.at for each in selectors.planned_effects(roles_of(cast.fay), at=now)] == [change]
    for row in Price.objects.filter(model=cast.small, valid_from=change):
        Price.objects.filter(pk=row.pk).update(valid_until=change)
    assert selectors.planned_effects(roles_of(cast.fay), at=now) == []


def test_known_changes_are_in_the_forecast_of_budgets_and_overview(cast: Cast) -> None:
    budget = Budget.objects.create(
        scope_kind=ScopeKind.TEAM, scope_id=cast.search.pk, department=cast.product, window=Window.MONTH,
        mode=Mode.HARD,
    )  # fmt: skip
    for back in range(1, 15):
        book(cast.ranking, cast.small, TODAY - timedelta(days=back), "10")
        book(cast.ranking, cast.large, TODAY - timedelta(days=back), "5")
    rows = budget_rows(Budget.objects.filter(pk=budget.pk), at=NOON)
    before = selectors.forecast_budgets(rows, at=NOON)[budget.pk]
    page_before = selectors.overview(selectors.team_scope(cast.search), at=NOON).figures.forecast_usd
    doubles(cast.small, HALF)

    after = selectors.forecast_budgets(rows, at=NOON)[budget.pk]
    page_after = selectors.overview(selectors.team_scope(cast.search), at=NOON).figures.forecast_usd

    # $10 a day twice as dear from noon of the 20th until the end of November
    extra = 10 * Decimal("10.5")
    assert after.end_usd - before.end_usd == extra
    assert page_before is not None
    assert page_after == page_before + extra


def test_steps_follow_each_other_until_the_window_ends() -> None:
    ends = NOON + timedelta(days=10)
    steps = [
        Step(at=NOON + timedelta(days=2), factor=Decimal(2)),
        Step(at=NOON + timedelta(days=6), factor=Decimal("0.5")),
    ]
    used = {1: Decimal(3), 2: Decimal(100)}

    # 4 days at one more, 4 days at a half less
    assert extra_usd(used, {1: steps}, now=NOON, ends_at=ends) == 12 - 6


def test_own_use_is_priced_on_every_model(cast: Cast) -> None:
    assert selectors.own_use(cast.ada, at=NOON) is None
    book(
        cast.ranking, cast.small, TODAY - timedelta(days=3), "0.21", owner=cast.ada, calls=10,
        input_tokens=1_000_000, output_tokens=100_000,
    )  # fmt: skip
    book(cast.ranking, cast.large, TODAY - timedelta(days=40), "99", owner=cast.ada)
    book(cast.ranking, cast.large, TODAY, "99", owner=cast.ben)

    own = selectors.own_use(cast.ada, at=NOON)

    assert own is not None
    assert (own.calls, own.cost_usd, set(own.used)) == (10, Decimal("0.21"), {cast.small.pk})
    models = (cast.small, cast.large, cast.larger, cast.frontier)
    assert [own.monthly_usd[model.pk] for model in models] == [
        Decimal(usd) for usd in ("0.21", "3.5", "4.5", "22.5")
    ]
