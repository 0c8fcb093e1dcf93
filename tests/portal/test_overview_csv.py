"""The CSV of the Overview: exactly what its table shows, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
from decimal import Decimal
from io import StringIO

import pytest

from core.gauges import format_percent
from core.money import format_usd
from core.spreadsheets import csv_text, inert
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import ProjectFactory, UserFactory
from tests.portal.test_overview import limit
from tests.usage.books import book
from usage.selectors import organisation_today


def read(who: Visitor, **query: str) -> list[dict[str, str]]:
    """Download the table."""
    response = who.client.get("/", {"format": "csv", **query})
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"].startswith('attachment; filename="projects-')
    return list(csv.DictReader(StringIO(response.content.decode())))


def usd(text: str, *, none: str = "—") -> str:
    """Write an amount of the CSV as the page does."""
    return format_usd(Decimal(text)) if text else none


@pytest.mark.parametrize("query", [{}, {"p": "last"}, {"p": "7d", "sort": "name"}, {"sort": "limit"}])
def test_csv_is_what_the_page_shows(cast: Cast, query: dict[str, str]) -> None:
    for number in range(6):
        project = ProjectFactory.create(team=cast.search, name=f"Project {number}")
        book(project, cast.large, organisation_today(), f"{number}.00{number}")
        if number % 2:
            limit(project, str(number * 10))
    visitor = Visitor(cast.ben)

    page, rows = visitor.get("/", **query), read(visitor, **query)

    assert len(rows) == 7
    assert [
        [
            f"{row['project']} {row['owner']} · {row['tier']}",
            row["status"],
            usd(row["spent_usd"]),
            usd(row["budget_usd"]),
            format_percent(Decimal(row["used_percent"])) if row["used_percent"] else "",
            usd(row["forecast_usd"]),
        ]
        for row in rows
    ] == [cells[:6] for cells in page.rows("projects-h")]


def test_nothing_in_it_is_a_formula(cast: Cast) -> None:
    owner = UserFactory.create(name="@SUM(A1)")
    ProjectFactory.create(team=cast.search, name="=HYPERLINK(1)", owner=owner)

    rows = read(Visitor(cast.ben))

    assert {"'=HYPERLINK(1)", "Ranking"} == {row["project"] for row in rows}
    assert "'@SUM(A1)" in {row["owner"] for row in rows}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_text_that_a_spreadsheet_would_run_is_quoted(start: str) -> None:
    assert inert(f"{start}1+1") == f"'{start}1+1"


def test_numbers_stay_numbers() -> None:
    assert csv_text(["a"], [[Decimal("-3.50")], [None], [7], ["plain, text"]]) == (
        'a\r\n-3.50\r\n""\r\n7\r\n"plain, text"\r\n'
    )


def test_csv_of_another_team_is_not_there(cast: Cast) -> None:
    response = Visitor(cast.dan).client.get("/", {"format": "csv", "scope": cast.search.public_id})

    assert response.status_code == 404
