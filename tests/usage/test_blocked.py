"""The page of blocked calls: who sees which refusals, with which reason, and where somebody acts."""

from __future__ import annotations

import csv
from datetime import timedelta

import pytest

from budgets.models import Budget, ScopeKind
from core import clock
from keys.models import ApiKey
from teams.models import User
from teams.services import rename_team
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.factories import ApiKeyFactory, BudgetFactory, BudgetLimitFactory, ProjectFactory
from tests.usage.books import refuse
from usage.reasons import REASONS, Remedy

BLOCKED = "/blocked/"


@pytest.fixture
def nightly(cast: Cast) -> ApiKey:
    """Give Ada a key of project Ranking."""
    return ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)


def keys_of(page: Page) -> list[str]:
    """Return the names of the keys that a page lists."""
    return sorted(row[0] for row in page.rows("calls-h"))


def csv_rows(visitor: Visitor, **query: str) -> list[dict[str, str]]:
    text = visitor.client.get(BLOCKED, {**query, "format": "csv"}).getvalue().decode()
    return list(csv.DictReader(text.splitlines()))


def test_line_says_what_happened_to_which_key_and_when(cast: Cast, nightly: ApiKey) -> None:
    now = clock.now()
    refuse(cast.ranking, now, "rate_limited", 1_200, key=nightly)

    page = Visitor(cast.ada).get(BLOCKED)

    [line] = page.rows("calls-h")
    assert line[:5] == [
        "nightly Ada Moreno",
        f"{now:%-d %B %Y}",
        "Ranking Search team",
        f"{REASONS['rate_limited'].happened} rate_limited",
        "1,200",
    ]
    assert "1,200 calls, by reason" in page.words
    assert REASONS["rate_limited"].to_do in page.words


@pytest.mark.parametrize(
    ("who", "seen"),
    [
        ("ada", ["mine"]),
        ("ben", ["bens", "mine"]),
        ("cleo", ["bens", "mine", "other"]),
        ("dan", []),
        ("eve", ["cards"]),
        ("fay", ["bens", "cards", "mine", "other"]),
        ("audrey", ["bens", "cards", "mine", "other"]),
        ("ann", ["bens", "cards", "mine", "other"]),
    ],
)
def test_each_sees_own_keys_and_what_he_answers_for(cast: Cast, who: str, seen: list[str]) -> None:
    elsewhere = ProjectFactory.create(team__department=cast.product, team__name="Maps")
    for name, project, owner in (
        ("mine", cast.ranking, cast.ada),
        ("bens", cast.ranking, cast.ben),
        ("other", elsewhere, elsewhere.owner),
        ("cards", cast.fraud, cast.eve),
    ):
        key = ApiKeyFactory.create(name=name, project=project, owner=owner)
        refuse(project, clock.now(), "model_unknown", 1, key=key)

    visitor = Visitor(getattr(cast, who))

    assert [name.split()[0] for name in keys_of(visitor.get(BLOCKED))] == seen
    assert sorted(row["key"] for row in csv_rows(visitor)) == seen


def test_hours_of_a_day_are_one_line_and_for_24_hours_one_each(cast: Cast, nightly: ApiKey) -> None:
    noon = clock.now().replace(hour=0, minute=30) - timedelta(days=2)
    for hours, calls in ((0, 3), (1, 4)):
        refuse(cast.ranking, noon + timedelta(hours=hours), "budget_held", calls, key=nightly)
    for hours in (1, 2):
        refuse(cast.ranking, clock.now() - timedelta(hours=hours), "rate_limited", 1, key=nightly)
    visitor = Visitor(cast.ada)

    days = [row for row in visitor.get(BLOCKED).rows("calls-h") if "budget_held" in row[3]]
    hours_of_today = visitor.get(BLOCKED, p="24h").rows("calls-h")

    assert [row[4] for row in days] == ["7"]
    assert [row[4] for row in hours_of_today] == ["1", "1"]
    assert visitor.get(BLOCKED, p="30d").rows("calls-h")[-1][4] == "7"


def test_what_is_older_than_the_period_is_left_out(cast: Cast, nightly: ApiKey) -> None:
    refuse(cast.ranking, clock.now() - timedelta(days=10), "budget_held", 1, key=nightly)
    visitor = Visitor(cast.ada)

    assert visitor.get(BLOCKED).rows("calls-h") == []
    assert len(visitor.get(BLOCKED, p="30d").rows("calls-h")) == 1


