"""The past stays as it was: no rename, move, end or departure changes a figure or a label of before.

Calls are real: authorised and settled by the decision functions. People look from the month after.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db.models import Model

import keys.services
from budgets.models import Balance, Budget, Entry, ScopeKind, Window
from core import clock
from keys.models import PlannedActivity
from teams import services
from teams.models import Department, Role, Team, User
from tests import factories
from tests.api.world import Caller
from tests.browsing import Visitor
from tests.gateway.conftest import World, world
from usage.models import UsageDay, UsageEvent
from usage.selectors import last_month, organisation_today

__all__ = ["world"]

WHY = "The organisation changes."
COST = Decimal("12.345778000000")  # 12,345,678 tokens in at 1 µ$, 50 out at 2 µ$


@dataclass(frozen=True, kw_only=True)
class Story:
    """The world of the decisions with those who change it, and where things may go."""

    world: World
    ann: User
    payments: Department
    cards: Team

    def call(self) -> Any:
        """Make one call of 12.345778 dollars; return the refusal, or the settlement."""
        answer = self.world.gus.authorize(self.world.token)
        if answer.status_code != 200:
            return answer
        return self.world.gus.settle(answer.json()["reservation"], input_tokens=12_345_678)


@pytest.fixture
def story(world: World) -> Story:
    """Make two calls in team Search, under budgets of every scope; Ann sees and may do everything."""
    payments = factories.DepartmentFactory.create(code="payments", name="Payments")
    ann = factories.UserFactory.create(name="Ann Keller")
    factories.RoleAssignmentFactory.create(user=ann, role=Role.ADMIN)
    cards = factories.TeamFactory.create(code="cards", name="Cards", department=payments)
    factories.MembershipFactory.create(user=world.ada, team=world.team)
    for kind in ScopeKind:
        world.budget(kind.value, kind=kind, limit="500", window=Window.LIFETIME)
    PlannedActivity.objects.create(
        key=world.key,
        starts_at=clock.now(),
        ends_at=clock.now() + timedelta(hours=1),
        most_usd_an_hour=Decimal(500),
        reason="Dear calls.",
        planned_by=ann,
    )
    made = Story(world=world, ann=ann, payments=payments, cards=cards)
    assert [made.call().status_code for _ in range(2)] == [200, 200]
    return made


@pytest.fixture
def next_month() -> Iterator[datetime]:
    """Let people live in the middle of the month after; the database's clock stays."""
    later = (clock.now().replace(day=15) + timedelta(days=31)).replace(day=15, hour=12)
    with time_machine.travel(later, tick=False):
        yield later


def rows_of(*models: type[Model]) -> list[dict[str, Any]]:
    """Return every column of every row."""
    return [row for model in models for row in model._default_manager.order_by("pk").values()]


def past(story: Story, viewer: User) -> dict[str, Any]:
    """Return what pages, files and the API say of the month of the calls, and the rows beneath."""
    month = last_month(organisation_today())
    found: dict[str, Any] = {"rows": rows_of(UsageDay, Entry, UsageEvent, Balance)}
    query = {"from": month.first_day, "to": month.last_day}
    found["api"] = Caller(viewer).get("usage/days/", **query).json()
    team = story.world.team
    places = {
        "organisation": "organisation",
        "department": Department.objects.get(code="product").public_id,
        "team": team.public_id,
        "project": story.world.project.public_id,
    }
    for name, scope in places.items():
        found[name] = page_of(viewer, scope)
    return found


def page_of(viewer: User, scope: str) -> dict[str, Any]:
    """Return the figures and labels of the Overview of last month, and of its file."""
    visitor = Visitor(viewer)
    page = visitor.get("/", p="last", scope=scope)
    assert page.status == 200, page.words
    text = visitor.client.get("/", {"p": "last", "scope": scope, "format": "csv"}).content.decode()
    return {
        "spent": page.words.split(" Spent ", 1)[1].split(" ")[0],
        "projects": [(row[0].split("·")[0], row[2]) for row in page.rows("projects-h")],
        "models": page.rows("models-h"),
        "file": [
            (line["project"], line["project_id"], line["spent_usd"])
            for line in csv.DictReader(text.splitlines())
        ],
    }


def rename_project(story: Story) -> None:
    services.rename_project(actor=story.ann, project=story.world.project, name="Order", reason=WHY)


def rename_team(story: Story) -> None:
    services.rename_team(actor=story.ann, team=story.world.team, name="Find", reason=WHY)


def rename_department(story: Story) -> None:
    department = story.world.team.department
    services.rename_department(actor=story.ann, department=department, name="Products", reason=WHY)


def move_project(story: Story) -> None:
    services.move_project(actor=story.ann, project=story.world.project, team=story.cards, reason=WHY)


def move_team(story: Story) -> None:
    services.move_team(actor=story.ann, team=story.world.team, department=story.payments, reason=WHY)


def archive_project(story: Story) -> None:
    services.archive_project(actor=story.ann, project=story.world.project, reason=WHY)


def archive_team(story: Story) -> None:
    services.archive_team(actor=story.ann, team=story.world.team, reason=WHY)


def revoke_key(story: Story) -> None:
    keys.services.revoke(actor=story.ann, key=story.world.key, reason=WHY)


def let_ada_leave(story: Story) -> None:
    services.deactivate_person(actor=story.ann, user=story.world.ada, reason=WHY, endings=())


