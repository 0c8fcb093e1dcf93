"""What a wish costs and does to budgets, by figures worked out by hand."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from approvals import facts
from approvals.facts import Wish
from budgets.models import Mode, ScopeKind, Window
from budgets.services.limits import open_budget
from catalog.models import Mode as ModelMode
from catalog.models import Unit
from core import clock
from tests import factories
from tests.cast import Cast
from tests.usage.books import book
from usage.selectors import forecast_budgets, organisation_today


def limit(cast: Cast, amount: str, window: Window, *, tier: int | None = None) -> None:
    open_budget(
        actor=None,
        scope_kind=ScopeKind.PROJECT,
        scope_id=cast.ranking.pk,
        department=cast.product,
        window=window,
        mode=Mode.HARD,
        amount_usd=Decimal(amount),
        reason="A test.",
        only_tier=None if tier is None else factories.tier(tier),
    )


def outlooks(wish: Wish) -> dict[str, facts.BudgetOutlook]:
    rows = facts.budgets_above(wish)
    return {each.name: each for each in facts.budget_outlooks(wish, rows, forecast_budgets(rows))}


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (950, "950"), (1_000, "1.0k"), (812_400, "812k"), (3_149_000, "3.1M"), (57_000_000, "57M")],
)
def test_large_numbers_are_short(number: int, text: str) -> None:
    assert facts.short(number) == text


def test_month_is_set_against_a_whole_month_and_a_longer_window_until_its_end(cast: Cast) -> None:
    for window in (Window.DAY, Window.WEEK, Window.MONTH, Window.QUARTER, Window.LIFETIME):
        limit(cast, "600", window)
    wish = Wish(project=cast.ranking, tier=2, days=90, expected_usd=Decimal(300))

    found = outlooks(wish)

    assert found["Ranking budget (each day)"].forecast_with_usd is None
    assert found["Ranking budget (lifetime)"].forecast_with_usd is None
    assert found["Ranking budget (each week)"].forecast_with_usd == Decimal(70)
    month = found["Ranking budget (each month)"]
    assert (month.forecast_without_usd, month.forecast_with_usd) == (0, Decimal(300))
    assert month.forecast_with_percent == Decimal(50)
    [quarter] = [row for row in facts.budgets_above(wish) if row.window is Window.QUARTER]
    begun_days = (quarter.window_ends_at - clock.now()).days + 1
    assert found["Ranking budget (each quarter)"].forecast_with_usd == 10 * min(begun_days, 90)


def test_short_access_costs_a_window_no_more_than_its_days(cast: Cast) -> None:
    limit(cast, "600", Window.MONTH)
    wish = Wish(project=cast.ranking, tier=2, days=10, expected_usd=Decimal(300))

    assert outlooks(wish)["Ranking budget (each month)"].forecast_with_usd == Decimal(100)


def test_forecast_with_the_request_adds_to_what_is_coming_anyway(cast: Cast) -> None:
    limit(cast, "600", Window.MONTH)
    today = organisation_today()
    for back in range(1, 15):
        book(cast.ranking, cast.small, today - timedelta(days=back), "3")
    rows = facts.budgets_above(Wish(project=cast.ranking, tier=2))
    [coming] = forecast_budgets(rows).values()

    [outlook] = outlooks(Wish(project=cast.ranking, tier=2, days=60, expected_usd=Decimal(300))).values()

    assert outlook.forecast_without_usd == pytest.approx(coming.end_usd, rel=Decimal("0.001"))
    assert outlook.forecast_with_usd is not None
    assert outlook.forecast_with_usd - (outlook.forecast_without_usd or 0) == Decimal(300)


def test_budgets_of_another_tier_do_not_count(cast: Cast) -> None:
    limit(cast, "600", Window.MONTH)
    limit(cast, "50", Window.MONTH, tier=3)

    assert list(outlooks(Wish(project=cast.ranking, tier=2))) == ["Ranking budget (each month)"]
    assert "Ranking budget (each month, Tier 3 alone)" in outlooks(Wish(project=cast.ranking, tier=3))


def test_model_without_a_price_is_named_without_one(cast: Cast) -> None:
    unpriced = factories.LlmModelFactory.create(name="brand-new", tier=cast.tier2)

    money = facts.money_of(
        Wish(project=cast.ranking, tier=2, model_ids=(unpriced.pk,), expected_usd=Decimal(9))
    )

    assert money.models == (facts.ModelPrice(name="brand-new", input_usd=None, output_usd=None),)
    assert money.alternatives == ()


def test_model_that_retired_since_is_still_named(cast: Cast) -> None:
    type(cast.large).objects.filter(pk=cast.large.pk).update(retired_at=clock.now())

    [price] = facts.model_prices(Wish(project=cast.ranking, tier=2, model_ids=(cast.large.pk,)))

    assert price.name == "large"
    assert "large" not in facts.offered_models(2)


def test_embedding_is_not_compared_with_chat(cast: Cast) -> None:
    embedding = factories.LlmModelFactory.create(
        name="embedder", tier=cast.tier2, mode=ModelMode.EMBEDDING, max_output_tokens=None
    )
    factories.PriceFactory.create(model=embedding, unit=Unit.INPUT, usd_per_unit=Decimal("0.0000001"))

    money = facts.money_of(
        Wish(project=cast.ranking, tier=2, model_ids=(embedding.pk,), expected_usd=Decimal(9))
    )

    [price] = money.models
    assert (price.input_usd, price.output_usd) == (Decimal("0.1"), None)
    assert money.alternatives == ()


def test_cheaper_models_are_the_nearest_ones_and_the_cheapest(cast: Cast) -> None:
    for number in range(15):
        factories.priced_model(
            f"tiny-{number:02}", tier_number=1, input_usd=f"0.{number + 10}", output_usd="0.5"
        )

    money = facts.money_of(
        Wish(project=cast.ranking, tier=3, model_ids=(cast.frontier.pk,), expected_usd=Decimal(100))
    )

    names = [row.name for row in money.alternatives]
    assert names[:4] == ["frontier", "larger", "large", "tiny-14"]
    assert names[-1] == "tiny-00"
    assert len(names) == 1 + facts.CHEAPER_SHOWN
    costs = [row.monthly_usd for row in money.alternatives]
    assert costs == sorted(costs, key=lambda usd: usd or 0, reverse=True)
    assert costs[0] == pytest.approx(Decimal(100))
