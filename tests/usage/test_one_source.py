"""One number, one definition: the page, its CSV, the API and the metric of the same thing are the same."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any, Literal

import pytest
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from budgets.models import Entry, EntryKind
from catalog.models import LlmModel
from core import clock
from core.exposition import exposition
from core.money import format_usd
from keys.models import ApiKey
from portal.metrics import collected
from teams.models import Project, User
from tests.api.test_matrix import undone
from tests.api.world import Caller
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import ApiKeyFactory, ProjectFactory
from tests.house.source import app_sources
from tests.usage.books import book
from tests.usage.exposition import parse
from usage import selectors
from usage.selectors import organisation_today
from usage.types import Period

LONGEST_AGO = 70
VIEWERS = ("ben", "cleo", "fay")
# Where the roll-up may be named: the one door, what checks it, and what counts calls and no money.
MAY_NAME_DAYS = {
    "usage/models/events.py",
    "usage/models/__init__.py",
    "usage/selectors/rollup.py",
    "usage/selectors/ledger.py",
    "approvals/reviews.py",
    "portal/demo/spend.py",
    "usage/services/retention.py",
}
MAY_ONLY_ANNOTATE_DAYS = {
    "usage/selectors/spend.py",
    "usage/selectors/summary.py",
    "usage/selectors/lines.py",
}
# The events are for those who write them, and for comparisons of the books with others.
MAY_NAME_EVENTS = re.compile(
    r"usage/(models|services|ingest|migrations|selectors/(ledger|reconciliation))|gateway/|portal/demo/"
)

# Each example opens some twenty pages: few of them, and none to make a failure smaller.
RANDOM: dict[str, Any] = {
    "deadline": None,
    "phases": [Phase.generate],
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}
Amounts = st.decimals(min_value=-3, max_value=900, places=12, allow_nan=False, allow_infinity=False)
Bookings = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 1), st.integers(0, LONGEST_AGO), Amounts),
    max_size=14,
)


@dataclass(frozen=True)
class Look:
    """Who looks at what, and which tier and model he compares."""

    viewer: Literal["ben", "cleo", "fay"]
    period: Literal["7d", "mtd", "last"]
    sort: Literal["", "name", "-name", "spent", "limit"]
    tier: Literal[1, 2, 3]
    model: Literal[0, 1, 2, 3]


class Shop:
    """Projects of both teams, models of all tiers, two keys for each project."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        more = ProjectFactory.create(team=cast.search, name="=HYPERLINK(1)", code="more", owner=cast.ada)
        self.projects: list[Project] = [cast.ranking, more, cast.fraud]
        self.projects.append(ProjectFactory.create(team=cast.cards, name="Cards API", owner=cast.dan))
        self.models: list[LlmModel] = [cast.small, cast.large, cast.larger, cast.frontier]
        self.keys: dict[int, list[ApiKey]] = {
            project.pk: [
                ApiKeyFactory.create(project=project, owner=owner)
                for owner in (project.owner, cast.ada if project.team == cast.search else cast.dan)
            ]
            for project in self.projects
        }

    def book(self, bookings: Sequence[tuple[int, int, int, int, Decimal]]) -> None:
        """Book days, several on one row too; what is less than nothing with the entry that took it off."""
        rows: dict[tuple[int, int, int, int], Decimal] = {}
        for project, model, key, back, amount in bookings:
            place = (project, model, key, back)
            rows[place] = rows.get(place, Decimal(0)) + amount
            if amount < 0:
                credit(self.projects[project], self.models[model], self.keys, key, amount)
        for (project, model, key, back), amount in rows.items():
            home = self.projects[project]
            owned = self.keys[home.pk][key]
            day = organisation_today() - timedelta(days=back)
            book(home, self.models[model], day, f"{amount:f}", owner=owned.owner, key=owned)


