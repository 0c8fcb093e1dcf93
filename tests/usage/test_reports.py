"""Statements and the showback: what a month is made of, and what falls to a team that nobody caused."""

from __future__ import annotations

import csv
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.db import connection

from budgets.models import Entry, EntryKind, Mode, ScopeKind, Window
from budgets.services.limits import change_limit, open_budget
from catalog.models import LlmModel, Provider
from core import clock
from core.money import format_usd
from teams.services import rename_project
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import ApiKeyFactory, ProjectFactory, TeamFactory
from tests.usage.books import book
from usage.models import Invoice, PeriodClose, PeriodState, ProviderAccount, ProviderCost
from usage.selectors import last_month, organisation_today, team_scope, this_month
from usage.selectors.periods import day_starts_at
from usage.selectors.premium import premium_of, premium_rows
from usage.selectors.statement import closed_rows, standing_of, statement


def month() -> str:
    return f"{organisation_today():%Y-%m}"


def address(cast: Cast) -> str:
    return f"/reports/{cast.search.public_id}/{month()}/"


def lines(cast: Cast) -> list[dict[str, str]]:
    """Download the statement as Ben does."""
    response = Visitor(cast.ben).client.get(address(cast), {"format": "csv"})
    return list(csv.DictReader(StringIO(response.content.decode())))


def entry(cast: Cast, kind: EntryKind, amount: str, *, days_ago: int = 0, reason: str = "") -> None:
    """Post an entry on the ranking's, of a call so many days ago."""
    Entry.objects.create(
        kind=kind, amount_usd=Decimal(amount), budget_ids=[], window_starts=[], key_id=1,
        project=cast.ranking, team=cast.search, department=cast.product, model=cast.large, reason=reason,
        effective_at=clock.now() - timedelta(days=days_ago), recorded_at=clock.now(),
    )  # fmt: skip


def test_corrections_and_what_belongs_to_earlier_months_stand_apart(cast: Cast) -> None:
    entry(cast, EntryKind.ADJUST, "-2.5", reason="Refunded by the provider.")
    entry(cast, EntryKind.LATE, "1")
    entry(cast, EntryKind.LATE, "4", days_ago=40)
    entry(cast, EntryKind.SETTLE, "100")

    found = statement(cast.search, this_month(organisation_today()))

    assert found.corrected_usd == Decimal("-1.5")
    assert found.prior_usd == 4
    assert [(each.kind, each.is_prior) for each in found.adjustments] == [
        ("Adjustment", False),
        ("Late settlement", False),
        ("Late settlement", True),
    ]
    assert "Refunded by the provider." in Visitor(cast.ben).get(address(cast)).words


def test_limits_of_the_month_and_what_was_carried_in(cast: Cast) -> None:
    budget = open_budget(
        actor=None, scope_kind=ScopeKind.TEAM, scope_id=cast.search.pk, department=cast.product,
        window=Window.MONTH, mode=Mode.HARD, amount_usd=Decimal(1000), reason="The plan.",
    )  # fmt: skip
    change_limit(actor=cast.fay, budget=budget, amount_usd=Decimal(1200), reason="A launch.")
    Entry.objects.create(
        kind=EntryKind.CARRY, amount_usd=Decimal(-50), budget_ids=[budget.pk],
        window_starts=[day_starts_at(this_month(organisation_today()).first_day)],
        effective_at=clock.now(), recorded_at=clock.now(),
    )  # fmt: skip

    page = Visitor(cast.ben).get(address(cast))

    amounts = [cells[-1] for cells in page.rows("limits-h")]
    assert sorted(amounts) == ["$1,000.00", "$1,200.00"]
    assert "A launch." in page.words
    assert [page.rows("sum-h")[1][0].split(" Hard")[0], page.rows("sum-h")[1][2]] == ["Carried in", "$50.00"]


def test_premium_is_what_tier_3_cost_above_the_cheapest_everyday_model(cast: Cast) -> None:
    today = organisation_today()
    book(cast.ranking, cast.frontier, today, "90", input_tokens=1_000_000, output_tokens=1_000_000)
    book(cast.ranking, cast.large, today, "5")

    period = this_month(today)
    found = premium_of(list(premium_rows(team_scope(cast.search), period)), period)

    assert found.reference_model == "small"
    assert (found.cost_usd, found.everyday_usd) == (90, Decimal("0.75"))  # 0.15 in and 0.60 out
    assert found.premium_usd == Decimal("89.25")


