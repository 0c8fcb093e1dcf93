"""The pages of a team and of a project: who sees what, what stands on them, and what they cost."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import settings

from budgets.models import Mode, ScopeKind, Window
from budgets.services.limits import open_budget
from core import clock
from core.money import format_usd
from teams.models import Project
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import (
    ApiKeyFactory,
    DelegationFactory,
    MembershipFactory,
    ProjectFactory,
    UserFactory,
    approved_grant,
)
from tests.portal.test_overview import limit
from tests.usage.books import book, refuse
from usage.selectors import last_month, organisation_today, periods


def team_of(cast: Cast) -> str:
    return f"/teams/{cast.search.public_id}/"


def project_of(project: Project) -> str:
    return f"/projects/{project.public_id}/"


def test_lead_sees_who_is_in_his_team_and_what_each_spent(cast: Cast) -> None:
    today = organisation_today()
    key = ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    book(cast.ranking, cast.large, today, "12.50", owner=cast.ada, key=key)
    book(cast.ranking, cast.small, today, "3", owner=cast.dan)

    page = Visitor(cast.ben).get(team_of(cast))

    rows = [[cells[0], cells[1], *cells[3:5]] for cells in page.rows("members-h")]
    assert rows == [
        ["Ada Moreno", "Member", "$12.50", "1"],
        ["Ben Okafor", "Team lead", "$0.00", "0"],
        ["Dan Fischer", "Not in the team now", "$3.00", "0"],
    ]
    assert "Spent, " in page.words
    assert "$15.50" in page.words


def test_member_sees_no_spend_but_his_own(cast: Cast) -> None:
    book(cast.ranking, cast.large, organisation_today(), "12.50", owner=cast.ben)
    visitor = Visitor(cast.ada)

    page = visitor.get(team_of(cast))
    rows = {cells[0]: cells[3:] for cells in page.rows("members-h")}

    assert rows == {"Ada Moreno": ["$0.00", "0"], "Ben Okafor": ["—", "—"]}
    assert "/reports/" not in " ".join(page.links)
    csv = visitor.client.get(team_of(cast), {"format": "csv"}).content.decode()
    [ben] = [line for line in csv.splitlines() if line.startswith("People,Ben Okafor,")]
    assert "Team lead, since " in ben
    assert "key" not in ben
    assert ben.endswith(",,,")


def test_team_page_says_who_may_approve_and_until_when(cast: Cast) -> None:
    DelegationFactory.create(giver=cast.ben, taker=cast.ada, team=cast.search)
    coming = clock.now() + timedelta(days=2)
    DelegationFactory.create(
        giver=cast.ben,
        taker=cast.cleo,
        team=cast.search,
        valid_from=coming,
        valid_until=coming + timedelta(days=3),
    )

    rows = Visitor(cast.ada).get(team_of(cast)).rows("deciders-h")

    assert [cells[0] for cells in rows] == [
        "Ben Okafor Team lead In office",
        "Cleo Hart Director In office",
        "Ada Moreno Team lead for Ben Okafor Delegate",
        "Cleo Hart Team lead for Ben Okafor Delegate to come",
    ]
    assert rows[0][1].endswith("no end")
    assert f"{coming:%-d %B %Y}" in rows[3][1]


def test_team_page_shows_what_of_its_budget_is_free(cast: Cast) -> None:
    open_budget(
        actor=None, scope_kind=ScopeKind.TEAM, scope_id=cast.search.pk, department=cast.product,
        window=Window.MONTH, mode=Mode.HARD, amount_usd=Decimal(1000), reason="A test.",
    )  # fmt: skip
    limit(cast.ranking, "300")
    limit(ProjectFactory.create(team=cast.search), "250")

    words = Visitor(cast.ben).get(team_of(cast)).words

    assert "Allocated to projects $550.00" in words
    assert "Free $450.00" in words


def test_team_page_has_twelve_months_and_their_statements(cast: Cast) -> None:
    before = last_month(organisation_today())
    book(cast.ranking, cast.large, before.first_day, "7")

    page = Visitor(cast.ben).get(team_of(cast))

    rows = page.rows("months-h")
    assert len(rows) == 12
    assert rows[1][:3] == [f"{before.first_day:%b %Y}", "1", "$7.00"]
    assert f"/reports/{cast.search.public_id}/{before.first_day:%Y-%m}/" in page.links


def test_project_page_answers_what_it_may_call_and_how(cast: Cast) -> None:
    key = ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)
    approved_grant(key, tier_number=2, model_ids=[cast.large.pk], granted_by=cast.ben)
    book(cast.ranking, cast.large, organisation_today(), "12.50", owner=cast.ada, key=key)
    refuse(cast.ranking, clock.now(), "budget_exhausted", 3, key=key)
    budget = limit(cast.ranking, "300")

    page = Visitor(cast.ada).get(project_of(cast.ranking))

    assert page.rows("grants-h")[0][0] == "Tier 2, 1 model nightly of Ada Moreno"
    assert "Ben Okafor" in page.rows("grants-h")[0][1]
    assert page.rows("keys-h")[0][0] == "nightly Ada Moreno"
    assert page.rows("keys-h")[0][-1] == "$12.50"
    assert page.rows("blocked-h")[0][-1] == "3"
    assert page.rows("models-h") == [["large", "$12.50", "100%"]]
    assert f"curl {settings.GATEWAY_PUBLIC_URL}/v1/chat/completions" in page.words
    assert '"Authorization: Bearer $PURSER_KEY"' in page.words
    assert 'model="small"' in page.words
    assert "/approvals/ask/?project=ranking" in page.links
    assert f"/approvals/budgets/{budget}/ask/" in page.links


def test_keys_of_others_are_one_line_for_a_member_and_named_for_the_lead(cast: Cast) -> None:
    book(cast.ranking, cast.large, organisation_today(), "12.50", key=ApiKeyFactory.create(
        name="secret project", project=cast.ranking, owner=cast.ben
    ))  # fmt: skip
    address = project_of(cast.ranking)

    for who, first in ((cast.ada, "Keys of others"), (cast.cleo, "secret project Ben Okafor")):
        rows = Visitor(who).get(address).rows("keys-h")
        assert rows[0][0].startswith(first)
        assert rows[0][-1] == "$12.50"
    assert "secret project" not in Visitor(cast.ada).get(address).words


def test_who_does_not_work_there_is_offered_no_act(cast: Cast) -> None:
    links = " ".join(Visitor(cast.fay).get(project_of(cast.ranking)).links)
    assert "?project=ranking" not in links


@pytest.mark.parametrize("period", ["7d", "mtd", "last"])
def test_refusals_are_those_of_the_period(cast: Cast, period: str) -> None:
    today = organisation_today()
    refuse(cast.ranking, periods.day_starts_at(last_month(today).first_day), "tier_not_granted", 5)
    refuse(cast.ranking, clock.now(), "tier_not_granted", 3)
    rows = Visitor(cast.ben).get(project_of(cast.ranking), p=period).rows("blocked-h")
    assert [cells[-1] for cells in rows] == (["5"] if period == "last" else ["3"])


def test_archived_project_keeps_its_page(cast: Cast) -> None:
    Project.objects.filter(pk=cast.ranking.pk).update(archived_at=clock.now())
    page = Visitor(cast.ada).get(project_of(cast.ranking))
    assert page.status == 200
    assert "Archived" in page.words
    assert "Ask for a tier" not in page.words


def test_overview_leads_to_the_project_and_the_project_to_its_team(cast: Cast) -> None:
    assert project_of(cast.ranking) in Visitor(cast.ben).get("/").links
    assert team_of(cast) in Visitor(cast.ben).get(project_of(cast.ranking)).links


def test_pages_cost_the_same_at_5_and_at_50_rows(cast: Cast) -> None:
    def grow(number: int) -> None:
        for _ in range(number):
            person = UserFactory.create()
            MembershipFactory.create(user=person, team=cast.search)
            project = ProjectFactory.create(team=cast.search, owner=person)
            limit(project, "10")
            book(project, cast.large, organisation_today(), "1")
            key = ApiKeyFactory.create(project=cast.ranking, owner=person)
            approved_grant(key)
            book(cast.ranking, cast.large, organisation_today(), "1", owner=person, key=key)
            refuse(cast.ranking, clock.now(), f"code_{person.pk}", 1, key=key)

    grow(5)
    visitor, addresses = Visitor(cast.ben), (team_of(cast), project_of(cast.ranking))
    few = [visitor.queries(address) for address in addresses]
    grow(45)
    many = [visitor.queries(address) for address in addresses]

    assert [len(each) for each in few] == [len(each) for each in many]
    assert [len(each) for each in many] == [10, 10]
    assert len(visitor.get(addresses[0]).rows("projects-h")) == 51
    assert visitor.get(addresses[1]).rows("keys-h")[0][-1] == format_usd(Decimal(1))