def credit(
    project: Project, model: LlmModel, keys: dict[int, list[ApiKey]], key: int, amount: Decimal
) -> None:
    """Write the entry of a correction that takes money off."""
    Entry.objects.create(
        kind=EntryKind.ADJUST,
        amount_usd=amount,
        budget_ids=[],
        window_starts=[],
        key_id=keys[project.pk][key].pk,
        project=project,
        team=project.team,
        department=project.team.department,
        model=model,
        reason="A test.",
        effective_at=clock.now(),
        recorded_at=clock.now(),
    )


@pytest.fixture
def shop(cast: Cast) -> Shop:
    """Open the shop."""
    return Shop(cast)


@pytest.mark.timeout(300)
@given(bookings=Bookings, look=st.builds(Look))
@settings(max_examples=6, **RANDOM)
def test_page_csv_api_and_metric_agree(
    shop: Shop, bookings: list[tuple[int, int, int, int, Decimal]], look: Look
) -> None:
    with undone():
        shop.book(bookings)
        reader = Reader(getattr(shop.cast, look.viewer), look.period)
        page, rows = reader.page("/", sort=look.sort), reader.csv("/", sort=look.sort)
        spent = sum((Decimal(row["spent_usd"]) for row in rows), Decimal(0))

        assert reader.api() == spent
        assert f"Spent {format_usd(spent)}" in page.words
        assert [cells[2] for cells in page.rows("projects-h")] == [
            format_usd(Decimal(row["spent_usd"])) for row in rows
        ]
        for row in rows:
            project = next(each for each in shop.projects if each.code == row["project_id"])
            assert reader.api(project=project.public_id) == Decimal(row["spent_usd"])
            if row is rows[0]:
                check_project(reader, project, Decimal(row["spent_usd"]))
        check_days(reader, page, spent, look.tier)
        check_models(reader, page, shop.models[look.model])
        check_metrics(shop)


@pytest.mark.timeout(300)
@given(bookings=Bookings, viewer=st.sampled_from(VIEWERS), is_past=st.booleans())
@settings(max_examples=4, **RANDOM)
def test_statement_showback_and_team_agree(
    shop: Shop, bookings: list[tuple[int, int, int, int, Decimal]], viewer: str, is_past: bool
) -> None:
    with undone():
        shop.book(bookings)
        reader = Reader(getattr(shop.cast, viewer), "last" if is_past else "mtd")
        month = f"{reader.period.first_day:%Y-%m}"
        for row in reader.csv(reverse("reports:list"), month=month):
            spent = Decimal(row["spent_usd"])
            assert reader.api(team=row["team_id"]) == spent

            address = reverse("reports:statement", args=[row["team_id"], month])
            lines, page = reader.csv(address), reader.page(address)
            summed = {name: sums(lines, f"By {name}") for name in ("project", "model", "tier", "key")}
            assert summed == dict.fromkeys(summed, spent)
            assert page.rows("sum-h")[0][2] == format_usd(spent)
            for section in ("project", "model", "tier", "key"):
                shown = [cells[2] for cells in page.rows(f"{section}s-h")]
                assert shown == [
                    format_usd(Decimal(line["amount_usd"]))
                    for line in lines
                    if line["section"] == f"By {section}"
                ]
            if not is_past:
                team = reader.csv(reverse("team", args=[row["team_id"]]))
                assert sums(team, "People") == sums(team, "Projects") == spent
                assert Decimal(of(team, "Last 12 months")[0]["amount_usd"]) == spent


def check_project(reader: Reader, project: Project, spent: Decimal) -> None:
    address = reverse("project", args=[project.public_id])
    lines, page = reader.csv(address), reader.page(address)
    assert sums(lines, "By key") == sums(lines, "By day") == spent
    assert f"Spent {format_usd(spent)}" in page.words
    assert [cells[-1] for cells in page.rows("keys-h")] == [
        format_usd(Decimal(line["amount_usd"])) for line in of(lines, "By key")
    ]


def check_days(reader: Reader, page: Any, spent: Decimal, tier: int) -> None:
    """Compare the table of days, and one tier of it, with the API."""
    rows = selectors.spend_by_day(reader.scope, reader.period)
    assert [cells[-1] for cells in page.rows("Figures by day")] == [
        format_usd(row.to_date_usd) for row in rows
    ]
    assert (rows[-1].to_date_usd if rows else Decimal(0)) == spent
    assert sum((row.by_tier_usd[tier - 1] for row in rows), Decimal(0)) == reader.api(tier=tier)


