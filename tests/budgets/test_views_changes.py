"""The pages that open, plan, top up, rule and close budgets, and set rates."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.test import override_settings
from django.urls import include, path

import budgets.urls
from budgets import selectors
from budgets.models import Allocation, Budget, BudgetLimit, Mode, RollOver, ScopeKind, Window
from budgets.services import limits
from budgets.types import BudgetRow, Rate
from budgets.windows import midnight
from core import clock
from keys.directory import key_labels
from keys.models import ApiKey
from portal.api_urls import Keys
from portal.urls import urlpatterns as portal_urlpatterns
from tests.browsing import Page, Visitor, writes
from tests.budgets.conftest import OpenBudget, spend
from tests.cast import Cast
from tests.factories import AccessRequestFactory, ApiKeyFactory, ProjectFactory
from tests.usage.books import book
from usage.selectors import forecast_budgets, organisation_today

# The portal whose approvals know a form that asks for more of a budget.
urlpatterns = [
    path(
        "budgets/",
        include(
            budgets.urls.routes(
                keys=Keys(),
                key_labels=key_labels,
                forecasts=forecast_budgets,
                ask_for_more=lambda public_id: f"/approvals/budgets/{public_id}/ask/",
            )
        ),
    ),
    *(each for each in portal_urlpatterns if str(each.pattern) != "budgets/"),
]
FORMS = ("change/", "plan/", "top-up/", "rules/", "close/", "rate/")
RULES = {"mode": "hard", "allocation": "pool", "overcommit_ratio": "", "roll_over": "none"}


@pytest.fixture
def asking() -> Iterator[None]:
    """Use the addresses of this module."""
    with override_settings(ROOT_URLCONF=__name__):
        yield


def row_of(budget: Budget) -> BudgetRow:
    """Return the budget as it stands."""
    return selectors.budget_rows(Budget.objects.filter(pk=budget.pk))[0]


def send(page_of: Visitor, budget: Budget, act: str, **entered: str) -> Page:
    """Send a form of a budget's page."""
    return page_of.post(f"/budgets/{budget.public_id}/{act}", **entered)


def in_days(number: int) -> str:
    """Return a day from now as a browser sends it."""
    return f"{date.today() + timedelta(days=number):%Y-%m-%d}"  # noqa: DTZ011  any day near today will do


def opening(cast: Cast, **entered: str) -> dict[str, str]:
    """Return what the form that opens a budget sends."""
    return {
        "scope": f"project:{cast.ranking.public_id}", "window": "month", "week_start": "1", "year_start": "1",
        "time_zone": "Europe/Berlin", "limit_usd": "300", "reason": "A new pilot.", **RULES, **entered,
    }  # fmt: skip


