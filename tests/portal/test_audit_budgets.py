"""Budgets and rates in the audit: named by what they are for, as it was called then."""

from __future__ import annotations

from budgets.models import ScopeKind, Window
from budgets.selectors.labels import WINDOW_WORDS
from budgets.services.rates import set_rate_limit
from budgets.types import Rate
from keys.services import rename_key
from teams.models import NamedKind
from teams.services import rename_project, rename_team
from tests import factories
from tests.api.world import open_budget
from tests.browsing import Visitor
from tests.cast import Cast
from tests.portal.test_audit_page import AUDIT, record, subjects


def test_each_kind_of_scope_and_window_has_its_words() -> None:
    """And each name of a place is found again by what it was called."""
    assert set(WINDOW_WORDS) == set(Window)
    assert {kind.value for kind in ScopeKind if kind is not ScopeKind.ORGANISATION} <= set(NamedKind.values)


def test_budget_is_found_by_what_it_was_called(cast: Cast) -> None:
    for kind, number, words in (
        (ScopeKind.TEAM, cast.search.pk, {"only_tier": cast.tier3}),
        (ScopeKind.TEAM, cast.cards.pk, {"department": cast.payments}),
        (ScopeKind.ORGANISATION, 0, {"department": None}),
    ):
        open_budget(cast, kind, number, "100", **words)
    rename_team(actor=cast.cleo, team=cast.search, name="Find", reason="Shorter.")
    was, audrey = "Search team, monthly budget for Tier 3", Visitor(cast.audrey)

    def found(text: str) -> list[str]:
        rows = audrey.get(AUDIT, object=text, action="budget.").rows("events-h")
        listed = audrey.client.get("/api/v1/audit-events/", {"object": text, "action": "budget."}).json()
        assert len(rows) == len(listed["results"])
        return [row["object"]["name"] for row in listed["results"]]

    assert found("search") == [was]
    assert found("tier 3") == [was]
    assert found("find") == []
    assert found("monthly") == ["The organisation, monthly budget", "Cards team, monthly budget", was]
    assert subjects(audrey.get(AUDIT, object="search", action="budget."))[0].startswith(
        f"{was} now Find team, monthly budget for Tier 3"
    )
    assert was in str(audrey.client.get(AUDIT, {"format": "csv"}).getvalue())


def test_budget_of_which_an_old_event_says_little_is_named_all_the_same(cast: Cast) -> None:
    budget = open_budget(cast, ScopeKind.TEAM, cast.search.pk, "100")
    limit = set_rate_limit(
        actor=cast.ben, scope_kind=ScopeKind.TEAM, scope_id=cast.search.pk,
        rate=Rate(requests_per_minute=9), reason="A loop.",
    )  # fmt: skip
    record(cast, subject=budget, label=str(budget))
    record(cast, subject=limit, label=str(limit))
    audrey = Visitor(cast.audrey)

    shown = subjects(audrey.get(AUDIT))[:2]

    assert [text.partition(" team")[0] for text in shown] == ["Rate of Search", "Search"]

    def listed(**query: str) -> list[str]:
        rows = audrey.client.get("/api/v1/audit-events/", query).json()["results"]
        return [row["object"]["name"] for row in rows][:2]

    both = ["Rate of Search team", "Search team, monthly budget"]
    assert listed() == listed(object="search") == both
    assert listed(object="cards") == []
    assert len(audrey.get(AUDIT, object="search team").rows("events-h")) == 4


def test_budgets_and_rates_are_named_by_their_place_of_then_and_of_now(cast: Cast) -> None:
    key = factories.ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)
    places = {
        ScopeKind.KEY: key.pk,
        ScopeKind.PROJECT: cast.ranking.pk,
        ScopeKind.TEAM: cast.search.pk,
        ScopeKind.DEPARTMENT: cast.product.pk,
    }
    for kind, number in places.items():
        open_budget(cast, kind, number, "100")
    set_rate_limit(
        actor=cast.ben, scope_kind=ScopeKind.PROJECT, scope_id=cast.ranking.pk,
        rate=Rate(requests_per_minute=9), reason="A loop.",
    )  # fmt: skip
    rename_project(actor=cast.cleo, project=cast.ranking, name="Order", reason="Shorter.")
    rename_key(actor=cast.ada, key=key, name="hourly")

    shown = subjects(Visitor(cast.audrey).get(AUDIT))[2:]

    assert [text.removesuffix(" Search team").removesuffix(" Search") for text in shown] == [
        "Rate of Ranking now Rate of Order",
        "Product department, monthly budget",
        "Search team, monthly budget",
        "Ranking, monthly budget now Order, monthly budget",
        "nightly, monthly budget now hourly, monthly budget",
    ]
    assert "Ranking, monthly budget" in str(Visitor(cast.ann).client.get(AUDIT, {"format": "csv"}).getvalue())
