"""The pages of budgets: what is spent, held and left, every limit so far, and changing one."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from budgets import selectors
from budgets.models import Budget, BudgetLimit, Mode, Window
from budgets.views import reading
from core import clock
from core.gauges import format_percent
from core.models import AuditEvent
from core.money import format_usd
from keys.models import ApiKey
from tests.browsing import Page, Visitor, writes
from tests.budgets.conftest import OpenBudget, spend
from tests.cast import Cast
from tests.factories import AccessRequestFactory, ApiKeyFactory, ProjectFactory
from tests.usage.books import book
from usage.selectors import organisation_today


def names(page: Page) -> list[list[str]]:
    """Return name and window of the budgets in each group."""
    groups = (page.rows(f"group-{number}") for number in range(1, 6))
    return [[row[0] for row in rows] for rows in groups if rows]


def change(page_of: Visitor, budget: Budget, **entered: str) -> Page:
    """Send the form that changes a limit."""
    return page_of.post(f"/budgets/{budget.public_id}/change/", **entered)


def limit_of(budget: Budget) -> Decimal | None:
    """Return the limit in force now."""
    return selectors.budget_rows(Budget.objects.filter(pk=budget.pk))[0].limit_usd


def test_list_shows_spent_held_and_left_as_the_selector_does(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    budget(cast.ranking, "300")
    spend(key, cast.small, "150.005", held="30")

    [row] = Visitor(cast.ada).get("/budgets/").rows("group-1")

    [shown] = selectors.list_budgets(cast.ada)
    assert row[:6] == [
        "Ranking each month",
        "Refuses",
        format_usd(shown.limit_usd),
        format_usd(shown.spent_usd),
        format_usd(shown.held_usd),
        format_usd(shown.left_usd),
    ]
    assert row[6] == format_percent(shown.spent_percent or Decimal(0))
    assert (shown.spent_usd, shown.held_usd) == (Decimal("150.005"), 30)


def test_people_see_the_budgets_of_what_they_answer_for(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    for scope in (None, cast.product, cast.search, cast.ranking, key, cast.cards):
        budget(scope, "100")

    team = [["Search team each month"], ["Ranking each month"]]
    of_key = [f"{key.name} of Ada Moreno each month"]
    assert names(Visitor(cast.ada).get("/budgets/")) == [*team, of_key]
    assert names(Visitor(cast.ben).get("/budgets/")) == [*team, of_key]
    assert names(Visitor(cast.cleo).get("/budgets/")) == [["Product department each month"], *team, of_key]
    assert names(Visitor(cast.dan).get("/budgets/")) == [["Cards team each month"]]
    assert names(Visitor(cast.fay).get("/budgets/")) == [
        ["Organisation each month"],
        ["Product department each month"],
        ["Cards team each month", "Search team each month"],
        ["Ranking each month"],
        of_key,
    ]


@pytest.mark.parametrize(
    ("mode", "texts"),
    [
        (Mode.HARD, ("Refuses", "Refuses now")),
        (Mode.SOFT, ("Warns", "Warns now")),
        (Mode.NOTIFY, ("Tells", "Over, told")),
    ],
)
def test_budget_that_is_used_up_says_what_it_does_now(
    cast: Cast, budget: OpenBudget, key: ApiKey, mode: Mode, texts: tuple[str, str]
) -> None:
    budget(cast.ranking, "10", mode=mode)
    before = Visitor(cast.ada).get("/budgets/").rows("group-1")[0][1]
    spend(key, cast.small, "10")

    assert (before, Visitor(cast.ada).get("/budgets/").rows("group-1")[0][1]) == texts


def test_no_limit_and_nothing_allowed_look_different(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.ranking, None)
    budget(cast.ranking, "0", window=Window.DAY)

    rows = {row[0]: row for row in Visitor(cast.ada).get("/budgets/").rows("group-1")}

    assert rows["Ranking each month"][1:6] == ["Refuses", "no limit", "$0.00", "$0.00", "no limit"]
    assert rows["Ranking each day"][1:6] == [
        "Refuses now The tightest",
        *["$0.00"] * 4,
    ]


def test_empty_list_says_who_sets_the_first_one(cast: Cast) -> None:
    page = Visitor(cast.ada).get("/budgets/")

    assert "No budgets yet" in page.words
    assert "An administrator or a director sets the first ones." in page.words


def test_list_asks_as_often_for_fifty_budgets_as_for_five(cast: Cast, budget: OpenBudget) -> None:
    def grow(number: int) -> None:
        for _ in range(number):
            project = ProjectFactory.create(team=cast.search)
            budget(project, "10")
            budget(ApiKeyFactory.create(project=project, owner=cast.ada), "1")
            book(project, cast.small, organisation_today() - timedelta(days=1), "1")
            AccessRequestFactory.create(requester=cast.ada, project=project, tier=cast.tier2)

    grow(5)
    few = Visitor(cast.ben).queries("/budgets/")
    grow(45)
    many = Visitor(cast.ben).queries("/budgets/")

    assert len(few) == len(many) <= 8
    assert len(names(Visitor(cast.ben).get("/budgets/"))[0]) == 50


def test_list_goes_on_where_the_page_ended_and_csv_has_all_of_it(
    cast: Cast, budget: OpenBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_ROWS", 2)
    budget(cast.search, "100")
    for name in ("alpha", "Zulu", "beta", "ändern"):
        budget(ProjectFactory.create(team=cast.search, name=name), "10")
    visitor, read = Visitor(cast.ben), list[str]()
    path, number = "/budgets/?window=month", 0
    while path:
        page = visitor.get(path)
        read += [name.removesuffix(" each month") for group in names(page) for name in group]
        number += 1
        path = next((link for link in page.links if f"page={number}" in link), "")

    assert read == ["Search team", "Zulu", "alpha", "beta", "ändern"]
    assert "No further budgets" in visitor.get("/budgets/?page=9").words
    csv = visitor.client.get("/budgets/", {"format": "csv", "page": "1"}).content.decode()
    assert len(csv.splitlines()) == 1 + len(read)


def test_page_of_a_budget_shows_every_limit_so_far(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    mine = budget(cast.ranking, "300", actor=cast.cleo, reason="The yearly plan.")
    spend(key, cast.small, "120", held="30")
    assert change(Visitor(cast.cleo), mine, limit_usd="450", reason="Twice the users.").status == 302

    page = Visitor(cast.ada).get(f"/budgets/{mine.public_id}/")

    newest, oldest = page.rows("limits-h")
    assert newest[1:] == ["$450.00", "Cleo Hart", "Twice the users."]
    assert oldest[1:] == ["$300.00", "Cleo Hart", "The yearly plan."]
    assert "until" in oldest[0]
    assert "until" not in newest[0]
    assert "Limit $450.00 in force since" in page.words
    assert "Spent $120.00 Held for calls in flight $30.00 Left $300.00" in page.words
    assert "Calls are refused with 429 until the window starts again or the limit is raised." in page.words
    assert (
        "Who may change it Ben Okafor within the team's head-room,"
        " beyond it Ann Keller, Cleo Hart or Fay Tanaka"
    ) in page.words


def test_path_names_the_tightest_and_hides_what_the_reader_may_not_open(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    mine = budget(cast.ranking, "300")
    team, department = budget(cast.search, "1000"), budget(cast.product, "5000")
    budget(cast.ranking, "12.50", window=Window.DAY)

    engineer, director = (Visitor(who).get(f"/budgets/{mine.public_id}/") for who in (cast.ada, cast.cleo))

    assert "Ranking, each day $12.50 left The tightest" in engineer.words
    assert "Search team, each month $1,000.00 left" in engineer.words
    assert "Product department, each month Has room" in engineer.words
    assert f"/budgets/{team.public_id}/" in engineer.links
    assert f"/budgets/{department.public_id}/" not in engineer.links
    assert "Product department, each month $5,000.00 left" in director.words
    assert f"/budgets/{department.public_id}/" in director.links


@pytest.mark.parametrize("path", ["/budgets/{}/", "/budgets/{}/change/"])
def test_budget_of_another_team_is_not_there(cast: Cast, budget: OpenBudget, key: ApiKey, path: str) -> None:
    for scope in (cast.ranking, cast.search, cast.product, key, None):
        address = path.format(budget(scope, "100").public_id)
        for who in ("dan", "eve", "olga"):
            assert Visitor(getattr(cast, who)).get(address).status == 404, (who, scope)


def test_member_sees_a_budget_and_no_way_to_change_it(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    page = Visitor(cast.ada).get(f"/budgets/{mine.public_id}/")
    form = Visitor(cast.ada).get(f"/budgets/{mine.public_id}/change/")

    assert f"/budgets/{mine.public_id}/change/" not in page.links
    assert form.status == 403
    assert "You may not set this limit. Ask Ann Keller, Cleo Hart or Fay Tanaka." in form.words


def test_forecast_above_the_limit_is_said(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    mine = budget(cast.ranking, "1")
    for back in range(1, 15):
        book(cast.ranking, cast.small, organisation_today() - timedelta(days=back), "900")

    words = Visitor(cast.ben).get(f"/budgets/{mine.public_id}/").words

    assert "over its limit by" in words
    assert "Forecast to be" in words


def test_page_of_a_budget_asks_at_most_ten_times(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    for scope in (None, cast.product, cast.search):
        budget(scope, "9000")
    mine = budget(cast.ranking, "300")
    book(cast.ranking, cast.small, organisation_today() - timedelta(days=1), "1")
    AccessRequestFactory.create(requester=cast.ada, project=cast.ranking, tier=cast.tier2)

    for page in ("", "change/"):
        assert len(Visitor(cast.ben).queries(f"/budgets/{mine.public_id}/{page}")) <= 10


def test_lead_raises_within_the_head_room_and_it_is_in_force_at_once(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.search, "1000")
    mine = budget(cast.ranking, "300")
    visitor = Visitor(cast.ben)

    form = visitor.get(f"/budgets/{mine.public_id}/change/")
    sent = change(visitor, mine, limit_usd="$1,000", reason="Twice the users.")
    after = visitor.get(sent.response["Location"])

    assert "You may set up to $1,000.00" in form.words
    assert (sent.status, sent.response["Location"]) == (302, f"/budgets/{mine.public_id}/")
    assert limit_of(mine) == 1000
    assert "Ranking now has a limit of $1,000.00 each month, in force on the next call." in after.words
    assert "Ranking now has" not in visitor.get("/budgets/").words


def test_raise_beyond_the_head_room_is_refused_with_the_numbers_and_keeps_the_entries(
    cast: Cast, budget: OpenBudget
) -> None:
    budget(cast.search, "1000")
    budget(ProjectFactory.create(team=cast.search), "400")
    mine = budget(cast.ranking, "300")

    page = change(Visitor(cast.ben), mine, limit_usd="700", reason="Twice the users.")

    assert page.status == 422
    assert page.words.startswith("Error: Change the limit of Ranking")
    assert (
        "$700.00 is more than there is room for: Search team has $1,000.00 a month, of which $400.00 is"
        " allocated to its other projects. You may go up to $600.00; for more ask"
    ) in page.words
    assert b'value="700"' in page.response.content
    assert b"Twice the users." in page.response.content
    assert limit_of(mine) == 300


@pytest.mark.parametrize(
    ("entered", "problem"),
    [
        ({"limit_usd": "", "reason": "Because."}, "Enter a limit in US dollars, or tick “No limit here”"),
        ({"limit_usd": "lots", "reason": "Because."}, "is not an amount. Enter US dollars such as 1250"),
        ({"limit_usd": "-5", "reason": "Because."}, "is not an amount. Enter US dollars such as 1250"),
        ({"limit_usd": "NaN", "reason": "Because."}, "is not an amount. Enter US dollars such as 1250"),
        ({"limit_usd": "5", "reason": "  "}, "Enter why the limit changes"),
        ({"limit_usd": "5", "unlimited": "on", "reason": "Because."}, "not both"),
    ],
)
def test_what_cannot_be_used_is_said_at_its_field(
    cast: Cast, budget: OpenBudget, entered: dict[str, str], problem: str
) -> None:
    mine = budget(cast.ranking, "300")

    page = change(Visitor(cast.cleo), mine, **entered)

    assert page.status == 422
    assert problem in page.words
    assert "There is a problem" in page.words
    assert limit_of(mine) == 300


def test_limit_below_that_of_a_key_names_the_key(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    mine = budget(cast.ranking, "300")
    budget(key, "120")

    page = change(Visitor(cast.cleo), mine, limit_usd="100", reason="Less is enough.")

    assert page.status == 422
    assert (
        "$100.00 is too low: the month limit of a key is $120.00. Lower that one first."
        f" It is {key.name} of Ada Moreno."
    ) in page.words


def test_limit_may_be_lifted(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    sent = change(Visitor(cast.cleo), mine, unlimited="on", reason="The team's limit is enough.")

    assert sent.status == 302
    assert limit_of(mine) is None


def test_lowering_below_what_is_spent_asks_first_and_names_the_keys(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    mine = budget(cast.ranking, "300")
    other = ApiKeyFactory.create(project=cast.ranking, owner=cast.ben, name="batch")
    unused = ApiKeyFactory.create(project=cast.ranking, owner=cast.ben, name="unused")
    spend(key, cast.small, "150", held="30")
    spend(other, cast.small, "1")
    visitor = Visitor(cast.ben)
    limits = BudgetLimit.objects.count()

    page = change(visitor, mine, limit_usd="100", reason="The pilot ends.")

    assert page.status == 409
    assert "Lower the limit of Ranking below what is spent?" in page.words
    assert "$151.00 is spent and $30.00 is held in this window, more than $100.00" in page.words
    assert f"Calls with {key.name} of Ada Moreno are refused with 429." in page.words
    assert "Calls with batch of Ben Okafor are refused with 429." in page.words
    assert unused.name not in page.words
    assert BudgetLimit.objects.count() == limits

    sent = change(visitor, mine, limit_usd="100", unlimited="", reason="The pilot ends.", confirm="yes")

    assert sent.status == 302
    assert limit_of(mine) == 100
    event = AuditEvent.objects.get(action="budget.limit_changed")
    assert (event.actor_label, event.reason) == (cast.ben.label, "The pilot ends.")


def test_lowering_above_what_is_spent_needs_no_confirmation(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    mine = budget(cast.ranking, "300")
    spend(key, cast.small, "150")

    assert change(Visitor(cast.ben), mine, limit_usd="200", reason="Less is enough.").status == 302
    assert limit_of(mine) == 200


def test_second_click_writes_nothing_more(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    visitor = Visitor(cast.cleo)

    sent = [change(visitor, mine, limit_usd="450", reason="Twice the users.") for _ in range(2)]

    assert [page.status for page in sent] == [302, 302]
    assert mine.limits.count() == 2


def test_closed_budget_is_not_there(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    Budget.objects.filter(pk=mine.pk).update(closed_at=clock.now())

    assert change(Visitor(cast.cleo), mine, limit_usd="450", reason="Late.").status == 404


def test_opening_the_form_changes_nothing(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    statements = Visitor(cast.cleo).queries(
        f"/budgets/{mine.public_id}/change/", limit_usd="1", confirm="yes"
    )

    assert writes(statements) == []
    assert limit_of(mine) == 300
