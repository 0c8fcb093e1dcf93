"""Who may set which limit, how high, and what is written."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from budgets import selectors
from budgets.authority import powers, room
from budgets.errors import BudgetClosedError, BudgetExistsError, HeadroomError, NeedsConfirmationError
from budgets.models import Budget, BudgetLimit, Mode, ScopeKind, Window
from budgets.services import limits
from core import clock
from core.errors import InvalidInputError
from core.models import AuditEvent
from keys.models import ApiKey
from teams.errors import RoleNeededError
from teams.models import Project, User
from tests.budgets.conftest import OpenBudget, spend
from tests.cast import Cast
from tests.factories import ProjectFactory


def change(budget: Budget, actor: User | None, amount: str | None, *, confirm: bool = False) -> BudgetLimit:
    """Change a limit."""
    return limits.change_limit(
        actor=actor,
        budget=budget,
        amount_usd=None if amount is None else Decimal(amount),
        reason="More traffic.",
        confirm=confirm,
    )


def limit_now(budget: Budget) -> Decimal | None:
    """Return the limit that the next call meets."""
    return selectors.budget_rows(Budget.objects.filter(pk=budget.pk))[0].limit_usd


def test_lead_raises_a_project_within_what_the_team_has_left(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.search, "1000")
    other = ProjectFactory.create(team=cast.search)
    budget(other, "600")
    mine = budget(cast.ranking, "300")

    change(mine, cast.ben, "400")
    assert limit_now(mine) == 400

    with pytest.raises(HeadroomError) as refusal:
        change(mine, cast.ben, "400.01")
    assert refusal.value.extra == {"highest_usd": "400.000000000000"}
    assert "$1,000.00 a month, of which $600.00 is allocated" in refusal.value.detail
    assert "ask Ann Keller, Cleo Hart or Fay Tanaka" in refusal.value.detail
    assert limit_now(mine) == 400


@pytest.mark.parametrize("who", ["cleo", "fay", "ann"])
def test_director_finance_and_admin_may_allocate_more_than_the_sum(
    cast: Cast, budget: OpenBudget, who: str
) -> None:
    budget(cast.search, "1000")
    budget(ProjectFactory.create(team=cast.search), "600")
    mine = budget(cast.ranking, "300")

    change(mine, getattr(cast, who), "900")

    assert limit_now(mine) == 900


def test_nobody_sets_a_limit_above_that_of_a_wider_scope(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.search, "1000")
    mine = budget(cast.ranking, "300")

    for actor in (cast.ben, cast.cleo, cast.ann, None):
        with pytest.raises(HeadroomError, match=r"month limit of Search team is \$1,000\.00"):
            change(mine, actor, "1000.01")


def test_a_limit_does_not_go_below_that_of_a_narrower_scope(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    team = budget(cast.search, "1000")
    budget(cast.ranking, "300")
    budget(key, "200")

    with pytest.raises(HeadroomError, match=r"month limit of Ranking is \$300\.00") as refusal:
        change(team, cast.cleo, "299")
    assert refusal.value.extra == {"lowest_usd": "300.000000000000"}
    assert change(team, cast.cleo, "300").amount_usd == 300


def test_other_windows_and_filters_do_not_bind(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.search, "10", window=Window.DAY)
    budget(cast.search, "20", only_tier=cast.tier2)

    mine = budget(cast.ranking, "300")
    with pytest.raises(HeadroomError):
        budget(cast.ranking, "21", only_tier=cast.tier2)

    assert change(mine, cast.ben, "500").amount_usd == 500


@pytest.mark.parametrize("who", ["ada", "dan", "eve", "olga", "audrey"])
def test_outsiders_members_and_auditors_set_no_limit(cast: Cast, budget: OpenBudget, who: str) -> None:
    mine = budget(cast.ranking, "300")

    with pytest.raises(RoleNeededError, match="Ask Ann Keller, Cleo Hart or Fay Tanaka"):
        change(mine, getattr(cast, who), "200")


def test_a_lead_lowers_and_opens_but_never_raises_the_teams_own_limit(cast: Cast, budget: OpenBudget) -> None:
    team = budget(cast.search, "1000")

    with pytest.raises(HeadroomError, match="a lead does not raise the limit of their own team"):
        change(team, cast.ben, "1001")
    change(team, cast.ben, "900")
    opened = budget(cast.search, "50", actor=cast.ben, window=Window.DAY)

    assert limit_now(team) == 900
    assert limit_now(opened) == 50
    assert change(team, cast.cleo, "2000").amount_usd == 2000


def test_a_lead_does_not_take_a_limit_away_where_the_team_has_one(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    assert change(mine, cast.ben, None).amount_usd is None
    budget(cast.search, "1000")
    change(mine, cast.ben, "300")

    with pytest.raises(HeadroomError, match="No limit is more than there is room for"):
        change(mine, cast.ben, None)
    change(mine, cast.cleo, None)

    assert limit_now(mine) is None


def test_a_director_sets_limits_of_his_department_only(cast: Cast, budget: OpenBudget) -> None:
    organisation, department = budget(None, "9000"), budget(cast.product, "5000")

    assert change(department, cast.cleo, "6000").amount_usd == 6000
    for other, actor in ((department, cast.olga), (organisation, cast.cleo), (organisation, cast.ben)):
        with pytest.raises(RoleNeededError):
            change(other, actor, "7000")
    assert change(organisation, cast.fay, "8000").amount_usd == 8000


def test_a_change_is_in_force_by_the_databases_clock_and_audited(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    limit = change(mine, cast.ben, "400")

    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp(), budgets_limit_at(%s, clock_timestamp())", [mine.pk])
        database_now, in_force = cursor.fetchone()
    assert in_force == 400
    assert timedelta(0) <= database_now - limit.valid_from < timedelta(seconds=5)
    event = AuditEvent.objects.get(action="budget.limit_changed")
    assert (event.actor_id, event.object_id, event.reason) == (cast.ben.pk, mine.public_id, "More traffic.")
    assert (event.before, event.after) == ({"limit_usd": "300.000000000000"}, {"limit_usd": "400"})
    assert (event.team_id, event.department_id) == (cast.search.pk, cast.product.pk)


def test_the_old_limit_is_still_known(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    change(mine, cast.ben, "400")

    rows = list(mine.limits.order_by("pk"))

    assert [row.amount_usd for row in rows] == [300, 400]
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_limit_at(%s, %s)", [mine.pk, rows[0].valid_from])
        assert cursor.fetchone() == (Decimal(300),)
    for act in (lambda: mine.limits.update(amount_usd=1), lambda: mine.limits.all().delete()):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            act()


def test_the_same_amount_again_writes_nothing(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    change(mine, cast.ben, "300.00")

    assert mine.limits.count() == 1
    assert not AuditEvent.objects.filter(action="budget.limit_changed").exists()


def test_lowering_below_what_is_spent_and_held_needs_a_confirmation_and_names_the_keys(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    mine = budget(cast.ranking, "300")
    spend(key, cast.small, "150", held="20")

    with pytest.raises(NeedsConfirmationError) as refusal:
        change(mine, cast.ben, "169")
    assert refusal.value.key_ids == (key.pk,)
    assert "$150.00 is spent and $20.00 is held" in refusal.value.detail
    assert limit_now(mine) == 300

    change(mine, cast.ben, "170")
    change(mine, cast.ben, "100", confirm=True)
    assert limit_now(mine) == 100
    assert change(mine, cast.ben, "120").amount_usd == 120  # higher, if not yet enough: nobody loses anything


def test_a_soft_budget_refuses_nobody_so_lowering_it_needs_no_confirmation(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    mine = budget(cast.ranking, "300", mode=Mode.SOFT)
    spend(key, cast.small, "150")

    assert change(mine, cast.ben, "10").amount_usd == 10


def test_one_open_budget_per_scope_window_mode_and_filter(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.ranking, "300")
    budget(cast.ranking, "200", mode=Mode.SOFT)
    budget(cast.ranking, "100", only_tier=cast.tier2)

    with pytest.raises(BudgetExistsError, match="There is a hard month budget here already"):
        budget(cast.ranking, "400")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "localtime"}, "time_zone"),
        ({"window_anchor": 2}, "window_anchor"),
        ({"window": Window.WEEK, "window_anchor": 8}, "window_anchor"),
        ({"reason": "  "}, "reason"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(
    cast: Cast, budget: OpenBudget, fields: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        budget(cast.ranking, "300", **fields)
    assert refusal.value.field == field


def test_a_scope_belongs_to_its_department(cast: Cast) -> None:
    for scope_id in (cast.ranking.pk, 10**9):
        with pytest.raises(InvalidInputError, match="does not exist in this department"):
            limits.open_budget(
                actor=None, scope_kind=ScopeKind.PROJECT, scope_id=scope_id, department=cast.payments,
                window=Window.MONTH, mode=Mode.HARD, amount_usd=Decimal(1), reason="A test.",
            )  # fmt: skip


def test_a_negative_limit_and_a_closed_budget_are_refused(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    with pytest.raises(InvalidInputError, match="0 or more"):
        change(mine, cast.ben, "-1")
    Budget.objects.filter(pk=mine.pk).update(closed_at=clock.now())
    with pytest.raises(BudgetClosedError):
        change(mine, cast.ben, "400")


def test_the_page_can_say_beforehand_what_would_be_allowed(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.search, "1000")
    mine = budget(cast.ranking, "300")
    place = selectors.scope_place(ScopeKind.PROJECT, cast.ranking.pk)
    around = selectors.neighbourhood(place, Window.MONTH)
    node = next(each for each in around if each.id == mine.pk)

    allowed = room(node, around, as_lead=True, now=clock.now())
    barred = powers(cast.dan, place)

    assert powers(cast.ben, place).as_lead
    assert allowed.highest is not None
    assert allowed.highest.usd == 1000
    assert not barred.may_change
    assert barred.who_may == "Ann Keller, Cleo Hart or Fay Tanaka"


def test_raw_sql_cannot_give_a_budget_a_scope_that_does_not_exist(cast: Cast) -> None:
    with pytest.raises(DatabaseError, match="does not exist in department"), transaction.atomic():
        Budget.objects.create(
            scope_kind=ScopeKind.TEAM, scope_id=cast.cards.pk, department=cast.product, window=Window.DAY
        )


def test_moving_a_budget_elsewhere_is_refused(cast: Cast, budget: OpenBudget, project: Project) -> None:
    mine = budget(cast.ranking, "300")

    with pytest.raises(DatabaseError, match="keeps its scope"), transaction.atomic():
        Budget.objects.filter(pk=mine.pk).update(scope_id=project.pk)


@pytest.fixture
def project(cast: Cast) -> Project:
    """Give another project of ada's team."""
    return ProjectFactory.create(team=cast.search)


def test_history_starts_when_the_budget_is_opened(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300", actor=cast.cleo)

    [first] = selectors.budget_detail(mine).history

    assert (first.actor, first.amount_usd, first.until) == ("Cleo Hart", 300, None)
    assert first.in_force_since < datetime.now(UTC) + timedelta(seconds=5)