def test_unallocated_cost_is_shared_out_by_spend(cast: Cast) -> None:
    today = organisation_today()
    book(cast.ranking, cast.large, today, "30")
    book(cast.fraud, cast.large, today, "10")
    account = ProviderAccount.objects.create(provider="openai", name="org-1")
    cost = {"account": account, "day": today, "read_at": clock.now()}
    ProviderCost.objects.create(**cost, amount_usd=Decimal(50), line_item="now")
    ProviderCost.objects.create(**cost, amount_usd=Decimal(45), line_item="before", superseded_at=clock.now())

    found = statement(cast.search, this_month(today))

    assert found.unallocated.usd == 10
    assert found.unallocated_usd == Decimal("7.5")
    rows = Visitor(cast.fay).get("/reports/").rows("teams-h")
    assert [cells[-1] for cells in rows] == ["$7.50", "$2.50"]


def test_spend_on_a_provider_that_told_nothing_yet_is_not_taken_off(cast: Cast) -> None:
    today = organisation_today()
    LlmModel.objects.filter(pk=cast.frontier.pk).update(provider=Provider.ANTHROPIC)
    book(cast.ranking, cast.large, today, "30")
    book(cast.fraud, cast.frontier, today, "500")
    ProviderAccount.objects.create(provider=Provider.ANTHROPIC, name="org-2")
    account = ProviderAccount.objects.create(provider=Provider.OPENAI, name="org-1")
    ProviderCost.objects.create(account=account, day=today, read_at=clock.now(), amount_usd=Decimal(83))

    found = statement(cast.search, this_month(today))

    assert (found.unallocated.usd, found.unallocated.attributed_usd) == (53, 530)
    assert found.unallocated_usd == 3
    rows = Visitor(cast.fay).get("/reports/").rows("teams-h")
    assert sorted(cells[-1] for cells in rows) == ["$3.00", "$50.00"]


def test_bill_for_the_month_stands_for_what_the_provider_told_by_day(cast: Cast) -> None:
    today, period = organisation_today(), this_month(organisation_today())
    book(cast.ranking, cast.large, today, "30")
    account = ProviderAccount.objects.create(provider="openai", name="org-1")
    ProviderCost.objects.create(account=account, day=today, read_at=clock.now(), amount_usd=Decimal(50))
    Invoice.objects.create(
        account=account, number="1", period_start=period.first_day, total_usd=Decimal("33.3"),
        period_end=period.last_day + timedelta(days=1), document_hash="0",
    )  # fmt: skip
    assert statement(cast.search, period).unallocated.usd == Decimal("3.3")


def test_variance_is_against_the_pace_before_the_month(cast: Cast) -> None:
    period = this_month(organisation_today())
    for back in range(1, 15):
        book(cast.ranking, cast.large, period.first_day - timedelta(days=back), "2")
    book(cast.ranking, cast.large, period.first_day, "100")

    found = statement(cast.search, period)

    days = (period.last_day - period.first_day).days + 1
    assert found.expected_usd == 2 * days
    assert found.variance_usd == 100 - 2 * days


def test_variance_is_against_the_forecast_of_the_first_day(cast: Cast) -> None:
    """Nothing is used at weekends, so a month with many of them is expected to cost less."""
    period = this_month(organisation_today())
    before = [period.first_day - timedelta(days=back) for back in range(1, 22)]
    for day in before:
        if day.weekday() < 5:
            book(cast.ranking, cast.large, day, "10")
    length = (period.last_day - period.first_day).days + 1
    workdays = [day for day in range(length) if (period.first_day + timedelta(days=day)).weekday() < 5]

    found = statement(cast.search, period)

    assert found.expected_usd == 10 * len(workdays)
    [line] = [line for line in lines(cast) if line["name"] == "Expected when the month began"]
    assert line["note"] == "forecast as of its first day, weekly pattern"


def test_statement_of_a_closed_month_is_final(cast: Cast) -> None:
    period = last_month(organisation_today())
    closed_at = clock.now()
    PeriodClose.objects.create(
        month=period.first_day, state=PeriodState.CLOSED, soft_closed_at=closed_at, soft_closed_by=cast.fay,
        closed_at=closed_at, closed_by=cast.fay,
    )  # fmt: skip
    assert (
        standing_of(list(closed_rows(period)), period, organisation_today()).text
        == f"Final: closed on {closed_at:%-d %B %Y}"
    )


def test_month_over_bears_the_names_of_its_end(cast: Cast) -> None:
    before = last_month(organisation_today())
    book(cast.ranking, cast.large, before.first_day, "7")
    rename_project(actor=cast.ann, project=cast.ranking, name="Ranking of tomorrow", reason="A test.")
    old = Visitor(cast.ben).get(f"/reports/{cast.search.public_id}/{before.first_day:%Y-%m}/")
    assert old.rows("projects-h") == [["Ranking", "1", "$7.00", "100%"]]