def check_models(reader: Reader, page: Any, model: LlmModel) -> None:
    shown = {cells[0]: cells[1] for cells in page.rows("models-h")}
    amount = reader.api(model=model.public_id)
    assert shown.get(model.name, format_usd(Decimal(0))) == format_usd(amount)


def check_metrics(shop: Shop) -> None:
    """Compare each series since the beginning with the API over all days that were booked."""
    found = parse(exposition(collected()))
    spent, credited = found["purser_spend_usd_total"], found["purser_spend_credits_usd_total"]
    today = organisation_today()
    reader = Reader(shop.cast.fay, "mtd")
    reader.period = selectors.custom(today - timedelta(days=LONGEST_AGO), today)

    def net(**labels: str) -> Decimal:
        return spent.total(**labels) - credited.total(**labels)

    assert net() == reader.api()
    for project in shop.projects:
        assert net(project=project.code) == reader.api(project=project.public_id)
    for number in (1, 2, 3):
        assert net(tier=str(number)) == reader.api(tier=number)
    for model in shop.models:
        assert net(model=model.name) == reader.api(model=model.public_id)


class Reader:
    """One person who looks at the same period by every way."""

    def __init__(self, user: User, period: str) -> None:
        today = organisation_today()
        self.visitor, self.caller = Visitor(user), Caller(user)
        self.scope = selectors.scope_for(user)
        self.asked = {"p": period}
        known = {"7d": selectors.last_days, "mtd": selectors.this_month, "last": selectors.last_month}
        self.period: Period = known[period](today)

    def page(self, address: str, **query: str) -> Any:
        """Open a page in the period."""
        page = self.visitor.get(address, **self.asked, **query)
        assert page.status == 200, page.words
        return page

    def csv(self, address: str, **query: str) -> list[dict[str, str]]:
        """Download the CSV of a page in the period."""
        response = self.visitor.client.get(address, {"format": "csv", **self.asked, **query})
        assert response.status_code == 200
        return list(csv.DictReader(StringIO(response.getvalue().decode())))

    def api(self, **only: Any) -> Decimal:
        """Return what the API's lines add up to, over all its pages."""
        last = min(self.period.last_day, organisation_today())
        return sum(self._costs(self.period.first_day, last, only), Decimal(0))

    def _costs(self, first: date, last: date, only: dict[str, Any]) -> Iterator[Decimal]:
        answer = self.caller.get("usage/days/", **{"from": first, "to": last, "limit": 50, **only}).json()
        while True:
            yield from (Decimal(line["cost_usd"]) for line in answer["results"])
            if not answer["next"]:
                return
            answer = self.caller.get(answer["next"]).json()


def of(lines: list[dict[str, str]], section: str) -> list[dict[str, str]]:
    """Return the lines of a section of a sheet."""
    return [line for line in lines if line["section"] == section]


def sums(lines: list[dict[str, str]], section: str) -> Decimal:
    """Add up a section of a sheet."""
    return sum((Decimal(line["amount_usd"]) for line in of(lines, section)), Decimal(0))


def test_the_roll_up_has_one_door() -> None:
    name = re.compile(r"\b(UsageDay|ProjectDay)\b")
    named = {source.path for source in app_sources() if name.search(source.text)}
    assert named - MAY_NAME_DAYS - MAY_ONLY_ANNOTATE_DAYS == set()
    for source in app_sources():
        if source.path in MAY_ONLY_ANNOTATE_DAYS:
            assert "UsageDay.objects" not in source.text, source.path


def test_nothing_that_people_see_reads_events() -> None:
    named = {source.path for source in app_sources() if re.search(r"\bUsageEvent\b", source.text)}
    assert [path for path in sorted(named) if not MAY_NAME_EVENTS.match(path)] == []