def test_address_filters_the_page_and_the_file_alike(cast: Cast, nightly: ApiKey) -> None:
    second = ProjectFactory.create(name="Autocomplete", team=cast.search)
    for project, code, calls in (
        (cast.ranking, "budget_held", 1),
        (cast.ranking, "rate_limited", 2),
        (second, "rate_limited", 4),
    ):
        refuse(project, clock.now(), code, calls, key=nightly)
    visitor = Visitor(cast.ben)

    expected: tuple[tuple[dict[str, str], list[int]], ...] = (
        ({}, [4, 2, 1]),
        ({"code": "rate_limited"}, [4, 2]),
        ({"project": cast.ranking.public_id}, [2, 1]),
        ({"code": "rate_limited", "project": second.public_id}, [4]),
        ({"code": "no such code"}, []),
        ({"project": "\0"}, []),
    )
    for query, shown in expected:
        page = visitor.get(BLOCKED, **query)
        assert [int(row[4]) for row in page.rows("calls-h")] == shown, query
        assert [int(row["calls"]) for row in csv_rows(visitor, **query)] == shown, query
        assert f"{sum(shown)} call" in page.words or not shown
        kept = f"{BLOCKED}?" + "&".join(f"{name}={value}" for name, value in query.items())
        assert not shown or any(link.startswith(kept.rstrip("?")) and "csv" in link for link in page.links)


def test_file_has_every_column_as_text_that_no_spreadsheet_runs(cast: Cast) -> None:
    key = ApiKeyFactory.create(name="=HYPERLINK(1)", project=cast.ranking, owner=cast.ada)
    row = refuse(cast.ranking, clock.now(), "budget_exhausted", 3, key=key)

    [line] = csv_rows(Visitor(cast.ada))

    assert line["key"] == "'=HYPERLINK(1)"
    assert (line["code"], line["key_id"], line["owner"]) == ("budget_exhausted", key.public_id, "Ada Moreno")
    assert (line["project"], line["project_id"], line["team"]) == ("Ranking", "ranking", "Search")
    assert line["last_seen"] == row.last_at.isoformat()


def budget_of(cast: Cast, kind: ScopeKind, scope_id: int) -> Budget:
    """Make a monthly budget that refuses."""
    department = None if kind is ScopeKind.ORGANISATION else cast.product
    return BudgetFactory.create(scope_kind=kind, scope_id=scope_id, department=department, mode="hard")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ScopeKind.KEY, "Month budget of nightly"),
        (ScopeKind.PROJECT, "Month budget of Ranking"),
        (ScopeKind.TEAM, "Month budget of Search team"),
        (ScopeKind.DEPARTMENT, "Month budget of Product department"),
        (ScopeKind.ORGANISATION, "Month budget of Organisation"),
    ],
)
def test_line_names_the_budget_that_refused_and_no_figure_of_it(
    cast: Cast, nightly: ApiKey, kind: ScopeKind, words: str
) -> None:
    ids = (nightly.pk, cast.ranking.pk, cast.search.pk, cast.product.pk, 0)
    scopes = (ScopeKind.KEY, ScopeKind.PROJECT, ScopeKind.TEAM, ScopeKind.DEPARTMENT, ScopeKind.ORGANISATION)
    budget = budget_of(cast, kind, dict(zip(scopes, ids, strict=True))[kind])
    BudgetLimitFactory.create(budget=budget, amount_usd=4711)
    refuse(cast.ranking, clock.now(), "budget_exhausted", 2, key=nightly, budget=budget)
    visitor = Visitor(cast.ada)

    page = visitor.get(BLOCKED)

    assert words in page.rows("calls-h")[0][3]
    assert "4,711" not in page.words
    assert [(row["refused_by"], row["budget_id"]) for row in csv_rows(visitor)] == [(words, budget.public_id)]
    seen = kind in {ScopeKind.KEY, ScopeKind.PROJECT, ScopeKind.TEAM}
    assert (f"/budgets/{budget.public_id}/" in page.links) is seen


def test_line_names_the_rate_that_refused_and_whose_it_is(cast: Cast, nightly: ApiKey) -> None:
    for scope, limit in (("team", "tokens_per_minute"), ("key", "parallel_calls")):
        cause = {"rate_scope": scope, "rate_limit": limit}
        refuse(cast.ranking, clock.now(), "rate_limited", 2, key=nightly, **cause)

    told = {row["refused_by"] for row in csv_rows(Visitor(cast.ada))}

    assert told == {"Tokens a minute of Search team", "Calls at once of nightly"}


def test_names_of_the_scopes_that_refused_are_those_of_then(cast: Cast, nightly: ApiKey) -> None:
    budget = budget_of(cast, ScopeKind.TEAM, cast.search.pk)
    refuse(cast.ranking, clock.now() - timedelta(hours=1), "budget_held", 1, key=nightly, budget=budget)
    rename_team(actor=cast.ann, team=cast.search, name="Retrieval", reason="New name")

    assert "Month budget of Search team" in Visitor(cast.ada).get(BLOCKED).words


