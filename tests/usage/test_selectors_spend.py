"""Money figures come from one place and agree with each other."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from pytest_django.fixtures import Settings

from teams.models import Department, Team
from tests.cast import Cast
from tests.factories import ApiKeyFactory, MembershipFactory, ProjectFactory, UserFactory
from tests.usage.books import book
from usage import selectors
from usage.types import Period, Scope

DAY = date(2026, 11, 23)
NOVEMBER = Period(first_day=date(2026, 11, 1), last_day=date(2026, 11, 30), label="November 2026")


def test_days_have_a_column_for_each_tier_and_run_up_to_today(cast: Cast) -> None:
    book(cast.ranking, cast.small, date(2026, 11, 2), "1.50")
    book(cast.ranking, cast.large, date(2026, 11, 2), "4")
    book(cast.ranking, cast.frontier, date(2026, 11, 3), "2")

    rows = selectors.spend_by_day(selectors.project_scope(cast.ranking), NOVEMBER, today=date(2026, 11, 4))

    assert [(row.day.day, row.by_tier_usd, row.to_date_usd) for row in rows] == [
        (1, (0, 0, 0), 0),
        (2, (Decimal("1.50"), 4, 0), Decimal("5.50")),
        (3, (0, 0, 2), Decimal("7.50")),
        (4, (0, 0, 0), Decimal("7.50")),
    ]


def test_every_breakdown_adds_up_to_the_total(cast: Cast) -> None:
    for number, model in enumerate((cast.small, cast.large, cast.frontier, cast.small)):
        book(cast.ranking, model, date(2026, 11, 1 + number), f"{number + 1}.000000000001")
        book(cast.fraud, model, date(2026, 11, 1 + number), "10")
    scope = selectors.organisation_scope()

    total = selectors.totals(scope, NOVEMBER)

    assert total.cost_usd == Decimal("50.000000000004")
    assert (total.calls, total.input_tokens, total.output_tokens) == (8, 8_000, 800)
    for breakdown in (selectors.by_project, selectors.by_model, selectors.by_tier, selectors.by_key):
        rows = breakdown(scope, NOVEMBER)
        assert sum(row.cost_usd for row in rows) == total.cost_usd
        assert [row.cost_usd for row in rows] == sorted((row.cost_usd for row in rows), reverse=True)
    assert selectors.spend_by_day(scope, NOVEMBER, today=DAY)[-1].to_date_usd == total.cost_usd
    assert selectors.month_to_date(scope, today=DAY) == total.cost_usd
    assert (
        selectors.overview(scope, at=datetime(2026, 11, 23, tzinfo=UTC)).figures.spent_usd == total.cost_usd
    )


def test_scopes_follow_the_attribution_that_was_written_not_later_moves(cast: Cast) -> None:
    book(cast.ranking, cast.small, DAY, "5")
    cast.ranking.team = cast.cards
    cast.ranking.save()
    book(cast.ranking, cast.small, date(2026, 11, 24), "7")

    def spent(scope: Scope) -> Decimal:
        return selectors.totals(scope, NOVEMBER).cost_usd

    assert spent(selectors.team_scope(Team.objects.get(code="search"))) == 5
    assert spent(selectors.team_scope(Team.objects.get(code="cards"))) == 7
    assert spent(selectors.department_scope(Department.objects.get(code="product"))) == 5
    assert spent(selectors.project_scope(cast.ranking)) == 12
    assert spent(selectors.organisation_scope()) == 12
    assert spent(Scope(label="nothing")) == 0
    assert spent(Scope(label="both", team_ids=(cast.search.pk,), project_ids=(cast.ranking.pk,))) == 12


def test_a_period_counts_both_its_ends(cast: Cast) -> None:
    for day in (date(2026, 10, 31), date(2026, 11, 1), date(2026, 11, 30), date(2026, 12, 1)):
        book(cast.ranking, cast.small, day, "1")

    assert selectors.totals(selectors.organisation_scope(), NOVEMBER).cost_usd == 2


def test_breakdowns_carry_names(cast: Cast) -> None:
    book(cast.ranking, cast.large, DAY, "3", owner=cast.ada)
    scope = selectors.organisation_scope()

    assert [row.name for row in selectors.by_project(scope, NOVEMBER)] == ["Ranking"]
    assert [row.name for row in selectors.by_model(scope, NOVEMBER)] == ["large"]
    assert [row.id for row in selectors.by_tier(scope, NOVEMBER)] == [2]
    assert [row.name for row in selectors.by_key(scope, NOVEMBER)] == ["Ada Moreno"]


def test_what_keys_used_is_read_for_all_at_once(cast: Cast) -> None:
    used, unused = (ApiKeyFactory.create(project=cast.ranking, owner=cast.ada) for _ in range(2))
    book(cast.ranking, cast.small, date(2026, 10, 9), "4", key=used)
    book(cast.ranking, cast.small, date(2026, 11, 9), "3", key=used, calls=5)

    found = selectors.key_use([used.pk, unused.pk], today=DAY)

    assert list(found) == [used.pk]
    use = found[used.pk]
    assert (use.last_day, use.calls, use.month_usd, use.total_usd) == (date(2026, 11, 9), 6, 3, 7)


@pytest.mark.parametrize(
    ("who", "label"),
    [
        ("fay", "Organisation"),
        ("audrey", "Organisation"),
        ("cleo", "Product department"),
        ("ben", "Search team"),
        ("ada", "Search team"),
    ],
)
def test_the_overview_is_about_what_a_person_answers_for(cast: Cast, who: str, label: str) -> None:
    assert selectors.scope_for(getattr(cast, who)).label == label


def test_somebody_in_two_teams_sees_both_and_somebody_in_none_sees_nothing(cast: Cast) -> None:
    MembershipFactory.create(user=cast.ada, team=cast.cards)
    book(cast.ranking, cast.small, DAY, "1")
    book(cast.fraud, cast.small, DAY, "2")
    both, nothing = selectors.scope_for(cast.ada), selectors.scope_for(UserFactory.create())

    assert (both.label, both.budget) == ("Your teams", None)
    assert selectors.totals(both, NOVEMBER).cost_usd == 3
    assert selectors.totals(nothing, NOVEMBER).cost_usd == 0
    assert selectors.overview(nothing, at=datetime(2026, 11, 23, tzinfo=UTC)).projects == ()


def test_today_is_the_organisations_day(settings: Settings) -> None:
    moment = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    assert selectors.organisation_today(moment) == date(2026, 11, 23)

    settings.TIME_ZONE = "Europe/Berlin"

    assert selectors.organisation_today(moment) == date(2026, 11, 24)


def test_periods_have_their_days_and_names() -> None:
    def shape(period: Period) -> tuple[date, date, str]:
        return period.first_day, period.last_day, period.label

    assert shape(selectors.this_month(date(2028, 2, 10))) == (
        date(2028, 2, 1),
        date(2028, 2, 29),
        "February 2028",
    )
    assert shape(selectors.last_month(date(2026, 1, 31))) == (
        date(2025, 12, 1),
        date(2025, 12, 31),
        "December 2025",
    )
    assert shape(selectors.last_days(DAY)) == (date(2026, 11, 17), DAY, "last 7 days")
    assert selectors.custom(date(2026, 3, 1), DAY).label == "1 March 2026 to 23 November 2026"


def test_a_project_without_usage_is_zero(cast: Cast) -> None:
    assert selectors.totals(selectors.project_scope(ProjectFactory.create()), NOVEMBER).cost_usd == 0
