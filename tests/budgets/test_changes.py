"""Plans, top-ups, rules, closing and rates: who may, what is written, when it is in force."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from budgets import selectors
from budgets.errors import BudgetClosedError, BudgetExistsError, HeadroomError, NeedsConfirmationError
from budgets.models import (
    Allocation,
    Balance,
    Budget,
    BudgetLimit,
    LimitKind,
    Mode,
    RateLimit,
    RollOver,
    ScopeKind,
    Window,
)
from budgets.services import limits, rates, rules
from budgets.types import BudgetRow, LimitState, Rate
from core import clock
from core.errors import InvalidInputError, NotFoundError
from core.models import AuditEvent
from keys.models import ApiKey
from teams.errors import RoleNeededError
from teams.models import User
from tests.budgets.conftest import OpenBudget, spend
from tests.cast import Cast
from tests.factories import BudgetFactory, BudgetLimitFactory

TOMORROW = timedelta(days=1)


def row_of(budget: Budget, after: timedelta | None = None) -> BudgetRow:
    """Return the budget now, or some time from now."""
    at = clock.now() + after if after else None
    return selectors.budget_rows(Budget.objects.filter(pk=budget.pk), at=at)[0]


def top_up(
    budget: Budget, actor: User | None, amount: str = "50", after: timedelta = TOMORROW
) -> BudgetLimit:
    """Add to a limit for a while."""
    return limits.top_up(
        actor=actor, budget=budget, amount_usd=Decimal(amount), valid_until=clock.now() + after,
        reason="Launch week.",
    )  # fmt: skip


def plan(budget: Budget, actor: User | None, amount: str | None, after: timedelta = TOMORROW) -> BudgetLimit:
    """Plan a limit."""
    return limits.change_limit(
        actor=actor, budget=budget, amount_usd=None if amount is None else Decimal(amount),
        reason="The next quarter.", valid_from=clock.now() + after,
    )  # fmt: skip


def set_rules(budget: Budget, actor: User | None, **wanted: object) -> Budget:
    """Change some rules and leave the others."""
    mine = Budget.objects.get(pk=budget.pk)
    values: dict[str, object] = {
        "mode": Mode(mine.mode), "allocation": Allocation(mine.allocation),
        "overcommit_ratio": mine.overcommit_ratio, "roll_over": RollOver(mine.roll_over), "reason": "A test.",
    }  # fmt: skip
    return rules.set_rules(actor=actor, budget=budget, **{**values, **wanted})  # type: ignore[arg-type]


def close(budget: Budget, actor: User | None) -> Budget:
    """Close a budget."""
    return rules.close_budget(actor=actor, budget=budget, reason="The pilot ends.")


def set_rate(cast_member: User | None, kind: ScopeKind, scope_id: int, **numbers: int | None) -> RateLimit:
    """Set how fast a scope may call."""
    return rates.set_rate_limit(
        actor=cast_member, scope_kind=kind, scope_id=scope_id, rate=Rate(**numbers), reason="It floods."
    )


def audited(action: str) -> AuditEvent:
    """Return the one audit row of an action."""
    return AuditEvent.objects.get(action=action)


def test_top_up_is_in_force_at_once_and_ends_by_itself(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    limit = top_up(mine, cast.ben)

    assert row_of(mine).limit_usd == 350
    assert row_of(mine, 2 * TOMORROW).limit_usd == 300
    assert (limit.kind, limit.actor, limit.reason) == (LimitKind.TOP_UP, cast.ben, "Launch week.")
    event = audited("budget.topped_up")
    assert (event.before, event.actor_id) == ({"limit_usd": "300.000000000000"}, cast.ben.pk)
    assert (event.after["limit_usd"], event.after["top_up_usd"]) == ("350.000000000000", "50")
    assert (event.team_id, event.department_id) == (cast.search.pk, cast.product.pk)


def test_second_click_on_a_top_up_adds_nothing(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    until = clock.now() + TOMORROW

    for _ in range(2):
        limits.top_up(
            actor=cast.ben, budget=mine, amount_usd=Decimal(50), valid_until=until, reason="Launch."
        )
    limits.top_up(actor=cast.cleo, budget=mine, amount_usd=Decimal(50), valid_until=until, reason="Launch.")

    assert row_of(mine).limit_usd == 400


def test_top_ups_add_up(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    top_up(mine, cast.ben, "50")
    top_up(mine, cast.ben, "20", 3 * TOMORROW)

    assert [row_of(mine, after).limit_usd for after in (None, 2 * TOMORROW)] == [370, 320]


@pytest.mark.parametrize(
    ("amount", "after", "field"), [("0", TOMORROW, "amount_usd"), ("5", -TOMORROW, "valid_until")]
)
def test_top_up_of_nothing_or_until_yesterday_is_refused(
    cast: Cast, budget: OpenBudget, amount: str, after: timedelta, field: str
) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        top_up(budget(cast.ranking, "300"), cast.ben, amount, after)
    assert refusal.value.field == field


def test_no_limit_cannot_be_topped_up(cast: Cast, budget: OpenBudget) -> None:
    with pytest.raises(InvalidInputError, match="no limit here to add to"):
        top_up(budget(cast.ranking, None), cast.ben)


def test_lead_tops_up_within_what_the_team_has_left_and_never_his_own_team(
    cast: Cast, budget: OpenBudget
) -> None:
    team, mine = budget(cast.search, "1000"), budget(cast.ranking, "980")

    with pytest.raises(HeadroomError, match=r"You may go up to \$20\.00; for more ask Ann Keller, Cleo Hart"):
        top_up(mine, cast.ben, "21")
    top_up(mine, cast.ben, "20")
    with pytest.raises(HeadroomError, match="a lead does not raise the limit of their own team"):
        top_up(team, cast.ben, "1")
    top_up(team, cast.cleo, "1")


def test_plan_comes_into_force_on_its_day_and_is_audited(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    limit = plan(mine, cast.ben, "400")

    assert [row_of(mine, after).limit_usd for after in (None, 2 * TOMORROW)] == [300, 400]
    event = audited("budget.limit_planned")
    assert (event.before, event.after["limit_usd"]) == ({"limit_usd": "300.000000000000"}, "400")
    assert event.after["valid_from"] == limit.valid_from.isoformat()


def test_change_of_now_leaves_the_plan_standing(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    plan(mine, cast.ben, "400")

    limits.change_limit(actor=cast.ben, budget=mine, amount_usd=Decimal(350), reason="A little more.")
    limits.change_limit(actor=cast.ben, budget=mine, amount_usd=Decimal(350), reason="Again.")

    assert [row_of(mine, after).limit_usd for after in (None, 2 * TOMORROW)] == [350, 400]
    assert mine.limits.count() == 3


def test_plan_for_the_past_is_refused(cast: Cast, budget: OpenBudget) -> None:
    with pytest.raises(InvalidInputError, match="still to come"):
        plan(budget(cast.ranking, "300"), cast.ben, "400", -TOMORROW)


def test_plan_is_withdrawn_by_another_row_of_its_moment(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    planned = plan(mine, cast.ben, "400")

    limits.withdraw_plan(actor=cast.ben, budget=mine, valid_from=planned.valid_from, reason="No launch.")

    assert row_of(mine, 2 * TOMORROW).limit_usd == 300
    history = selectors.limit_history(mine.pk)
    assert [(limit.amount_usd, limit.state) for limit in history] == [
        (300, LimitState.PLANNED),
        (400, LimitState.REPLACED),
        (300, LimitState.IN_FORCE),
    ]
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        planned.delete()


def test_only_what_is_planned_can_be_withdrawn(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    for moment in (clock.now() + TOMORROW, mine.limits.get().valid_from):
        with pytest.raises(NotFoundError, match="No limit is planned for this moment"):
            limits.withdraw_plan(actor=cast.ben, budget=mine, valid_from=moment, reason="No launch.")


def test_lead_plans_no_raise_of_his_own_team(cast: Cast, budget: OpenBudget) -> None:
    team = budget(cast.search, "1000")

    with pytest.raises(HeadroomError, match="a lead does not raise the limit of their own team"):
        plan(team, cast.ben, "1001")
    plan(team, cast.ben, "900")
    with pytest.raises(HeadroomError):
        plan(team, cast.ben, "901", 2 * TOMORROW)


def test_plan_below_what_is_spent_asks_first_while_the_window_lasts(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    mine = budget(cast.ranking, "300", window=Window.FISCAL_YEAR, window_anchor=clock.now().month)
    spend(key, cast.small, "150", held="20")

    with pytest.raises(NeedsConfirmationError) as refusal:
        plan(mine, cast.ben, "100", timedelta(minutes=1))
    assert refusal.value.key_ids == (key.pk,)
    plan(mine, cast.ben, "100", timedelta(days=400))


ACTS: dict[str, Callable[[Budget, User], object]] = {
    "change": lambda budget, actor: limits.change_limit(
        actor=actor, budget=budget, amount_usd=Decimal(200), reason="A test."
    ),
    "plan": lambda budget, actor: plan(budget, actor, "200"),
    "top up": top_up,
    "rules": lambda budget, actor: set_rules(budget, actor, mode=Mode.SOFT),
    "close": close,
    "rate": lambda budget, actor: set_rate(
        actor, ScopeKind(budget.scope_kind), budget.scope_id, parallel_calls=5
    ),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("who", ["ada", "dan", "eve", "olga", "audrey"])
def test_outsiders_members_and_auditors_change_nothing(
    cast: Cast, budget: OpenBudget, key: ApiKey, who: str, act: str
) -> None:
    for scope in (cast.search, cast.ranking, key):
        mine = budget(scope, "300")
        events = AuditEvent.objects.count()
        with pytest.raises(RoleNeededError, match="Ask Ann Keller, Cleo Hart or Fay Tanaka"):
            ACTS[act](mine, getattr(cast, who))
        assert AuditEvent.objects.count() == events


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("who", ["ben", "cleo", "fay", "ann"])
def test_lead_director_finance_and_admin_change_a_project(
    cast: Cast, budget: OpenBudget, who: str, act: str
) -> None:
    mine = budget(cast.ranking, "300")

    ACTS[act](mine, getattr(cast, who))

    event = AuditEvent.objects.order_by("-pk")[0]
    assert (event.actor_id, event.team_id) == (getattr(cast, who).pk, cast.search.pk)


@pytest.mark.parametrize("act", [act for act in ACTS if act != "rate"])
def test_lead_changes_nothing_above_his_team(cast: Cast, budget: OpenBudget, act: str) -> None:
    for scope in (None, cast.product):
        with pytest.raises(RoleNeededError):
            ACTS[act](budget(scope, "300"), cast.ben)


def test_rules_change_together_and_the_audit_names_what_changed(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")

    set_rules(
        mine, cast.cleo, mode=Mode.SOFT, allocation=Allocation.OVERCOMMIT, overcommit_ratio=Decimal("1.25"),
        roll_over=RollOver.UNUSED,
    )  # fmt: skip
    set_rules(mine, cast.cleo)

    row = row_of(mine)
    assert (row.mode, row.allocation, row.roll_over) == (Mode.SOFT, Allocation.OVERCOMMIT, RollOver.UNUSED)
    assert row.overcommit_ratio == Decimal("1.25")
    event = audited("budget.rules_changed")
    assert event.before == {
        "mode": "hard", "allocation": "pool", "overcommit_ratio": "1.00", "roll_over": "none",
    }  # fmt: skip
    assert event.after["overcommit_ratio"] == "1.25"


def test_roll_over_that_is_switched_on_passes_on_nothing_of_the_windows_before(
    cast: Cast,
) -> None:
    long_ago = clock.now() - timedelta(days=800)
    old = BudgetFactory.create(project=cast.ranking, scope_kind=ScopeKind.PROJECT, created_at=long_ago)
    BudgetLimitFactory.create(budget=old, amount_usd=Decimal(300), valid_from=long_ago)
    set_rules(old, cast.cleo, roll_over=RollOver.UNUSED)

    this = Balance.objects.get(budget=old)
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_open_window(%s, %s)", [old.pk, this.window_end])

    following = Balance.objects.get(budget=old, window_start=this.window_end)
    assert (this.spent_usd, following.spent_usd) == (0, -300)  # not of the two years before


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"allocation": Allocation.OVERCOMMIT, "overcommit_ratio": Decimal("0.99")}, "overcommit_ratio"),
        ({"allocation": Allocation.OVERCOMMIT, "overcommit_ratio": Decimal("1.001")}, "overcommit_ratio"),
        ({"allocation": Allocation.OVERCOMMIT, "overcommit_ratio": Decimal(1000)}, "overcommit_ratio"),
        ({"allocation": Allocation.STRICT, "overcommit_ratio": Decimal(2)}, "overcommit_ratio"),
        ({"roll_over": RollOver.DEBT}, "roll_over"),
    ],
)
def test_rules_that_cannot_be_are_refused(
    cast: Cast, budget: OpenBudget, wanted: dict[str, object], field: str
) -> None:
    mine = budget(cast.ranking, "300", window=Window.LIFETIME)

    with pytest.raises(InvalidInputError) as refusal:
        set_rules(mine, cast.cleo, **wanted)
    assert refusal.value.field == field
    with pytest.raises(InvalidInputError):
        budget(cast.search, "300", window=Window.LIFETIME, **wanted)


def test_two_budgets_of_a_scope_do_not_get_the_same_mode(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.ranking, "300")
    soft = budget(cast.ranking, "200", mode=Mode.SOFT)

    with pytest.raises(BudgetExistsError, match="There is a hard month budget here already"):
        set_rules(soft, cast.cleo, mode=Mode.HARD)
    assert row_of(soft).mode is Mode.SOFT


def test_limit_that_becomes_hard_below_what_is_spent_asks_first(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    mine = budget(cast.ranking, "100", mode=Mode.SOFT)
    spend(key, cast.small, "150", held="20")

    with pytest.raises(NeedsConfirmationError) as refusal:
        set_rules(mine, cast.ben, mode=Mode.HARD)
    assert refusal.value.key_ids == (key.pk,)
    assert row_of(mine).mode is Mode.SOFT
    set_rules(mine, cast.ben, mode=Mode.HARD, confirm=True)
    assert row_of(mine).mode is Mode.HARD
    set_rules(mine, cast.ben, allocation=Allocation.STRICT)  # refuses nobody who is not refused already


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("mode", {"mode": Mode.SOFT}),
        ("allocation", {"allocation": Allocation.POOL, "overcommit_ratio": Decimal(1)}),
        ("allocation", {"overcommit_ratio": Decimal("1.6")}),
        ("roll-over", {"roll_over": RollOver.UNUSED}),
    ],
)
def test_lead_tightens_the_rules_of_a_shared_limit_and_does_not_loosen_them(
    cast: Cast, budget: OpenBudget, what: str, wanted: dict[str, object]
) -> None:
    shared = {"allocation": Allocation.OVERCOMMIT, "overcommit_ratio": Decimal("1.5")}
    team, mine = budget(cast.search, "1000", **shared), budget(cast.ranking, "300", **shared)

    for each in (team, mine):
        with pytest.raises(RoleNeededError, match=f"not loosen its {what}. Ask Ann Keller, Cleo Hart"):
            set_rules(each, cast.ben, **wanted)
        set_rules(
            each, cast.ben, allocation=Allocation.STRICT, overcommit_ratio=Decimal(1), roll_over=RollOver.DEBT
        )
        set_rules(each, cast.cleo, **{"overcommit_ratio": Decimal(1), **shared, **wanted})


def test_closed_budget_binds_no_more_and_stays_in_the_books(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    mine = budget(cast.ranking, "300")
    spend(key, cast.small, "150")

    close(mine, cast.ben)

    assert selectors.headroom(cast.ranking).rows == ()
    assert selectors.unbalanced_balances() == []
    event = audited("budget.closed")
    assert (event.before, event.reason) == ({"limit_usd": "300.000000000000"}, "The pilot ends.")
    assert budget(cast.ranking, "200").pk != mine.pk


@pytest.mark.parametrize("act", [act for act in ACTS if act != "rate"])
def test_closed_budget_does_not_change(cast: Cast, budget: OpenBudget, act: str) -> None:
    mine = budget(cast.ranking, "300")
    close(mine, cast.cleo)

    with pytest.raises(BudgetClosedError, match="This budget was closed on"):
        ACTS[act](mine, cast.cleo)


def test_lead_closes_no_limit_that_his_team_shares(cast: Cast, budget: OpenBudget) -> None:
    alone = budget(cast.ranking, "300", window=Window.DAY)
    team, mine = budget(cast.search, "1000"), budget(cast.ranking, "300")
    told = budget(cast.ranking, "100", mode=Mode.NOTIFY)

    for each in (team, mine):
        with pytest.raises(RoleNeededError, match="To close a budget is to take its limit away"):
            close(each, cast.ben)
    close(told, cast.ben)
    close(alone, cast.ben)
    close(mine, cast.cleo)
    close(team, cast.cleo)


def test_rate_is_set_changed_and_removed_on_one_row(cast: Cast) -> None:
    first = set_rate(cast.ben, ScopeKind.PROJECT, cast.ranking.pk, requests_per_minute=60, parallel_calls=5)
    RateLimit.objects.filter(pk=first.pk).update(in_flight=3)
    second = set_rate(cast.ben, ScopeKind.PROJECT, cast.ranking.pk, requests_per_minute=30)
    set_rate(cast.ben, ScopeKind.PROJECT, cast.ranking.pk, requests_per_minute=30)

    assert (second.pk, second.requests_per_minute, second.parallel_calls) == (first.pk, 30, None)
    events = AuditEvent.objects.filter(action="rate_limit.set").order_by("pk")
    assert [(event.before, event.after) for event in events] == [
        (
            {"requests_per_minute": None, "parallel_calls": None},
            {"requests_per_minute": 60, "parallel_calls": 5},
        ),
        (
            {"requests_per_minute": 60, "parallel_calls": 5},
            {"requests_per_minute": 30, "parallel_calls": None},
        ),
    ]

    rates.remove_rate_limit(actor=cast.ben, limit=second, reason="It was for a test.")

    assert selectors.rate_here(ScopeKind.PROJECT, cast.ranking.pk).lets_everything_through
    assert list(selectors.visible_rate_limits(cast.fay)) == []
    assert RateLimit.objects.get().in_flight == 3  # calls in flight still count down on it
    assert audited("rate_limit.removed").reason == "It was for a test."


def test_lead_slows_his_own_team_down_and_never_speeds_it_up(cast: Cast, key: ApiKey) -> None:
    set_rate(cast.ben, ScopeKind.TEAM, cast.search.pk, requests_per_minute=60)
    set_rate(cast.ben, ScopeKind.TEAM, cast.search.pk, requests_per_minute=30, tokens_per_minute=1000)

    for numbers in ({"requests_per_minute": 31, "tokens_per_minute": 1000}, {"requests_per_minute": 30}, {}):
        with pytest.raises(RoleNeededError, match="A lead does not raise the rates of their own team"):
            set_rate(cast.ben, ScopeKind.TEAM, cast.search.pk, **numbers)
    set_rate(cast.cleo, ScopeKind.TEAM, cast.search.pk)
    set_rate(cast.ben, ScopeKind.KEY, key.pk, requests_per_minute=5)
    set_rate(cast.ben, ScopeKind.KEY, key.pk, requests_per_minute=500)


@pytest.mark.parametrize("kind", [ScopeKind.ORGANISATION, ScopeKind.DEPARTMENT, ScopeKind.PROJECT])
def test_rates_are_for_keys_projects_and_teams_that_exist(cast: Cast, kind: ScopeKind) -> None:
    scope = {ScopeKind.DEPARTMENT: cast.product.pk, ScopeKind.PROJECT: 10**9}.get(kind, 0)

    with pytest.raises(InvalidInputError, match="a key, a project or a team that exists"):
        set_rate(cast.ann, kind, scope, requests_per_minute=5)


def test_rate_below_one_is_refused(cast: Cast) -> None:
    with pytest.raises(InvalidInputError, match="A rate is 1 or more"):
        set_rate(cast.ben, ScopeKind.PROJECT, cast.ranking.pk, tokens_per_minute=0)