Change = Callable[[Story], None]
# What happens, and to which team and department the next call goes; None where it is refused.
CHANGES: dict[Change, tuple[str, str] | None] = {
    rename_project: ("search", "product"),
    rename_team: ("search", "product"),
    rename_department: ("search", "product"),
    move_project: ("cards", "payments"),
    move_team: ("search", "payments"),
    archive_project: None,
    archive_team: None,
    revoke_key: None,
    let_ada_leave: None,
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_past_stays_the_same_to_the_digit_and_in_name(
    story: Story, next_month: datetime, change: Change
) -> None:
    before = past(story, story.ann)
    assert before["organisation"]["spent"] == "$24.69"
    assert before["team"]["file"] == [("Search rank", "search-rank", f"{2 * COST:f}")]
    assert [line["cost_usd"] for line in before["api"]["results"]] == [f"{2 * COST:f}"]

    change(story)

    assert past(story, story.ann) == before


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_next_call_goes_where_things_stand_then(story: Story, change: Change) -> None:
    before = rows_of(Entry, UsageEvent)
    change(story)

    answer = story.call()

    place = CHANGES[change]
    added = [row for row in rows_of(Entry, UsageEvent) if row not in before]
    assert [row for row in rows_of(Entry, UsageEvent) if row in before] == before
    if place is None:
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
        assert added == []
        return
    assert answer.status_code == 200
    team, department = (Team.objects.get(code=place[0]), Department.objects.get(code=place[1]))
    assert {(row["team_id"], row["department_id"]) for row in added} == {(team.pk, department.pk)}
    assert len(added) == 2
    days = UsageDay.objects.filter(team=team, department=department, project=story.world.project)
    moved = change in {move_project, move_team}
    assert [day.cost_usd for day in days] == [COST if moved else 3 * COST]
    assert sum(UsageDay.objects.values_list("cost_usd", flat=True)) == 3 * COST


def test_moved_project_spends_from_the_budgets_of_its_new_team(story: Story) -> None:
    new_team, new_department = (
        factories.BudgetFactory.create(
            project=story.world.project, scope_kind=kind, scope_id=scope_id, department=story.payments
        )
        for kind, scope_id in (
            (ScopeKind.TEAM, story.cards.pk),
            (ScopeKind.DEPARTMENT, story.payments.pk),
        )
    )
    for budget in (new_team, new_department):
        factories.BudgetLimitFactory.create(budget=budget, amount_usd=500)

    move_project(story)
    story.call()

    old = {name: spent(budget) for name, budget in story.world.budgets.items()}
    assert {old[name] for name in ("team", "department")} == {2 * COST}
    assert {old[name] for name in ("key", "project", "organisation")} == {3 * COST}
    assert spent(new_team) == spent(new_department) == COST


def spent(budget: Budget) -> Decimal:
    """Return what a budget's windows have spent together."""
    return sum(Balance.objects.filter(budget=budget).values_list("spent_usd", flat=True), Decimal(0))


def test_call_in_flight_during_a_move_settles_where_it_was_authorised(story: Story) -> None:
    reservation = story.world.gus.authorize(story.world.token).json()["reservation"]

    move_project(story)
    story.world.gus.settle(reservation, input_tokens=12_345_678)

    assert set(UsageEvent.objects.values_list("team__code", "department__code")) == {("search", "product")}
    assert spent(story.world.budgets["team"]) == 3 * COST


def test_lead_of_before_keeps_the_past_and_the_next_one_does_not_get_it(
    story: Story, next_month: datetime
) -> None:
    old, new = (factories.UserFactory.create(name=name) for name in ("Ben Okafor", "Eve Lind"))
    factories.RoleAssignmentFactory.create(user=old, role=Role.LEAD, team=story.world.team)
    factories.RoleAssignmentFactory.create(user=new, role=Role.LEAD, team=story.cards)
    before = page_of(old, "")
    assert before["spent"] == "$24.69"

    move_project(story)

    assert page_of(old, "") == before
    assert page_of(new, "")["spent"] == "$0.00"
    assert page_of(new, "")["file"] == [("Search rank", "search-rank", "0")]


def test_lead_of_an_archived_team_still_reads_its_past(story: Story, next_month: datetime) -> None:
    lead = factories.UserFactory.create(name="Ben Okafor")
    factories.RoleAssignmentFactory.create(user=lead, role=Role.LEAD, team=story.world.team)
    before = page_of(lead, "")

    archive_team(story)

    assert page_of(lead, "") == page_of(lead, story.world.team.public_id) == before


def test_name_is_that_of_the_day_in_a_period_with_a_rename(story: Story, next_month: datetime) -> None:
    rename_project(story)
    rename_team(story)
    today = organisation_today()
    UsageDay.objects.create(
        day=today, key_id=story.world.key.pk, owner=story.world.ada, project=story.world.project,
        team=story.world.team, department=story.world.team.department, model=story.world.small, tier_id=1,
        calls=1, cost_usd=1,
    )  # fmt: skip

    first = last_month(today).first_day
    results = Caller(story.ann).get("usage/days/", **{"from": first, "to": today}).json()["results"]
    assert [(line["project"]["name"], line["team"]["name"]) for line in results] == [
        ("Order", "Find"),
        ("Search rank", "Search"),
    ]


def test_who_reads_at_which_name_changes_nothing_in_the_codes(story: Story, next_month: datetime) -> None:
    rename_project(story)
    rename_team(story)

    month = last_month(organisation_today())
    [line] = Caller(story.ann).get("usage/days/", **{"from": month.first_day}).json()["results"]

    assert (line["project"]["code"], line["team"]["code"]) == ("search-rank", "search")
