"""Reports are sorted by the column that their address names, on the page and in the CSV."""

from __future__ import annotations

import csv
from decimal import Decimal
from io import StringIO

import pytest

from budgets.models import Mode, ScopeKind, Window
from budgets.services.limits import open_budget
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import ProjectFactory, TeamFactory
from tests.usage.books import book
from usage.selectors import organisation_today


@pytest.fixture
def teams(cast: Cast) -> Cast:
    """Let three teams differ in everything: calls, spending, budget, and the part of it that is used."""
    for name, calls, spent, limit in (("Ants", 3, "2", "40"), ("Bees", 1, "6", "50"), ("Crows", 2, "4", "8")):
        team = TeamFactory.create(name=name, department=cast.product)
        project = ProjectFactory.create(team=team, owner=cast.ben)
        book(project, cast.large, organisation_today(), spent, calls=calls)
        open_budget(
            actor=None, scope_kind=ScopeKind.TEAM, scope_id=team.pk, department=cast.product, mode=Mode.HARD,
            window=Window.MONTH, amount_usd=Decimal(limit), reason="A test.",
        )  # fmt: skip
    return cast


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("", "Bees Crows Ants"),
        ("team", "Ants Bees Crows"),
        ("-team", "Crows Bees Ants"),
        ("calls", "Bees Crows Ants"),
        ("-calls", "Ants Crows Bees"),
        ("spent", "Ants Crows Bees"),
        ("-spent", "Bees Crows Ants"),
        ("budget", "Crows Ants Bees"),
        ("-budget", "Bees Ants Crows"),
        ("used", "Ants Bees Crows"),
        ("-used", "Crows Bees Ants"),
        ("nonsense", "Bees Crows Ants"),
    ],
)
def test_teams_stand_in_the_order_that_the_address_asks_for(teams: Cast, sort: str, names: str) -> None:
    visitor, query = Visitor(teams.fay), {"sort": sort} if sort else {}
    page = visitor.get("/reports/", **query)
    answer = visitor.client.get("/reports/", {**query, "format": "csv"})
    shown = [row[0].split()[0] for row in page.rows("teams-h")]
    told = [row["team"] for row in csv.DictReader(StringIO(answer.content.decode()))]
    for order in (shown, told):
        assert [name for name in order if name in names.split()] == names.split()
