"""What moves, a project or a team, takes its limits along: they must fit what is above them there."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from budgets.errors import HeadroomError
from budgets.models import Allocation, Budget, ScopeKind, Window
from budgets.services import limits
from budgets.services.moves import move_project, move_team
from budgets.services.rules import close_budget
from core import clock
from core.models import AuditEvent
from teams.errors import RoleNeededError
from teams.models import Project, Team
from tests.budgets.conftest import OpenBudget
from tests.cast import Cast
from tests.factories import ApiKeyFactory, ProjectFactory, TeamFactory

WHY = "The team is split."
STRICT = {"allocation": Allocation.STRICT}


@pytest.fixture
def maps(cast: Cast) -> Team:
    """Give the department Product a second team."""
    return TeamFactory.create(name="Maps", code="maps", department=cast.product)


def move(cast: Cast, team: Team) -> Project:
    """Move Ranking as the director of both teams."""
    return move_project(actor=cast.cleo, project=cast.ranking, team=team, reason=WHY)


def test_project_moves_where_its_limit_fits(cast: Cast, maps: Team, budget: OpenBudget) -> None:
    budget(maps, "1000", **STRICT)
    budget(ProjectFactory.create(team=maps), "600")
    mine = budget(cast.ranking, "400")

    move(cast, maps)

    cast.ranking.refresh_from_db()
    mine.refresh_from_db()
    assert (cast.ranking.team, mine.closed_at) == (maps, None)
    assert AuditEvent.objects.filter(action="project.moved").count() == 1


def test_what_was_handed_out_there_already_leaves_no_room(cast: Cast, maps: Team, budget: OpenBudget) -> None:
    budget(maps, "1000", **STRICT)
    budget(ProjectFactory.create(team=maps), "600")
    budget(cast.ranking, "400.01")

    with pytest.raises(HeadroomError) as refusal:
        move(cast, maps)

    assert "Maps team has $1,000.00 a month, and $1,000.01 would be allocated" in str(refusal.value)
    cast.ranking.refresh_from_db()
    assert cast.ranking.team == cast.search
    assert not AuditEvent.objects.filter(action="project.moved").exists()


def test_pool_hands_out_more_but_no_limit_above_its_own(cast: Cast, maps: Team, budget: OpenBudget) -> None:
    team = budget(maps, "500")
    budget(ProjectFactory.create(team=maps), "500")
    budget(cast.ranking, "600")

    with pytest.raises(HeadroomError, match=r"Ranking has \$600.00 a month, Maps team \$500.00"):
        move(cast, maps)
    limits.change_limit(actor=cast.ann, budget=team, amount_usd=Decimal(600), reason=WHY)
    move(cast, maps)


def test_overcommit_hands_out_its_multiple(cast: Cast, maps: Team, budget: OpenBudget) -> None:
    budget(maps, "100", allocation=Allocation.OVERCOMMIT, overcommit_ratio=Decimal("1.5"))
    other = budget(ProjectFactory.create(team=maps), "90")
    budget(cast.ranking, "70")

    with pytest.raises(HeadroomError, match="times its limit"):
        move(cast, maps)
    limits.change_limit(actor=cast.ann, budget=other, amount_usd=Decimal(80), reason=WHY)
    move(cast, maps)


def test_limit_of_a_key_presses_on_the_team_where_its_project_has_none(
    cast: Cast, maps: Team, budget: OpenBudget
) -> None:
    budget(maps, "100", window=Window.DAY)
    budget(ApiKeyFactory.create(project=cast.ranking), "101", window=Window.DAY)

    with pytest.raises(HeadroomError, match=r"a key has \$101.00 a day, Maps team \$100.00"):
        move(cast, maps)


def test_limit_that_is_planned_must_fit_as_well(cast: Cast, maps: Team, budget: OpenBudget) -> None:
    budget(maps, "100")
    mine = budget(cast.ranking, "90")
    later = clock.now() + timedelta(days=5)
    limits.change_limit(
        actor=cast.cleo,
        budget=mine,
        amount_usd=Decimal(110),
        valid_from=later,
        reason=WHY,
    )

    with pytest.raises(HeadroomError, match=f"from {later:%-d %B %Y}"):
        move(cast, maps)


def test_organisation_that_the_old_team_shielded_must_have_room(
    cast: Cast, maps: Team, budget: OpenBudget
) -> None:
    budget(None, "1000", **STRICT)
    budget(cast.search, "950")
    budget(cast.ranking, "60")

    with pytest.raises(HeadroomError, match=r"\$1,010.00 would be allocated"):
        move(cast, maps)


def test_what_is_broken_already_and_gets_no_worse_forbids_nothing(
    cast: Cast, maps: Team, budget: OpenBudget
) -> None:
    whole = budget(None, "1000", **STRICT)
    budget(cast.search, "500")
    budget(cast.ranking, "400")
    budget(maps, "450")
    shrunk = whole.limits.get()
    with connection.cursor() as cursor:  # as a limit of before the rule would have stood
        cursor.execute(
            "INSERT INTO budgets_budgetlimit (budget_id, kind, amount_usd, valid_from, reason, recorded_at)"
            " VALUES (%s, 'base', 900, clock_timestamp(), 'Old.', now())",
            [shrunk.budget_id],
        )

    move(cast, maps)


def test_lead_and_stranger_may_not_move_it(cast: Cast, maps: Team) -> None:
    for actor in (cast.ben, cast.dan, cast.fay):
        with pytest.raises(RoleNeededError), transaction.atomic():
            move_project(actor=actor, project=cast.ranking, team=maps, reason=WHY)


def test_budgets_of_both_scopes_stay_what_they_are(cast: Cast, maps: Team, budget: OpenBudget) -> None:
    mine, old = budget(cast.ranking, "10"), budget(cast.search, "100")

    move(cast, maps)

    kept = Budget.objects.filter(pk__in=[mine.pk, old.pk], closed_at__isnull=True)
    assert set(kept.values_list("scope_kind", "scope_id")) == {
        (ScopeKind.PROJECT.value, cast.ranking.pk),
        (ScopeKind.TEAM.value, cast.search.pk),
    }


def move_search(cast: Cast) -> Team:
    """Move the team Search to Payments as an administrator."""
    return move_team(actor=cast.ann, team=cast.search, department=cast.payments, reason=WHY)


def test_team_moves_where_what_it_has_fits(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.payments, "1000", **STRICT)
    budget(cast.cards, "600")
    mine = [budget(cast.search, "400"), budget(cast.ranking, "300")]

    move_search(cast)

    cast.search.refresh_from_db()
    assert cast.search.department == cast.payments
    assert Budget.objects.filter(pk__in=[row.pk for row in mine], closed_at__isnull=True).count() == 2
    assert AuditEvent.objects.filter(action="team.moved").count() == 1


def test_department_that_gave_its_money_to_others_takes_no_team(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.payments, "1000", **STRICT)
    budget(cast.cards, "600")
    budget(cast.search, "400.01")

    with pytest.raises(HeadroomError) as refusal:
        move_search(cast)

    assert "Payments department has $1,000.00 a month, and $1,000.01 would be allocated" in str(refusal.value)
    assert (refusal.value.extra["excess_usd"], refusal.value.field) == ("0.010000000000", "department")
    cast.search.refresh_from_db()
    assert cast.search.department == cast.product
    assert not AuditEvent.objects.filter(action="team.moved").exists()


def test_limits_inside_a_team_press_on_the_new_department(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.payments, "100", window=Window.DAY)
    project = budget(cast.ranking, "101", window=Window.DAY)

    with pytest.raises(HeadroomError, match=r"Ranking has \$101.00 a day, Payments department \$100.00"):
        move_search(cast)
    limits.change_limit(actor=cast.ann, budget=project, amount_usd=Decimal(100), reason=WHY)
    move_search(cast)


def test_what_a_team_hands_out_inside_itself_is_no_matter_of_its_move(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.payments, "1000", **STRICT)
    budget(cast.search, "500")
    budget(cast.ranking, "400")
    budget(ProjectFactory.create(team=cast.search), "400")

    move_search(cast)


def test_only_who_directs_both_departments_moves_a_team(cast: Cast) -> None:
    for actor in (cast.ben, cast.cleo, cast.olga, cast.fay):
        with pytest.raises(RoleNeededError), transaction.atomic():
            move_team(actor=actor, team=cast.search, department=cast.payments, reason=WHY)


@pytest.mark.parametrize("moves", ["team", "project"])
def test_open_budgets_are_of_the_department_where_their_scope_is_now(
    cast: Cast, budget: OpenBudget, moves: str
) -> None:
    key = ApiKeyFactory.create(project=cast.ranking)
    inside = [budget(scope, "10", window=Window.DAY) for scope in (cast.ranking, key)]
    team, ended = budget(cast.search, "10", window=Window.DAY), budget(cast.ranking, "10", window=Window.WEEK)
    others = [budget(scope, "10", window=Window.DAY) for scope in (cast.product, cast.fraud, None)]
    close_budget(actor=cast.ann, budget=ended, reason=WHY)

    if moves == "team":
        move_search(cast)
    else:
        move_project(actor=cast.ann, project=cast.ranking, team=cast.cards, reason=WHY)

    home = dict(Budget.objects.values_list("pk", "department__code"))
    assert [home[row.pk] for row in inside] == ["payments", "payments"]
    assert home[team.pk] == ("payments" if moves == "team" else "product")
    assert [home[row.pk] for row in (ended, *others)] == ["product", "product", "payments", None]


def test_no_budget_is_given_to_a_department_that_its_scope_is_not_of(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.search, "10")

    with pytest.raises(DatabaseError, match="does not exist in department"), transaction.atomic():
        Budget.objects.filter(pk=mine.pk).update(department=cast.payments)