@pytest.mark.parametrize(
    ("days_after", "says"), [(-3, "Running"), (0, "Running"), (2, "Open"), (3, "Open"), (4, "Provisional")]
)
def test_statement_says_how_firm_it_is(db: None, days_after: int, says: str) -> None:
    period = this_month(organisation_today())
    assert standing_of([], period, period.last_day + timedelta(days=days_after)).text.startswith(says)


@pytest.mark.parametrize("bad", ["2026-13", "2026-1", "september", "2999-01", "2026-11-01"])
def test_month_that_is_none_is_not_there(cast: Cast, bad: str) -> None:
    assert Visitor(cast.ben).get(f"/reports/{cast.search.public_id}/{bad}/").status == 404
    assert Visitor(cast.ben).get("/reports/", month=bad).status == 404


def test_csv_has_nothing_that_a_spreadsheet_would_run(cast: Cast) -> None:
    project = ProjectFactory.create(team=cast.search, name="=HYPERLINK(1)")
    key = ApiKeyFactory.create(project=project, name="@SUM(1)", owner=cast.ada)
    book(project, cast.large, organisation_today(), "1", key=key)
    names = {line["name"] for line in lines(cast)}
    assert {"'=HYPERLINK(1)", "'@SUM(1)"} <= names


def test_statement_shows_what_its_csv_has(cast: Cast) -> None:
    book(cast.ranking, cast.frontier, organisation_today(), "12.345678901234", owner=cast.ada)
    page = Visitor(cast.ben).get(address(cast))
    for section, label in (("By project", "projects-h"), ("By tier", "tiers-h"), ("By key", "keys-h")):
        shown = [line["amount_usd"] for line in lines(cast) if line["section"] == section]
        assert shown == ["12.345678901234"]
        assert [cells[2] for cells in page.rows(label)] == [format_usd(Decimal(shown[0]))]


def test_director_sees_his_teams_and_finance_all(cast: Cast) -> None:
    for who, teams in ((cast.cleo, {"Search"}), (cast.fay, {"Search", "Cards"}), (cast.ada, set())):
        rows = Visitor(who).get("/reports/").rows("teams-h")
        assert {cells[0].split()[0] for cells in rows if cells} == teams


def test_reports_cost_the_same_at_5_and_at_50_rows(cast: Cast) -> None:
    def grow(number: int) -> None:
        for _ in range(number):
            team = TeamFactory.create(department=cast.product)
            for home in (team, cast.search):
                project = ProjectFactory.create(team=home)
                key = ApiKeyFactory.create(project=project)
                book(project, cast.frontier, organisation_today(), "1", key=key)
            entry(cast, EntryKind.ADJUST, "1", reason=f"Because of {team.pk}.")

    grow(5)
    visitor, pages = Visitor(cast.fay), ("/reports/", address(cast))
    few = [len(visitor.queries(page)) for page in pages]
    grow(45)

    assert [len(visitor.queries(page)) for page in pages] == few
    assert few[0] <= 8
    assert few[1] <= 10


def test_no_report_reads_the_raw_tables_through(cast: Cast) -> None:
    """The events are never read, and the ledger only by the indexes that hold few of its rows."""
    open_budget(
        actor=None, scope_kind=ScopeKind.TEAM, scope_id=cast.search.pk, department=cast.product,
        window=Window.MONTH, mode=Mode.HARD, amount_usd=Decimal(1000), reason="The plan.",
    )  # fmt: skip
    visitor = Visitor(cast.fay)
    places = f"/teams/{cast.search.public_id}/", f"/projects/{cast.ranking.public_id}/"
    pages = ("/", "/reports/", address(cast), *places)
    statements = {page: visitor.queries(page) for page in pages}

    assert [sql for found in statements.values() for sql in found if "usage_event" in sql] == []
    ledger = [sql for sql in statements[address(cast)] if 'FROM "budgets_entry"' in sql]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plans = ["\n".join(line for (line,) in explained(cursor, sql)) for sql in ledger]
    assert len(plans) == 2
    assert "entry_put_right_by_team" in plans[0]
    assert "entry_one_carry_per_window" in plans[1]


def explained(cursor: Any, sql: str) -> list[tuple[str]]:
    cursor.execute(f"EXPLAIN {sql}")
    rows: list[tuple[str]] = cursor.fetchall()
    return rows
