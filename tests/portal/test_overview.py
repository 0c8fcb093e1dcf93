"""The Overview as people open it: whose figures, over which days, and that they are the selector's."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from budgets.models import Mode, ScopeKind, Window
from budgets.services.limits import open_budget
from core.gauges import format_percent
from core.money import format_usd
from keys.services import issue_key, reveal
from teams.models import Project
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import AccessRequestFactory, ProjectFactory
from tests.usage.books import book, refuse
from usage import selectors
from usage.selectors import organisation_today

NOT_YOURS = "There is no such team or project, or it is not one of yours."


def limit(project: Project, amount: str) -> str:
    """Give a project a hard monthly limit and return the public id of its budget."""
    return open_budget(
        actor=None, scope_kind=ScopeKind.PROJECT, scope_id=project.pk, department=project.team.department,
        window=Window.MONTH, mode=Mode.HARD, amount_usd=Decimal(amount), reason="A test.",
    ).public_id  # fmt: skip


@pytest.fixture
def spent(cast: Cast) -> Cast:
    """Both teams spent something today, in the last weeks and last month."""
    today = organisation_today()
    for back in (0, 1, 8, 40):
        book(cast.ranking, cast.small, today - timedelta(days=back), "12.50")
        book(cast.fraud, cast.large, today - timedelta(days=back), "700")
    book(cast.ranking, cast.frontier, today, "0.004")
    limit(cast.ranking, "300")
    return cast


@pytest.mark.parametrize(
    ("who", "scope", "projects"),
    [
        ("ada", "Search team", {"Ranking"}),
        ("ben", "Search team", {"Ranking"}),
        ("cleo", "Product department", {"Ranking"}),
        ("dan", "Cards team", {"Fraud"}),
        ("fay", "Organisation", {"Ranking", "Fraud"}),
        ("audrey", "Organisation", {"Ranking", "Fraud"}),
        ("ann", "Organisation", {"Ranking", "Fraud"}),
    ],
)
def test_people_see_the_spend_of_what_they_answer_for(
    spent: Cast, who: str, scope: str, projects: set[str]
) -> None:
    page = Visitor(getattr(spent, who)).get("/")

    assert f"{scope}, {selectors.this_month(organisation_today()).label}" in page.words
    assert {row[0].split()[0] for row in page.rows("projects-h")} == projects


def test_figures_on_the_page_are_the_selectors(spent: Cast) -> None:
    today = organisation_today()
    refuse(spent.ranking, selectors.periods.day_starts_at(today), "budget_exhausted", 1_284)

    page = Visitor(spent.ben).get("/")

    shown = selectors.overview(selectors.team_scope(spent.search))
    figures = shown.figures
    assert figures.spent_usd > 0
    assert f"Spent {format_usd(figures.spent_usd)}" in page.words
    assert f"Last 7 days, per day {format_usd(figures.last7_per_day_usd)}" in page.words
    assert f"Calls blocked today 1,284 {figures.blocked_reason}" in page.words
    assert f"{format_usd(figures.low_usd)} to {format_usd(figures.high_usd)}" in page.words
    assert page.rows("models-h") == [
        [row.name, format_usd(row.spent_usd), format_percent(row.share_percent)] for row in shown.models
    ]
    [row], [ranking] = page.rows("projects-h"), shown.projects
    assert row[1:4] == [ranking.status.text, format_usd(ranking.spent_usd), format_usd(ranking.limit_usd)]
    assert row[5] == format_usd(ranking.forecast_usd)


def test_page_says_how_fresh_it_is_and_in_which_time_zone(spent: Cast) -> None:
    page = Visitor(spent.ben).get("/")

    assert "No usage booked yet, not reconciled yet. Days and times are UTC." in page.words


@pytest.mark.parametrize(
    ("period", "label"), [("7d", "last 7 days"), ("mtd", ""), ("last", ""), ("never", "")]
)
def test_period_is_in_the_address(spent: Cast, period: str, label: str) -> None:
    today = organisation_today()
    periods = {"7d": selectors.last_days(today), "last": selectors.last_month(today)}
    expected = periods.get(period, selectors.this_month(today))

    page = Visitor(spent.ben).get("/", p=period)

    figures = selectors.overview(selectors.team_scope(spent.search), period=expected).figures
    assert f"Search team, {label or expected.label}" in page.words
    assert f"Spent {format_usd(figures.spent_usd)}" in page.words


def test_scope_is_in_the_address_and_within_what_the_person_sees(spent: Cast) -> None:
    addresses = {
        "product": spent.product.public_id,
        "search": spent.search.public_id,
        "ranking": spent.ranking.public_id,
    }

    def opens(who: str) -> set[str]:
        visitor = Visitor(getattr(spent, who))
        return {name for name, scope in addresses.items() if visitor.get("/", scope=scope).status == 200}

    assert opens("ada") == opens("ben") == {"search", "ranking"}
    assert opens("cleo") == opens("fay") == {"product", "search", "ranking"}
    assert opens("dan") == opens("eve") == opens("olga") == set()


@pytest.mark.parametrize("scope", ["tem_unknown", "organisation", "\0", "prj_' OR 1=1"])
def test_scope_that_is_not_there_is_a_404_that_says_so(spent: Cast, scope: str) -> None:
    page = Visitor(spent.ada).get("/", scope=scope)

    assert page.status == 404
    assert NOT_YOURS in page.words


def test_finance_may_look_at_one_team(spent: Cast) -> None:
    page = Visitor(spent.fay).get("/", scope=spent.cards.public_id, p="7d")

    assert "Cards team, last 7 days" in page.words
    assert [row[0].split()[0] for row in page.rows("projects-h")] == ["Fraud"]
    assert "Organisation Payments department Product department Cards team Search team Show" in page.words


def test_who_works_in_two_teams_sees_both_and_may_look_at_each(spent: Cast) -> None:
    spent.ada.memberships.create(team=spent.cards, valid_from=spent.ada.date_joined)

    both = Visitor(spent.ada).get("/")
    one = Visitor(spent.ada).get("/", scope=spent.cards.public_id)

    assert "Your teams, " in both.words
    assert "Each team has its own budget" in both.words
    assert {row[0].split()[0] for row in both.rows("projects-h")} == {"Ranking", "Fraud"}
    assert [row[0].split()[0] for row in one.rows("projects-h")] == ["Fraud"]


def test_who_is_in_no_team_is_told_what_to_do(spent: Cast) -> None:
    spent.ada.memberships.all().delete()

    page = Visitor(spent.ada).get("/")

    assert page.status == 200
    assert "No projects yet" in page.words
    assert "An administrator adds teams, and who leads one adds projects." in page.words


def test_chart_alone_answers_htmx(spent: Cast) -> None:
    whole = Visitor(spent.ben).get("/", view="daily")
    part = Visitor(spent.ben).get("/", view="daily", htmx_target="chart")

    assert "Spend per day by tier" in whole.words
    assert part.words.startswith("Spend per day by tier To date Daily Tier 1 Tier 2 Tier 3")
    assert "Waiting for you" not in part.words
    assert part.response.content.strip().startswith(b'<section class="card" id="chart"')


def test_links_keep_the_rest_of_the_address(spent: Cast) -> None:
    page = Visitor(spent.ben).get("/", p="7d", sort="name", scope=spent.search.public_id, junk="x")

    assert f"/?scope={spent.search.public_id}&p=7d&view=daily&sort=name" in page.links
    assert f"/?scope={spent.search.public_id}&sort=name" in page.links
    assert not any("junk" in link for link in page.links)


def test_table_is_sorted_as_the_address_says(spent: Cast) -> None:
    today = organisation_today()
    for name, amount in (("Alpha", "1"), ("zeta", "900")):
        project = ProjectFactory.create(name=name, team=spent.search)
        book(project, spent.small, today, amount)
    limit(ProjectFactory.create(name="Beta", team=spent.search), "50")

    def order(sort: str) -> list[str]:
        rows = Visitor(spent.ben).get("/", sort=sort).rows("projects-h")
        return [row[0].split()[0] for row in rows]

    assert order("") == order("-spent") == order("nonsense") == ["zeta", "Ranking", "Alpha", "Beta"]
    assert order("spent") == ["Beta", "Alpha", "Ranking", "zeta"]
    assert order("name") == ["Alpha", "Beta", "Ranking", "zeta"]
    assert order("limit")[:2] == ["Beta", "Ranking"]
    assert order("-limit")[:2] == ["Ranking", "Beta"]


def test_coming_breach_names_the_day_and_leads_to_the_budget(spent: Cast) -> None:
    budget = limit(ProjectFactory.create(name="Tight", team=spent.search), "1")
    book(Project.objects.get(name="Tight"), spent.small, organisation_today(), "2")

    page = Visitor(spent.ben).get("/")

    assert "Tight has spent its budget." in page.words
    assert f"/budgets/{budget}/" in page.links


def test_requests_wait_for_whom_they_wait_for(spent: Cast) -> None:
    asked = AccessRequestFactory.create(requester=spent.ada, project=spent.ranking, tier=spent.tier2)

    lead, asker = Visitor(spent.ben).get("/"), Visitor(spent.ada).get("/")

    assert f"/approvals/{asked.public_id}/" in lead.links
    assert "Tier 2 for Ranking" in lead.words
    assert "Approvals , 1 waiting for you" in lead.words
    assert "Nothing waits for your decision." in asker.words
    assert "waiting for you" not in asker.words


def test_page_asks_as_often_for_fifty_projects_as_for_five(spent: Cast) -> None:
    today = organisation_today()

    def grow(number: int) -> None:
        for _ in range(number):
            project = ProjectFactory.create(team=spent.search)
            limit(project, "100")
            book(project, spent.large, today, "3")
            AccessRequestFactory.create(requester=spent.ada, project=project, tier=spent.tier2)

    grow(4)
    few = Visitor(spent.ben).queries("/")
    grow(45)
    many = Visitor(spent.ben).queries("/")

    assert len(few) == len(many) <= 12
    assert len(Visitor(spent.ben).get("/").rows("projects-h")) == 50


def test_own_key_waits_to_be_revealed_where_one_looks_first(spent: Cast) -> None:
    waits = issue_key(actor=spent.ada, project=spent.ranking, name="laptop")

    assert f"/keys/{waits.public_id}/reveal/" in Visitor(spent.ada).get("/").links
    assert "Reveal the key" not in Visitor(spent.ben).get("/").words

    reveal(actor=spent.ada, key=waits)
    assert "Reveal the key" not in Visitor(spent.ada).get("/").words
