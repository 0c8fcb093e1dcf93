"""The pages that move a project or a team: who may, what they say before, and that nothing moves unread."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from budgets.models import Allocation, Lease, ScopeKind
from core import clock
from teams.models import Department, Role, Team
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import (
    AccessRequestFactory,
    ApiKeyFactory,
    BudgetFactory,
    BudgetLimitFactory,
    RoleAssignmentFactory,
    TeamFactory,
    approved_grant,
)

WHY = "The team is split."


@pytest.fixture
def maps(cast: Cast) -> Team:
    """Give the department Product a second team."""
    return TeamFactory.create(name="Maps", code="maps", department=cast.product)


def limited(cast: Cast, kind: ScopeKind, scope_id: int, usd: int, **fields: object) -> None:
    budget = BudgetFactory.create(
        scope_kind=kind, scope_id=scope_id, department=cast.product, mode="hard", **fields
    )
    BudgetLimitFactory.create(budget=budget, amount_usd=usd)


def path(cast: Cast) -> str:
    return f"/projects/{cast.ranking.public_id}/move/"


def team_now(cast: Cast) -> str:
    cast.ranking.refresh_from_db()
    return cast.ranking.team.name


def test_what_it_means_is_read_before_it_is_done(cast: Cast, maps: Team) -> None:
    key = ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)
    approved_grant(key, tier_number=2, model_ids=[cast.large.pk], granted_by=cast.ben)
    AccessRequestFactory.create(requester=cast.ada, project=cast.ranking)
    for kind, scope_id, usd in (
        (ScopeKind.TEAM, maps.pk, 500),
        (ScopeKind.TEAM, cast.search.pk, 900),
        (ScopeKind.DEPARTMENT, cast.product.pk, 2000),
        (ScopeKind.PROJECT, cast.ranking.pk, 40),
        (ScopeKind.KEY, key.pk, 10),
    ):
        limited(cast, kind, scope_id, usd)
    now = clock.now()
    Lease.objects.create(
        source="gw_test", node="one", key_id=key.pk, owner=cast.ada, project=cast.ranking, team=cast.search,
        department=cast.product, model=cast.small, tier_id=1, budget_ids=[], window_starts=[],
        granted_usd=Decimal(1), held_usd=Decimal(1), opened_at=now, expires_at=now + timedelta(seconds=30),
        reclaim_at=now + timedelta(seconds=60),
    )  # fmt: skip
    visitor = Visitor(cast.cleo)

    told = visitor.post(path(cast), team=maps.public_id, reason=WHY)

    assert (told.status, team_now(cast)) == (200, "Search")
    for sentence in (
        "From the next call on it counts on the month budget of $500.00 for Maps team.",
        "It no longer counts on the month budget of $900.00 for Search team.",
        "The month budget of $40.00 for Ranking goes with it.",
        "The month budget of $10.00 for nightly of Ada Moreno goes with it.",
        "Its keys go on calling: nightly of Ada Moreno.",
        "What raises them above Tier 1 stays until it ends: 1 in force.",
        "Gateways give back the money that they hold for it: 1 leases.",
        "Requests that wait start again with the new lead: 1.",
        "What was used until now stays with Search team in every report.",
    ):
        assert sentence in told.words
    assert "Product department." not in told.words

    visitor.post(path(cast), team=maps.public_id, reason=WHY, confirm=maps.public_id)
    assert team_now(cast) == "Maps"


def test_refusal_of_the_budgets_there_is_said_with_its_numbers(cast: Cast, maps: Team) -> None:
    limited(cast, ScopeKind.TEAM, maps.pk, 50, allocation=Allocation.STRICT)
    limited(cast, ScopeKind.PROJECT, cast.ranking.pk, 60)

    page = Visitor(cast.cleo).post(path(cast), team=maps.public_id, reason=WHY, confirm=maps.public_id)

    assert (page.status, team_now(cast)) == (422, "Search")
    assert "Ranking has $60.00 a month, Maps team $50.00" in page.words


def test_director_is_offered_the_teams_that_are_his(cast: Cast, maps: Team) -> None:
    assert "Maps, Product" in Visitor(cast.cleo).get(path(cast)).words
    assert "Cards" not in Visitor(cast.cleo).get(path(cast)).words
    assert "Cards, Payments" in Visitor(cast.ann).get(path(cast)).words
    page = Visitor(cast.cleo).post(
        path(cast), team=cast.cards.public_id, reason=WHY, confirm=cast.cards.public_id
    )
    assert (page.status, team_now(cast)) == (422, "Search")


def test_page_of_the_project_leads_there_for_those_who_may(cast: Cast, maps: Team) -> None:
    here = f"/projects/{cast.ranking.public_id}/"

    shown = {who: path(cast) in Visitor(getattr(cast, who)).get(here).links for who in ("ben", "cleo", "ann")}

    assert shown == {"ben": False, "cleo": True, "ann": True}


def test_no_move_is_offered_where_there_is_nowhere_to_go(cast: Cast) -> None:
    project, team = f"/projects/{cast.ranking.public_id}/", f"/teams/{cast.search.public_id}/"
    cleo, ann = Visitor(cast.cleo), Visitor(cast.ann)
    assert path(cast) not in cleo.get(project).links, "no other team is hers"
    assert "Only an administrator may move a project" in cleo.get(path(cast)).words
    assert path(cast) in ann.get(project).links
    assert team_path(cast) in ann.get(team).links

    Department.objects.exclude(pk=cast.product.pk).update(archived_at=clock.now())

    assert path(cast) not in ann.get(project).links
    assert team_path(cast) not in ann.get(team).links
    assert "Add one first" in ann.get(team_path(cast)).words


def test_what_was_read_of_one_team_moves_it_to_no_other(cast: Cast, maps: Team) -> None:
    other = TeamFactory.create(name="Routes", code="routes", department=cast.product)

    page = Visitor(cast.cleo).post(path(cast), team=other.public_id, reason=WHY, confirm=maps.public_id)

    assert "from Search team to Routes team?" in page.words
    assert team_now(cast) == "Search"


def team_path(cast: Cast) -> str:
    return f"/teams/{cast.search.public_id}/move/"


def department_now(cast: Cast) -> str:
    cast.search.refresh_from_db()
    return cast.search.department.name


def test_what_a_move_of_a_team_means_is_read_before_it_is_done(cast: Cast) -> None:
    key = ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)
    approved_grant(key, tier_number=2, model_ids=[cast.large.pk], granted_by=cast.ben)
    AccessRequestFactory.create(requester=cast.ada, project=cast.ranking)
    for kind, scope_id, usd in (
        (ScopeKind.DEPARTMENT, cast.product.pk, 2000),
        (ScopeKind.TEAM, cast.search.pk, 900),
        (ScopeKind.PROJECT, cast.ranking.pk, 40),
        (ScopeKind.KEY, key.pk, 10),
    ):
        limited(cast, kind, scope_id, usd)
    payments = BudgetFactory.create(
        scope_kind=ScopeKind.DEPARTMENT, scope_id=cast.payments.pk, department=cast.payments, mode="hard"
    )
    BudgetLimitFactory.create(budget=payments, amount_usd=5000)
    visitor = Visitor(cast.ann)

    told = visitor.post(team_path(cast), department=cast.payments.public_id, reason=WHY)

    assert (told.status, department_now(cast)) == (200, "Product")
    for sentence in (
        "From the next call on it counts on the month budget of $5,000.00 for Payments department.",
        "It no longer counts on the month budget of $2,000.00 for Product department.",
        "Its projects go with it: Ranking.",
        "The month budget of $900.00 for Search team goes with it.",
        "The month budget of $40.00 for Ranking goes with it.",
        "The month budget of $10.00 for nightly of Ada Moreno goes with it.",
        "Its keys go on calling: nightly of Ada Moreno.",
        "What raises them above Tier 1 stays until it ends: 1 in force.",
        "1 request waits. What a director decides of that is for the director of Payments from now on.",
        "The director of Payments department sets its limits; who directs Product no longer does.",
        "What was used until now stays with Product department in every report.",
    ):
        assert sentence in told.words

    visitor.post(
        team_path(cast), department=cast.payments.public_id, reason=WHY, confirm=cast.payments.public_id
    )
    assert department_now(cast) == "Payments"


def test_many_budgets_of_a_team_are_counted_beside_the_first(cast: Cast) -> None:
    for number in range(8):
        key = ApiKeyFactory.create(name=f"key {number}", project=cast.ranking, owner=cast.ada)
        limited(cast, ScopeKind.KEY, key.pk, number + 1)

    told = Visitor(cast.ann).post(team_path(cast), department=cast.payments.public_id, reason=WHY)

    assert told.words.count("goes with it.") == 5
    assert "So do 3 more budgets." in told.words
    assert "and 3 more." in told.words


def test_refusal_of_the_budgets_of_the_department_is_said_with_its_numbers(cast: Cast) -> None:
    payments = BudgetFactory.create(
        scope_kind=ScopeKind.DEPARTMENT, scope_id=cast.payments.pk, department=cast.payments, mode="hard"
    )
    BudgetLimitFactory.create(budget=payments, amount_usd=50)
    limited(cast, ScopeKind.PROJECT, cast.ranking.pk, 60)

    page = Visitor(cast.ann).post(
        team_path(cast), department=cast.payments.public_id, reason=WHY, confirm=cast.payments.public_id
    )

    assert (page.status, department_now(cast)) == (422, "Product")
    assert "The team's budgets do not fit there" in page.words
    assert "Ranking has $60.00 a month, Payments department $50.00" in page.words


def test_who_directs_one_department_alone_is_told_whom_to_ask(cast: Cast) -> None:
    page = Visitor(cast.cleo).get(team_path(cast))

    assert page.status == 403
    assert "Only an administrator may move a team to a department that you do not direct" in page.words
    assert "Ask Ann Keller" in page.words


def test_director_of_both_departments_moves_a_team(cast: Cast) -> None:
    RoleAssignmentFactory.create(user=cast.cleo, role=Role.DIRECTOR, department=cast.payments)
    visitor = Visitor(cast.cleo)

    assert team_path(cast) in visitor.get(f"/teams/{cast.search.public_id}/").links
    visitor.post(
        team_path(cast), department=cast.payments.public_id, reason=WHY, confirm=cast.payments.public_id
    )

    assert department_now(cast) == "Payments"


def test_page_of_the_team_leads_there_for_those_who_may(cast: Cast) -> None:
    here = f"/teams/{cast.search.public_id}/"

    shown = {
        who: team_path(cast) in Visitor(getattr(cast, who)).get(here).links for who in ("ben", "cleo", "ann")
    }

    assert shown == {"ben": False, "cleo": False, "ann": True}
