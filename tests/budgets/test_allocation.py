"""How a limit is shared out among the budgets below it, now and as planned."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgets import selectors
from budgets.allocation import Node, handed_out
from budgets.errors import HeadroomError
from budgets.models import Allocation, Budget, Mode, RollOver, ScopeKind, Window
from budgets.schedules import Schedule, Step
from budgets.services import limits, rules
from budgets.types import ScopePlace
from core import clock
from keys.models import ApiKey
from teams.models import Project, User
from tests.budgets.conftest import OpenBudget
from tests.cast import Cast
from tests.factories import ApiKeyFactory, ProjectFactory

STRICT = {"allocation": Allocation.STRICT}
NOW = clock.now()


def overcommit(ratio: str) -> dict[str, object]:
    """Return the rules of a budget that hands out a multiple of itself."""
    return {"allocation": Allocation.OVERCOMMIT, "overcommit_ratio": Decimal(ratio)}


def change(budget: Budget, actor: User | None, amount: str | None, **fields: object) -> None:
    """Change a limit."""
    usd = None if amount is None else Decimal(amount)
    limits.change_limit(actor=actor, budget=budget, amount_usd=usd, reason="A test.", **fields)  # type: ignore[arg-type]


def plan(budget: Budget, amount: str | None, at: datetime) -> None:
    """Plan a limit."""
    change(budget, None, amount, valid_from=at)


def top_up(budget: Budget, amount: str, until: datetime) -> None:
    """Add to a limit."""
    usd = Decimal(amount)
    limits.top_up(actor=None, budget=budget, amount_usd=usd, valid_until=until, reason="A test.")


def set_allocation(budget: Budget, allocation: Allocation, ratio: str = "1") -> None:
    """Change how a budget is shared, and leave its other rules."""
    rules.set_rules(
        actor=None, budget=budget, mode=Mode(budget.mode), allocation=allocation,
        overcommit_ratio=Decimal(ratio), roll_over=RollOver(budget.roll_over), reason="A test.",
    )  # fmt: skip


@pytest.fixture
def other(cast: Cast) -> Project:
    """Give the team Search a second project."""
    return ProjectFactory.create(name="Crawler", team=cast.search)


def test_strict_refuses_a_sum_above_the_limit_with_the_numbers(
    cast: Cast, budget: OpenBudget, other: Project
) -> None:
    budget(cast.search, "1000", **STRICT)
    budget(other, "600")
    mine = budget(cast.ranking, "300")

    change(mine, cast.cleo, "400")
    with pytest.raises(HeadroomError) as refusal:
        change(mine, cast.cleo, "400.01")

    assert refusal.value.extra == {"highest_usd": "400.000000000000"}
    assert (
        "$400.01 is more than there is room for: Search team has $1,000.00 a month, of which $600.00 is"
        " allocated to others. You may go up to $400.00"
    ) in refusal.value.detail


def test_strict_refuses_to_open_one_more_than_fits(cast: Cast, budget: OpenBudget, other: Project) -> None:
    budget(cast.search, "1000", **STRICT)
    budget(other, "600")

    with pytest.raises(HeadroomError, match=r"You may go up to \$400\.00"):
        budget(cast.ranking, "401")

    budget(cast.ranking, "400")
    with pytest.raises(HeadroomError, match=r"of which \$1,000\.00 is allocated to others"):
        budget(ProjectFactory.create(team=cast.search), "0.01")


def test_overcommit_hands_out_a_multiple_of_the_limit_to_the_last_digit(
    cast: Cast, budget: OpenBudget, other: Project
) -> None:
    budget(cast.search, "1000", **overcommit("1.5"))
    budget(other, "900")
    mine = budget(cast.ranking, "300")

    change(mine, cast.cleo, "600")
    with pytest.raises(HeadroomError, match=r"may hand out \$1,500\.00 a month, 1\.5 times its limit"):
        change(mine, cast.cleo, "600.000000000001")


def test_overcommit_gives_nobody_more_than_the_limit_itself(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.search, "1000", **overcommit("3"))

    with pytest.raises(HeadroomError, match=r"month limit of Search team is \$1,000\.00"):
        budget(cast.ranking, "1001")


def test_pool_lets_each_have_all_of_it(cast: Cast, budget: OpenBudget, other: Project) -> None:
    budget(cast.search, "1000")

    assert [budget(project, "1000").pk > 0 for project in (cast.ranking, other)] == [True, True]


def test_a_parent_is_not_lowered_below_what_it_handed_out(
    cast: Cast, budget: OpenBudget, other: Project
) -> None:
    team = budget(cast.search, "1000", **overcommit("2"))
    budget(cast.ranking, "700")
    budget(other, "800")

    with pytest.raises(HeadroomError) as refusal:
        change(team, cast.cleo, "799")
    assert refusal.value.extra == {"lowest_usd": "800.000000000000"}
    change(team, cast.cleo, "800")

    set_allocation(team, Allocation.OVERCOMMIT, "1.88")
    with pytest.raises(HeadroomError, match=r"\$1,500\.00 is allocated to the budgets below it"):
        set_allocation(team, Allocation.OVERCOMMIT, "1.87")
    with pytest.raises(HeadroomError, match="strict, is too low"):
        set_allocation(team, Allocation.STRICT)


def test_a_loose_budget_becomes_strict_only_when_what_it_handed_out_fits(
    cast: Cast, budget: OpenBudget, other: Project
) -> None:
    team = budget(cast.search, "1000")
    mine = budget(cast.ranking, "700")
    budget(other, "400")

    with pytest.raises(HeadroomError, match=r"\$1,100\.00 is allocated to the budgets below it"):
        set_allocation(team, Allocation.STRICT)
    change(mine, cast.cleo, "600")
    set_allocation(team, Allocation.STRICT)

    assert Budget.objects.get(pk=team.pk).allocation == Allocation.STRICT


def test_a_strict_budget_is_opened_over_what_is_there_only_when_that_fits(
    cast: Cast, budget: OpenBudget, other: Project
) -> None:
    budget(cast.ranking, "700")
    budget(other, "400")

    with pytest.raises(HeadroomError, match=r"\$1,000\.00 is too low: \$1,100\.00 is allocated") as refusal:
        budget(cast.search, "1000", **STRICT)
    assert refusal.value.extra == {"lowest_usd": "1100.000000000000"}
    with pytest.raises(HeadroomError, match=r"month limit of Ranking is \$700\.00"):
        budget(cast.search, "699")
    budget(cast.search, "1100", **STRICT)


def test_keys_of_a_project_with_a_budget_are_that_projects_and_not_the_teams(
    cast: Cast, budget: OpenBudget, other: Project, key: ApiKey
) -> None:
    budget(cast.search, "1000", **STRICT)
    budget(cast.ranking, "600")
    second = ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    loose = ApiKeyFactory.create(project=other, owner=cast.ada)

    for each in (key, second):
        budget(each, "600")  # together more than the project, which is a pool
    budget(loose, "400")

    with pytest.raises(HeadroomError, match=r"of which \$1,000\.00 is allocated to others"):
        budget(ApiKeyFactory.create(project=other, owner=cast.ada), "1")


def test_a_team_counts_at_the_organisation_when_its_department_has_no_budget(
    cast: Cast, budget: OpenBudget
) -> None:
    budget(None, "1000", **STRICT)
    budget(cast.product, "500")
    budget(cast.search, "500")
    cards = budget(cast.cards, "300")

    change(cards, cast.fay, "500")
    with pytest.raises(HeadroomError, match=r"Organisation has \$1,000\.00 a month, of which \$500\.00"):
        change(cards, cast.fay, "500.01")
    budget(cast.payments, "500")


def test_a_budget_opened_in_between_takes_over_those_below_it(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    budget(cast.search, "1000", **STRICT)
    second = ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    budget(key, "500")
    budget(second, "500")

    project = budget(cast.ranking, "1000")

    with pytest.raises(HeadroomError, match="You may go up to"):
        change(project, cast.cleo, "1000.01")
    change(project, cast.cleo, "500")


def test_without_the_one_in_between_those_below_count_above(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    budget(cast.search, "1000", **STRICT)
    project = budget(cast.ranking, "600")
    second = ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    for each in (key, second):
        budget(each, "600")

    sentence = r"Search team has \$1,000\.00 a month, and \$1,200\.00 would be allocated"
    with pytest.raises(HeadroomError, match=sentence):
        change(project, cast.cleo, None)
    with pytest.raises(HeadroomError, match=sentence):
        rules.close_budget(actor=cast.cleo, budget=project, reason="A test.")
    with pytest.raises(HeadroomError, match=sentence):
        rules.set_rules(
            actor=cast.cleo, budget=project, mode=Mode.NOTIFY, allocation=Allocation.POOL,
            roll_over=RollOver.NONE, reason="A test.",
        )  # fmt: skip

    assert Budget.objects.filter(pk=project.pk, closed_at__isnull=True, mode=Mode.HARD).exists()


def test_a_budget_that_only_tells_neither_binds_nor_counts(
    cast: Cast, budget: OpenBudget, other: Project
) -> None:
    budget(cast.search, "1000", mode=Mode.NOTIFY, **STRICT)
    budget(other, "5000")
    hard = budget(cast.search, "9000", **STRICT)
    told = budget(cast.ranking, "20000", mode=Mode.NOTIFY)

    change(hard, cast.cleo, "5000")
    with pytest.raises(HeadroomError, match="A hard limit of"):
        rules.set_rules(
            actor=cast.cleo, budget=told, mode=Mode.HARD, allocation=Allocation.POOL,
            roll_over=RollOver.NONE, reason="A test.",
        )  # fmt: skip


def test_filters_count_once_under_a_wider_one_and_side_by_side_without(
    cast: Cast, budget: OpenBudget, other: Project
) -> None:
    budget(cast.search, "1000", **STRICT)
    budget(cast.ranking, "600")
    budget(cast.ranking, "600", only_tier=cast.tier2)
    budget(cast.ranking, "500", mode=Mode.SOFT)
    budget(other, "200", only_tier=cast.tier2)
    budget(other, "200", only_tier=cast.tier3)

    with pytest.raises(HeadroomError, match=r"of which \$1,000\.00 is allocated to others"):
        budget(ProjectFactory.create(team=cast.search), "1")


def test_a_filtered_parent_shares_only_the_calls_that_count_on_it(
    cast: Cast, budget: OpenBudget, other: Project
) -> None:
    budget(cast.search, "100", only_tier=cast.tier2, **STRICT)
    budget(other, "60", only_tier=cast.tier2)
    budget(other, "5000")

    budget(cast.ranking, "5000")
    budget(cast.ranking, "70", only_tier=cast.tier3)
    with pytest.raises(HeadroomError, match=r"You may go up to \$40\.00"):
        budget(cast.ranking, "41", only_tier=cast.tier2)


def test_what_is_broken_already_may_be_made_better(cast: Cast, budget: OpenBudget, other: Project) -> None:
    team = budget(cast.search, "1000", **STRICT)
    mine, theirs = budget(cast.ranking, "500"), budget(other, "500")
    moved = ProjectFactory.create()
    budget(moved, "400")
    Project.objects.filter(pk=moved.pk).update(team=cast.search)

    change(mine, cast.ben, "450")
    change(team, cast.cleo, "1100")
    with pytest.raises(HeadroomError):
        change(theirs, cast.cleo, "501")


def test_a_plan_holds_the_room_of_its_day(cast: Cast, budget: OpenBudget, other: Project) -> None:
    budget(cast.search, "1000", **STRICT)
    mine, theirs = budget(cast.ranking, "300"), budget(other, "300")
    day = clock.now() + timedelta(days=9)
    plan(mine, "700", day)

    with pytest.raises(HeadroomError, match=r"from .* UTC on, Search team has .* of which \$700\.00"):
        change(theirs, cast.cleo, "301")
    with pytest.raises(HeadroomError):
        plan(theirs, "301", day + timedelta(days=1))
    limits.withdraw_plan(actor=cast.ben, budget=mine, valid_from=day, reason="No launch.")
    change(theirs, cast.cleo, "700")


def test_a_parent_that_is_planned_to_shrink_has_no_room_for_more(cast: Cast, budget: OpenBudget) -> None:
    team, mine = budget(cast.search, "1000"), budget(cast.ranking, "300")
    day = clock.now() + timedelta(days=9)

    with pytest.raises(HeadroomError, match=r"month limit of Ranking is \$300\.00"):
        plan(team, "299", day)
    plan(team, "400", day)
    with pytest.raises(HeadroomError, match=r"from .* UTC on, the month limit of Search team is \$400\.00"):
        change(mine, cast.cleo, "401")
    plan(team, "1000", day + timedelta(days=1))
    plan(mine, "900", day + timedelta(days=2))


def test_a_top_up_of_the_parent_is_room_until_it_ends(cast: Cast, budget: OpenBudget) -> None:
    team, mine = budget(cast.search, "1000", **STRICT), budget(cast.ranking, "1000")
    friday = clock.now() + timedelta(days=3)
    top_up(team, "200", friday)

    with pytest.raises(HeadroomError, match=r"from .* UTC on"):
        change(mine, cast.cleo, "1200")
    with pytest.raises(HeadroomError, match=r"\$200\.00 on top is more .* You may go up to \$0\.00"):
        top_up(mine, "200", friday + timedelta(seconds=1))
    with pytest.raises(HeadroomError, match=r"You may go up to \$200\.00"):
        top_up(mine, "201", friday)
    top_up(mine, "200", friday)

    assert selectors.budget_rows(Budget.objects.filter(pk=mine.pk))[0].limit_usd == 1200


def test_moments_of_the_past_bind_nobody(cast: Cast, budget: OpenBudget) -> None:
    team, mine = budget(cast.search, "100"), budget(cast.ranking, "100")
    change(team, cast.cleo, "1000")

    change(mine, cast.cleo, "1000")


amounts = st.none() | st.integers(0, 50).map(Decimal)
hours = st.integers(-5, 5).map(lambda hour: NOW + timedelta(hours=hour))
bases = st.builds(Step, amount_usd=amounts, valid_from=hours)
top_ups = st.builds(
    lambda amount, start, length: Step(
        amount_usd=Decimal(amount), valid_from=start, valid_until=start + timedelta(hours=length)
    ),
    st.integers(1, 9),
    hours,
    st.integers(1, 6),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(bases | top_ups, max_size=6), probe=st.integers(-6, 12))
def test_schedule_is_the_twin_of_the_sql(db: None, cast_budget: Budget, rows: list[Step], probe: int) -> None:
    at = NOW + timedelta(hours=probe)
    numbered = [
        Step(amount_usd=row.amount_usd, valid_from=row.valid_from, valid_until=row.valid_until, number=number)
        for number, row in enumerate(rows)
    ]
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT before_rows")
        for row in numbered:
            cursor.execute(
                "INSERT INTO budgets_budgetlimit (budget_id, kind, amount_usd, valid_from, valid_until,"
                " reason, recorded_at) VALUES (%s, %s, %s, %s, %s, 'A test.', now())",
                [
                    cast_budget.pk,
                    "top_up" if row.valid_until else "base",
                    row.amount_usd,
                    row.valid_from,
                    row.valid_until,
                ],
            )
        cursor.execute("SELECT budgets_limit_at(%s, %s)", [cast_budget.pk, at])
        (expected,) = cursor.fetchone()
        cursor.execute("ROLLBACK TO SAVEPOINT before_rows")

    assert Schedule(steps=tuple(numbered)).limit_at(at) == expected


@pytest.fixture
def cast_budget(cast: Cast) -> Budget:
    """Make a budget without a limit."""
    return Budget.objects.create(
        scope_kind=ScopeKind.PROJECT, scope_id=cast.ranking.pk, department=cast.product, window=Window.DAY
    )


def node(number: int, project: int, **fields: object) -> Node:
    """Make a project's budget of team 1, department 1."""
    values: dict[str, object] = {
        "id": number,
        "place": ScopePlace(
            kind=ScopeKind.PROJECT, id=project, project_id=project, team_id=1, department_id=1
        ),
        "name": f"P{project}", "window": Window.MONTH, "only_tier": None, "only_model_id": None,
        "mode": Mode.HARD, "allocation": Allocation.POOL, "overcommit_ratio": Decimal(1),
        "schedule": Schedule(steps=(Step(amount_usd=Decimal(10), valid_from=NOW),)),
    }  # fmt: skip
    return Node(**{**values, **fields})  # type: ignore[arg-type]


def test_twins_count_once_with_the_larger_limit() -> None:
    place = ScopePlace(kind=ScopeKind.TEAM, id=1, project_id=None, team_id=1, department_id=1)
    larger = Schedule(steps=(Step(amount_usd=Decimal(25), valid_from=NOW),))
    around = [node(2, 1), node(3, 1, mode=Mode.SOFT, schedule=larger), node(4, 2), node(5, 2, only_tier=2)]

    assert handed_out(node(1, 0, place=place), around, NOW) == 35