def test_calls_that_one_budget_refused_can_be_looked_at_alone(cast: Cast, nightly: ApiKey) -> None:
    mine = budget_of(cast, ScopeKind.KEY, nightly.pk)
    teams = budget_of(cast, ScopeKind.TEAM, cast.search.pk)
    for budget, calls in ((mine, 2), (teams, 5)):
        refuse(cast.ranking, clock.now(), "budget_exhausted", calls, key=nightly, budget=budget)
    visitor = Visitor(cast.ada)

    page = visitor.get(BLOCKED, budget=teams.public_id)

    assert f"{BLOCKED}?budget={teams.public_id}" in visitor.get(BLOCKED).links
    assert [row[4] for row in page.rows("calls-h")] == ["5"]
    assert "5 calls, by reason" in page.words
    assert [row["calls"] for row in csv_rows(visitor, budget=teams.public_id)] == ["5"]


def act_of(user: User, code: str) -> str:
    """Return where the only line of a page leads."""
    page = Visitor(user).get(BLOCKED, code=code)
    frame = set(Visitor(user).get(BLOCKED, code="none").links)
    return next(link for link in page.links if link not in frame and not link.startswith(BLOCKED))


def test_each_reason_leads_to_the_page_that_acts(cast: Cast, nightly: ApiKey) -> None:
    budget = budget_of(cast, ScopeKind.TEAM, cast.search.pk)
    for code, reason in REASONS.items():
        cause = {"budget": budget} if reason.remedy is Remedy.BUDGET else {}
        refuse(cast.ranking, clock.now(), code, 1, key=nightly, **cause)

    lines = Visitor(cast.ada).get(BLOCKED).rows("calls-h")
    acts = {row[3].split()[-1]: row[6] for row in lines}

    assert act_of(cast.ada, "budget_exhausted") == f"/budgets/{budget.public_id}/"
    assert act_of(cast.ada, "tier_not_granted") == "/approvals/ask/?project=ranking"
    assert acts == {
        "budget_exhausted": "Budget of Search team",
        "budget_held": "Budget of Search team",
        "tier_not_granted": "Ask for the tier",
        "model_unpriced": "See the models",
        "model_unknown": "See the models",
        "project_mismatch": "See the key",
        "key_suspended": "See the key",
        "key_revoked": "See the key",
        "key_expired": "See the key",
        "key_replaced": "See the key",
        "key_owner_inactive": "See the key",
        "key_project_archived": "See the key",
        "rate_limited": "See the key",
        "route_not_allowed": "—",
    }
    assert {reason.remedy for reason in REASONS.values()} == set(Remedy)


def test_code_that_has_no_words_yet_is_shown_as_it_is(cast: Cast, nightly: ApiKey) -> None:
    refuse(cast.ranking, clock.now(), "lease_lost", 1, key=nightly)

    assert "The call was refused: lease lost." in Visitor(cast.ada).get(BLOCKED).words


def test_page_without_refusals_says_what_will_stand_there(cast: Cast) -> None:
    page = Visitor(cast.ada).get(BLOCKED)

    assert page.status == 200
    assert "No call was refused" in page.words
    assert "Show all of them" in Visitor(cast.ada).get(BLOCKED, code="rate_limited").words


def test_long_list_goes_on_page_by_page_and_its_file_has_all_of_it(cast: Cast, nightly: ApiKey) -> None:
    for number in range(103):
        key = ApiKeyFactory.create(name=f"key-{number}", project=cast.ranking, owner=cast.ada)
        refuse(cast.ranking, clock.now(), "rate_limited", 1, key=key)
    visitor = Visitor(cast.ada)

    pages = [visitor.get(BLOCKED, page=page).rows("calls-h") for page in ("", "1", "2", "x")]

    assert [len(rows) for rows in pages] == [50, 50, 3, 50]
    assert len({row[0] for rows in pages[:3] for row in rows}) == 103
    assert len(csv_rows(visitor, page="2")) == 103
    assert f"{BLOCKED}?page=1" in visitor.get(BLOCKED).links


def test_page_asks_the_same_at_5_lines_and_at_50(cast: Cast) -> None:
    asked = {}
    for number in (5, 45):
        for count in range(number):
            key = ApiKeyFactory.create(project=ProjectFactory.create(team=cast.search))
            code = ("budget_exhausted", "tier_not_granted")[count % 2]
            budget = budget_of(cast, ScopeKind.KEY, key.pk)
            refuse(key.project, clock.now(), code, 1, key=key, budget=budget)
        for who in (cast.ben, cast.fay):
            asked[who.name, number] = len(Visitor(who).queries(BLOCKED))

    assert asked["Ben Okafor", 5] == asked["Ben Okafor", 45] <= 8
    assert asked["Fay Tanaka", 5] == asked["Fay Tanaka", 45] <= 8


def test_overview_leads_to_the_calls_behind_its_figure(cast: Cast, nightly: ApiKey) -> None:
    refuse(cast.ranking, clock.now(), "budget_held", 1, key=nightly)

    page = Visitor(cast.ben).get("/")

    assert "All Ranking, budget held by calls in flight" in page.words
    assert page.links.count(BLOCKED) == 2  # the navigation has the other one