def test_plan_is_shown_as_planned_and_can_be_withdrawn(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300", time_zone="Asia/Kolkata")
    visitor = Visitor(cast.ben)

    sent = send(visitor, mine, "plan/", starts_on=in_days(40), limit_usd="500", reason="The launch.")
    page = visitor.get(f"/budgets/{mine.public_id}/")

    assert sent.status == 302
    planned, now = page.rows("limits-h")
    assert "Planned" in planned[0]
    assert planned[1:] == ["$500.00", "Ben Okafor", "The launch. Withdraw this plan"]
    assert "In force" in now[0]
    assert row_of(mine).limit_usd == 300
    day = date.fromisoformat(in_days(40))
    assert mine.limits.get(amount_usd=500).valid_from == midnight(day, "Asia/Kolkata")

    [withdraw] = [link for link in page.links if "withdraw" in link]
    assert "does not come into force" in visitor.get(withdraw).words
    assert Visitor(cast.ada).get(withdraw).status == 403
    assert visitor.post(withdraw, reason="").status == 422
    assert visitor.post(withdraw, reason="No launch.").status == 302

    stays, replaced, _ = visitor.get(f"/budgets/{mine.public_id}/").rows("limits-h")
    assert stays[1:] == ["$300.00", "Ben Okafor", "No launch."]
    assert "Replaced before it began" in replaced[0]
    assert visitor.post(withdraw, reason="Again.").status == 302


@pytest.mark.parametrize("moment", ["", "tomorrow", "2026-12-01T00:00:00", "2099-12-01T00:00:00+00:00"])
def test_plan_that_is_not_there_cannot_be_withdrawn(cast: Cast, budget: OpenBudget, moment: str) -> None:
    mine = budget(cast.ranking, "300")
    address = f"/budgets/{mine.public_id}/plan/withdraw/?valid_from={moment.replace('+', '%2B')}"

    assert Visitor(cast.ben).post(address, reason="No launch.").status == 404


@pytest.mark.parametrize("day", ["", "1.12.2026", "0001-01-01", "9999-12-31", "2020-01-01"])
def test_plan_needs_a_day_to_come(cast: Cast, budget: OpenBudget, day: str) -> None:
    mine = budget(cast.ranking, "300")

    page = send(Visitor(cast.ben), mine, "plan/", starts_on=day, limit_usd="500", reason="The launch.")

    assert page.status == 422
    assert ("Enter a moment that is still to come." if "2020" in day else "Enter a day such as") in page.words
    assert mine.limits.count() == 1


def test_top_up_counts_until_the_end_of_its_day(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300", time_zone="America/New_York")
    visitor = Visitor(cast.ben)

    form = visitor.get(f"/budgets/{mine.public_id}/top-up/")
    sent = send(visitor, mine, "top-up/", amount_usd="$50", ends_on=in_days(3), reason="Launch week.")
    page = visitor.get(sent.response["Location"])

    last_day = (row_of(mine).window_ends_at - timedelta(hours=12)).date()
    assert f'value="{last_day:%Y-%m-%d}"' in form.response.content.decode()
    assert "Ranking has $50.00 more until the end of" in page.words
    assert "Limit $350.00 in force since" in page.words
    assert page.rows("limits-h")[0][1:] == ["$50.00 Top-up", "Ben Okafor", "Launch week."]
    until = mine.limits.get(kind="top_up").valid_until
    assert until == midnight(date.fromisoformat(in_days(4)), "America/New_York")


def test_top_up_beyond_the_head_room_is_said_at_its_field(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.search, "1000")
    mine = budget(cast.ranking, "980")

    entered = {"amount_usd": "21", "ends_on": in_days(3), "reason": "More."}
    page = send(Visitor(cast.ben), mine, "top-up/", **entered)

    assert page.status == 422
    assert "You may add up to $20.00: the month limit of Search team is $1,000.00." in page.words
    assert "You may go up to $20.00; for more ask Ann Keller, Cleo Hart or Fay Tanaka." in page.words
    assert b'value="21"' in page.response.content


def test_whoever_may_not_or_not_enough_is_led_to_the_form_that_asks(
    cast: Cast, budget: OpenBudget, asking: None
) -> None:
    budget(cast.search, "1000")
    mine = budget(cast.ranking, "300")
    ask = f"/approvals/budgets/{mine.public_id}/ask/"
    here = f"/budgets/{mine.public_id}/"

    assert ask in Visitor(cast.ada).get(here).links
    assert ask not in Visitor(cast.ben).get(here).links
    for act in ("change/", "top-up/"):
        page = Visitor(cast.ben).get(here + act)
        assert ask in page.links
        assert "For more ask Ann Keller, Cleo Hart or Fay Tanaka. Ask for more" in page.words


def test_rules_are_shown_and_changed(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.search, "1000")
    budget(cast.ranking, "300")
    visitor = Visitor(cast.cleo)

    before = visitor.get(f"/budgets/{mine.public_id}/").words
    form = visitor.get(f"/budgets/{mine.public_id}/rules/").words
    changed = {"mode": "soft", "allocation": "overcommit", "overcommit_ratio": "1.5", "roll_over": "unused"}
    sent = send(visitor, mine, "rules/", **changed, reason="A pilot.")
    after = visitor.get(f"/budgets/{mine.public_id}/").words

    assert "Budgets below Pool: each may have up to all of it. Rolls over Nothing: each window" in before
    assert "The budgets right below it add up to $300.00; it has $1,000.00." in form
    assert sent.status == 302
    assert "Calls go on and carry a warning. Budgets below Overcommit: their limits add up to 1.5" in after
    assert "What is left is added to the next window, and adds up while nobody calls." in after
    row = row_of(mine)
    assert (row.mode, row.allocation, row.roll_over) == (Mode.SOFT, Allocation.OVERCOMMIT, RollOver.UNUSED)


def test_overcommit_asks_for_its_ratio(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.search, "1000")

    for ratio, text in (("", "Enter how many times the limit"), ("0.5", "greater than or equal to 1")):
        entered = {**RULES, "allocation": "overcommit", "overcommit_ratio": ratio, "reason": "A pilot."}
        page = send(Visitor(cast.cleo), mine, "rules/", **entered)
        assert page.status == 422
        assert text in page.words


def test_rules_that_would_break_a_promise_are_refused_with_the_numbers(
    cast: Cast, budget: OpenBudget
) -> None:
    mine = budget(cast.search, "1000")
    for project in (cast.ranking, ProjectFactory.create(team=cast.search)):
        budget(project, "700")

    entered = {**RULES, "allocation": "strict", "reason": "Order."}
    page = send(Visitor(cast.cleo), mine, "rules/", **entered)

    assert page.status == 422
    assert "$1,400.00 is allocated to the budgets below it. Lower those first." in page.words


def test_rules_that_refuse_calls_at_once_ask_first_and_name_the_keys(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    mine = budget(cast.ranking, "100", mode=Mode.SOFT)
    spend(key, cast.small, "150")
    visitor = Visitor(cast.ben)
    entered = {**RULES, "mode": "hard", "reason": "Enough."}

    page = send(visitor, mine, "rules/", **entered)
    assert page.status == 409
    assert "Refuse calls of Ranking at once?" in page.words
    assert f"Calls with {key.name} of Ada Moreno are refused with 429." in page.words
    assert row_of(mine).mode is Mode.SOFT
    assert b'name="mode" value="hard"' in page.response.content

    assert send(visitor, mine, "rules/", **entered, confirm="yes").status == 302
    assert row_of(mine).mode is Mode.HARD


def test_closing_names_the_consequences_and_asks_why(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    budget(cast.product, "5000")
    mine = budget(cast.ranking, "300")
    spend(key, cast.small, "150")
    visitor = Visitor(cast.cleo)

    page = visitor.get(f"/budgets/{mine.public_id}/close/")
    assert "Close the budget of Ranking, each month?" in page.words
    assert "One other limit still binds its calls." in page.words
    assert "The $150.00 that is spent stays in the books." in page.words
    assert send(visitor, mine, "close/", reason=" ").status == 422
    assert send(visitor, mine, "close/", reason="The pilot ends.").status == 302

    assert "The budget of Ranking, each month, is closed." in visitor.get("/budgets/").words
    assert visitor.get(f"/budgets/{mine.public_id}/").status == 404


def test_lead_who_may_not_close_is_told_whom_to_ask(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.search, "1000")
    mine = budget(cast.ranking, "300")

    page = send(Visitor(cast.ben), mine, "close/", reason="The pilot ends.")

    assert page.status == 403
    assert "which a lead may not. Ask Ann Keller, Cleo Hart or Fay Tanaka." in page.words


def test_close_that_would_break_a_promise_is_refused_on_the_page(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    budget(cast.search, "1000", allocation=Allocation.STRICT)
    mine = budget(cast.ranking, "700")
    for each in (key, ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)):
        budget(each, "700")

    page = send(Visitor(cast.cleo), mine, "close/", reason="The pilot ends.")

    assert page.status == 422
    assert "Closing this budget leaves the budgets below without it" in page.words
    assert "The pilot ends." in page.response.content.decode()


def test_rate_is_set_shown_and_taken_away(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    visitor = Visitor(cast.ben)
    here = f"/budgets/{mine.public_id}/"

    assert "Rate limit None Change the rate" in visitor.get(here).words
    bad = send(visitor, mine, "rate/", requests_per_minute="many", reason="It floods.")
    numbers = {"requests_per_minute": "1200", "tokens_per_minute": "", "parallel_calls": "8"}
    sent = send(visitor, mine, "rate/", **numbers, reason="It floods.")

    assert (bad.status, sent.status) == (422, 302)
    assert "Enter a whole number, or nothing for no limit" in bad.words
    assert "Rate limit 1,200 calls a minute 8 calls in flight at once" in visitor.get(here).words
    assert b'value="1200"' in visitor.get(f"{here}rate/").response.content
    assert send(visitor, mine, "rate/", requests_per_minute="0", reason="Stop.").status == 422
    assert send(visitor, mine, "rate/", reason="It is calm.").status == 302
    assert selectors.rate_here(ScopeKind.PROJECT, cast.ranking.pk) == Rate()


def test_a_department_has_no_rate(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.product, "5000")

    assert Visitor(cast.cleo).get(f"/budgets/{mine.public_id}/rate/").status == 404
    assert "Rate limit" not in Visitor(cast.cleo).get(f"/budgets/{mine.public_id}/").words


@pytest.mark.parametrize("who", ["ada", "audrey"])
def test_who_sees_a_budget_and_may_not_change_it_is_refused_every_form(
    cast: Cast, budget: OpenBudget, who: str
) -> None:
    mine = budget(cast.ranking, "300")
    visitor = Visitor(getattr(cast, who))
    page = visitor.get(f"/budgets/{mine.public_id}/")

    for act in FORMS:
        address = f"/budgets/{mine.public_id}/{act}"
        assert address not in page.links
        for form in (visitor.get(address), visitor.post(address, reason="Let me.")):
            assert form.status == 403
            assert "Ask Ann Keller, Cleo Hart or Fay Tanaka." in form.words
    assert BudgetLimit.objects.count() == 1


@pytest.mark.parametrize("act", FORMS)
def test_forms_of_another_team_are_not_there_and_opening_one_writes_nothing(
    cast: Cast, budget: OpenBudget, act: str
) -> None:
    mine = budget(cast.ranking, "300")
    address = f"/budgets/{mine.public_id}/{act}"

    for who in ("dan", "eve", "olga"):
        assert Visitor(getattr(cast, who)).get(address).status == 404
    statements = Visitor(cast.ben).queries(address)
    assert writes(statements) == []
    assert len(statements) <= 10


@pytest.mark.parametrize(
    ("entered", "expected"),
    [
        ({}, {}),
        ({"window": "week", "week_start": "7"}, {"window": Window.WEEK, "window_anchor": 7}),
        ({"window": "fiscal_year", "year_start": "4"}, {"window": Window.FISCAL_YEAR, "window_anchor": 4}),
        ({"window": "day"}, {"window": Window.DAY}),
        ({"window": "quarter"}, {"window": Window.QUARTER}),
        ({"window": "lifetime"}, {"window": Window.LIFETIME}),
        ({"only": "tier:2"}, {"only": "Tier 2"}),
        ({"only": "model:small"}, {"only": "small"}),
        ({"limit_usd": "", "unlimited": "on"}, {"limit_usd": None}),
        ({"mode": "notify", "roll_over": "debt"}, {"mode": Mode.NOTIFY, "roll_over": RollOver.DEBT}),
        (
            {"allocation": "overcommit", "overcommit_ratio": "1.5"},
            {"allocation": Allocation.OVERCOMMIT, "overcommit_ratio": Decimal("1.5")},
        ),
    ],
)
def test_budget_of_every_kind_is_opened(
    cast: Cast, entered: dict[str, str], expected: dict[str, object]
) -> None:
    sent = Visitor(cast.ben).post("/budgets/open/", **opening(cast, **entered))

    assert (sent.status, sent.response["Location"]) == (302, "/budgets/")
    [row] = selectors.list_budgets(cast.ben)
    shown = {"window": Window.MONTH, "window_anchor": 1, "limit_usd": 300, "mode": Mode.HARD, **expected}
    assert {name: getattr(row, name) for name in shown} == shown
    assert (row.name, row.time_zone, row.set_by) == ("Ranking", "Europe/Berlin", "Ben Okafor")


def test_budget_of_one_key_is_opened_by_its_id(cast: Cast, key: ApiKey) -> None:
    other = ApiKeyFactory.create(project=cast.fraud, owner=cast.dan)
    visitor = Visitor(cast.ben)

    hidden = visitor.post("/budgets/open/", **opening(cast, key=other.public_id))
    elsewhere = Visitor(cast.ann).post("/budgets/open/", **opening(cast, key=other.public_id))
    sent = visitor.post("/budgets/open/", **opening(cast, key=key.public_id))

    assert "There is no such key, or it is not one that you may see." in hidden.words
    assert "This key is not part of what you chose above." in elsewhere.words
    assert sent.status == 302
    assert [(row.scope_kind, row.scope_id) for row in selectors.list_budgets(cast.ben, key_ids=[key.pk])] == [
        (ScopeKind.KEY, key.pk)
    ]


def test_opening_offers_what_the_person_answers_for(cast: Cast) -> None:
    offered = {who: Visitor(getattr(cast, who)).get("/budgets/open/").words for who in ("ben", "cleo", "fay")}

    assert "Search team Ranking One key" in offered["ben"]
    assert "Product department Search team Ranking One key" in offered["cleo"]
    assert "Organisation Payments department Product department Cards team Search team" in offered["fay"]
    for who in ("ada", "dan", "audrey"):
        assert Visitor(getattr(cast, who)).get("/budgets/open/").status == 403
        assert "/budgets/open/" not in Visitor(getattr(cast, who)).get("/budgets/").links
    assert "/budgets/open/" in Visitor(cast.ben).get("/budgets/").links
    elsewhere = opening(cast, scope=f"project:{cast.fraud.public_id}")
    assert Visitor(cast.ben).post("/budgets/open/", **elsewhere).status == 422


@pytest.mark.parametrize(
    ("entered", "problem"),
    [
        ({"scope": ""}, "Choose what the budget limits"),
        ({"time_zone": "Mars/Olympus"}, "'Mars/Olympus' is not a time zone."),
        ({"limit_usd": "2000"}, "You may go up to $1,000.00"),
        ({"reason": ""}, "Enter why"),
        ({"window": "lifetime", "roll_over": "debt"}, "A lifetime has no next window to roll over into."),
    ],
)
def test_budget_that_cannot_be_opened_keeps_the_entries(
    cast: Cast, budget: OpenBudget, entered: dict[str, str], problem: str
) -> None:
    budget(cast.search, "1000")

    page = Visitor(cast.ben).post("/budgets/open/", **opening(cast, **entered))

    assert page.status == 422
    assert page.words.startswith("Error: Open a budget")
    assert problem in page.words
    assert Budget.objects.count() == 1


def test_second_budget_of_the_same_kind_is_refused(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.ranking, "300")

    page = Visitor(cast.ben).post("/budgets/open/", **opening(cast))

    assert page.status == 422
    assert "There is a hard month budget here already. Change its limit." in page.words


def test_list_is_narrowed_by_the_address_and_says_so_when_nothing_is_left(
    cast: Cast, budget: OpenBudget
) -> None:
    budget(cast.search, "1000")
    budget(cast.ranking, "300")
    budget(cast.ranking, "30", window=Window.DAY)
    visitor = Visitor(cast.ben)

    def listed(**query: str) -> list[str]:
        page = visitor.get("/budgets/", **query)
        return [row[0] for number in (1, 2, 3) for row in page.rows(f"group-{number}")]

    assert listed(scope="team") == ["Search team each month"]
    assert listed(scope="project", window="day") == ["Ranking each day"]
    assert len(listed(window="month")) == 2
    assert len(listed(scope="nonsense", window="")) == 3
    assert (
        "None of the budgets that you may see has this scope" in visitor.get("/budgets/", scope="key").words
    )


def test_list_marks_the_budget_that_refuses_first(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    budget(cast.product, "40", window=Window.WEEK)  # not ben's to see, and it binds all the same
    budget(cast.search, "100")
    budget(cast.ranking, "90")
    day = budget(cast.ranking, "30", window=Window.DAY)
    budget(cast.ranking, "1", only_tier=cast.tier3)

    def marked() -> list[str]:
        page = Visitor(cast.ben).get("/budgets/")
        return [row[0] for number in (1, 2) for row in page.rows(f"group-{number}") if "tightest" in row[1]]

    assert marked() == ["Ranking each day", "Ranking each month, Tier 3 only"]
    limits.change_limit(actor=None, budget=day, amount_usd=Decimal(50), reason="A test.")
    assert marked() == ["Ranking each month, Tier 3 only"]


def test_csv_has_exactly_the_rows_that_are_shown(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    budget(cast.search, "1000")
    budget(cast.ranking, "300")
    budget(cast.ranking, None, window=Window.DAY)
    spend(key, cast.small, "150.000000000001", held="30")
    visitor = Visitor(cast.ben)

    page = visitor.get("/budgets/", scope="project", window="month")
    [address] = [link for link in page.links if "format=csv" in link]
    response = visitor.get(address).response

    assert address == "/budgets/?scope=project&window=month&format=csv"
    assert response["Content-Disposition"] == 'attachment; filename="budgets.csv"'
    [row] = csv.DictReader(StringIO(response.content.decode()))
    assert (row["Budget"], row["Window"], row["At the limit"]) == ("Ranking", "each month", "Refuses")
    assert (row["Limit USD"], row["Left USD"]) == ("300.000000000000", "119.999999999999")
    assert (row["Spent USD"], row["Held USD"]) == ("150.000000000001", "30.000000000000")
    everything = visitor.get("/budgets/?format=csv").response.content.decode()
    assert len(list(csv.DictReader(StringIO(everything)))) == 3


def test_pages_ask_as_often_for_fifty_as_for_five(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.search, "9000", allocation=Allocation.OVERCOMMIT, overcommit_ratio=Decimal(3))
    team = f"/budgets/{mine.public_id}/"
    visitor = Visitor(cast.ben)

    def grow(number: int) -> None:
        for count in range(number):
            project = ProjectFactory.create(team=cast.search)
            last = budget(project, "10")
            budget(ApiKeyFactory.create(project=project, owner=cast.ada), "1")
            book(project, cast.small, organisation_today() - timedelta(days=1), "1")
            AccessRequestFactory.create(requester=cast.ada, project=project, tier=cast.tier2)
            at = clock.now() + timedelta(days=count + 1)
            for each, amount in ((mine, 9001 + count), (last, 11)):
                limits.change_limit(
                    actor=None, budget=each, amount_usd=Decimal(amount), reason="A plan.", valid_from=at
                )

    addresses = ("/budgets/", *(team + act for act in ("", "change/", "top-up/", "rules/", "close/")))
    grow(5)
    few = [len(visitor.queries(address)) for address in addresses]
    grow(45)
    many = [len(visitor.queries(address)) for address in addresses]

    assert few == many
    assert few[0] <= 8
    assert max(few) <= 10
