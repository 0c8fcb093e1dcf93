"""Where alerts are seen: the list of budgets, the page of one, the API, and for whom."""

from __future__ import annotations

import pytest

from budgets.models import Budget, BudgetAlert
from core import clock
from core.models import AuditEvent
from tests.alerts.scene import DAY, HOUR, budget_of, limit, look, spent
from tests.api.world import Caller
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import ApiKeyFactory
from tests.usage.books import book
from usage.selectors import organisation_today

pytestmark = pytest.mark.django_db
RULES = {"mode": "hard", "allocation": "pool", "roll_over": "none", "reason": "Later is enough."}


@pytest.fixture
def near(cast: Cast) -> Budget:
    """Give the project a budget that has passed 80 % of its limit, now."""
    ranking = budget_of(cast.ranking, "100")
    spent(ranking, "84", at=clock.now())
    look(clock.now())
    return ranking


def test_the_page_of_a_budget_says_which_shares_were_passed_and_when(cast: Cast, near: Budget) -> None:
    address = f"/budgets/{near.public_id}/"
    assert "Forecast over" not in Visitor(cast.ada).get(address).words
    book(cast.ranking, cast.small, organisation_today() - DAY, "1")
    words = Visitor(cast.ada).get(address).words
    at = BudgetAlert.objects.get(percent=80).passed_at
    assert f"80%, $80.00 Passed {at:%-d %B %Y, %H:%M} UTC" in words
    assert "100%, $100.00 Not yet" in words
    assert "Forecast over $100.00 Not yet" in words


def test_after_a_raise_the_page_shows_the_shares_of_both_limits(cast: Cast, near: Budget) -> None:
    limit(near, "200", at=clock.now() - HOUR / 3600)
    spent(near, "170", at=clock.now())
    look(clock.now())
    words = Visitor(cast.ben).get(f"/budgets/{near.public_id}/").words
    assert "50%, $100.00 Passed" in words
    assert "80%, $160.00 Passed" in words
    assert "Told under earlier limits: 80% of $100.00" in words


def test_without_a_limit_the_page_says_that_nothing_is_told(cast: Cast) -> None:
    free = budget_of(cast.ranking, None)
    assert "Without a limit there is nothing to tell of." in (
        Visitor(cast.ben).get(f"/budgets/{free.public_id}/").words
    )


def test_the_list_says_what_people_were_last_told(cast: Cast, near: Budget) -> None:
    budget_of(cast.search, "100")
    [team, project] = [
        row for number in (1, 2) for row in Visitor(cast.ben).get("/budgets/").rows(f"group-{number}")
    ]
    assert "told at 80%" in " ".join(project)
    assert "told" not in " ".join(team)


def test_whoever_sets_the_rules_chooses_the_shares_and_the_audit_keeps_it(cast: Cast, near: Budget) -> None:
    address = f"/budgets/{near.public_id}/rules/"
    assert 'value="50, 80, 100"' in Visitor(cast.ben).get(address).response.content.decode()
    sent = Visitor(cast.ben).post(address, **RULES, alert_percents="95%, 60")
    assert sent.status == 302
    assert Budget.objects.get(pk=near.pk).alert_percents == [60, 95]
    event = AuditEvent.objects.get(action="budget.rules_changed")
    assert (event.before, event.after) == (
        {"alert_percents": [50, 80, 100]},
        {"alert_percents": [60, 95]},
    )
    words = Visitor(cast.ben).get(f"/budgets/{near.public_id}/").words
    assert "95%, $95.00 Not yet" in words


@pytest.mark.parametrize(
    ("entered", "problem"),
    [
        ("half", "Enter whole numbers such as 50, 80, 100"),
        ("0, 80", "Name 1 to 6 shares of the limit, from 1 to 200 per cent."),
        ("80, 201", "Name 1 to 6 shares of the limit, from 1 to 200 per cent."),
        ("1 2 3 4 5 6 7", "Name 1 to 6 shares of the limit, from 1 to 200 per cent."),
    ],
)
def test_shares_that_cannot_be_are_said_at_their_field(
    cast: Cast, near: Budget, entered: str, problem: str
) -> None:
    page = Visitor(cast.ben).post(f"/budgets/{near.public_id}/rules/", **RULES, alert_percents=entered)
    assert page.status == 422
    assert problem in page.words
    assert Budget.objects.get(pk=near.pk).alert_percents == [50, 80, 100]


def test_the_shares_of_another_team_are_not_for_a_lead_to_set(cast: Cast, near: Budget) -> None:
    assert Visitor(cast.eve).get(f"/budgets/{near.public_id}/rules/").status == 404
    assert Visitor(cast.ada).post(f"/budgets/{near.public_id}/rules/", **RULES).status == 403


def test_the_api_lists_the_alerts_of_what_the_person_may_see(cast: Cast, near: Budget) -> None:
    key = ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    own = budget_of(key, "10")
    spent(own, "10", at=clock.now())
    look(clock.now())

    def listed(who: object, **query: str) -> list[tuple[str, int]]:
        answer = Caller(who).get("budget-alerts/", **query)  # type: ignore[arg-type]
        return [(row["budget"]["id"], row["percent"]) for row in answer.json()["results"]]

    mine = [(own.public_id, 100), (own.public_id, 80), (own.public_id, 50)]
    everything = [*mine, (near.public_id, 80), (near.public_id, 50)]
    assert listed(cast.ada) == listed(cast.ben) == listed(cast.fay) == everything
    assert listed(cast.eve) == listed(cast.dan) == []
    assert listed(cast.ben, budget=near.public_id) == everything[3:]
    assert listed(cast.ben, kind="forecast") == []
    [told] = [each for each in BudgetAlert.objects.filter(budget=near) if each.is_told]
    shown = Caller(cast.ben).get(f"budget-alerts/{told.public_id}/").json()
    assert (shown["percent"], shown["is_told"], shown["kind"]) == (80, True, "spent")
    assert shown["budget"]["scope"] == {"kind": "project", "id": cast.ranking.public_id, "name": "Ranking"}
    assert shown["spent_usd"].startswith("84.00")
    assert Caller(cast.eve).get(f"budget-alerts/{told.public_id}/").status_code == 404


def test_the_api_sets_the_shares_and_leaves_them_when_they_are_not_named(cast: Cast, near: Budget) -> None:
    path = f"budgets/{near.public_id}/rules/"
    body = {"mode": "hard", "reason": "Later is enough."}
    ben = Caller(cast.ben)
    assert ben.post(path, {**body, "alert_percents": [90, 70, 90]}).json()["alert_percents"] == [70, 90]
    assert ben.post(path, {**body, "mode": "soft"}).json()["alert_percents"] == [70, 90]
    assert ben.post(path, {**body, "alert_percents": []}).status_code == 400
    assert ben.post(path, {**body, "alert_percents": [201]}).status_code == 400
