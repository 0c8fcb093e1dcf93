"""What the Budgets pages read."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from budgets import selectors
from budgets.models import Balance, Budget, BudgetLimit, LimitKind, Mode, Window
from budgets.services import limits
from core import clock
from keys.models import ApiKey
from tests.budgets.conftest import OpenBudget, spend
from tests.cast import Cast
from tests.factories import ApiKeyFactory, ProjectFactory


def query_count(act: Callable[[], Any]) -> int:
    """Return how many queries `act` makes."""
    with CaptureQueriesContext(
        connection,
    ) as queries:
        act()
    return len(queries)


def test_a_row_has_its_window_limit_spent_held_and_left(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    budget(cast.ranking, "300", actor=cast.cleo, reason="The yearly plan.")
    spend(key, cast.small, "150", held="30")
    spend(key, cast.small, "99", at=clock.now() - timedelta(days=40))

    [row] = selectors.list_budgets(cast.ada)

    now = clock.now()
    assert (row.name, row.window_label, row.mode) == ("Ranking", "Month", Mode.HARD)
    assert (row.limit_usd, row.spent_usd, row.held_usd, row.left_usd) == (300, 150, 30, 120)
    assert (row.spent_percent, row.held_percent) == (50, 10)
    assert row.window_starts_at <= now < row.window_ends_at == row.resets_at
    assert (row.set_by, row.reason) == ("Cleo Hart", "The yearly plan.")
    assert row.in_force_since is not None


def test_people_see_the_budgets_of_what_they_may_see(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    for scope in (None, cast.product, cast.search, cast.ranking, key, cast.cards):
        budget(scope, "100")

    def names(who: str, *key_ids: int) -> list[str]:
        return [row.name for row in selectors.list_budgets(getattr(cast, who), key_ids=key_ids)]

    assert names("ada") == names("ben") == ["Search team", "Ranking"]
    assert names("ada", key.pk) == ["Search team", "Ranking", "Key"]
    assert names("cleo") == ["Product department", "Search team", "Ranking"]
    assert names("dan") == ["Cards team"]
    everything = ["Organisation", "Product department", "Cards team", "Search team", "Ranking", "Key"]
    assert names("fay") == names("fay", key.pk) == everything


def test_the_list_reads_as_often_for_fifty_budgets_as_for_five(cast: Cast, budget: OpenBudget) -> None:
    for _ in range(5):
        budget(ProjectFactory.create(team=cast.search), "10")
    few = query_count(lambda: selectors.list_budgets(cast.ben))
    for _ in range(45):
        budget(ProjectFactory.create(team=cast.search), "10")

    assert query_count(lambda: selectors.list_budgets(cast.ben)) == few == 2
    assert len(selectors.list_budgets(cast.ben)) == 50


def test_no_limit_and_nothing_allowed_are_different(cast: Cast, budget: OpenBudget) -> None:
    budget(cast.ranking, None)
    budget(cast.ranking, "0", window=Window.DAY)

    month, day = sorted(selectors.list_budgets(cast.ada), key=lambda row: row.window, reverse=True)

    assert (month.limit_usd, month.left_usd, month.spent_percent) == (None, None, None)
    assert (day.limit_usd, day.left_usd, day.spent_percent) == (0, 0, 0)


def test_a_top_up_counts_while_it_is_valid(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    start = clock.now() - timedelta(minutes=1)
    BudgetLimit.objects.create(
        budget=mine, kind=LimitKind.TOP_UP, amount_usd=50, valid_from=start,
        valid_until=start + timedelta(hours=1), actor=cast.cleo, reason="Launch week.",
    )  # fmt: skip

    now, later = (selectors.budget_detail(mine, at=at) for at in (None, start + timedelta(hours=2)))

    assert (now.budget.limit_usd, later.budget.limit_usd) == (350, 300)
    assert [row.kind for row in now.history] == ["", "Top-up"]


def test_history_says_from_when_until_when_by_whom_and_why(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    limits.change_limit(actor=cast.ben, budget=mine, amount_usd=Decimal(400), reason="More traffic.")

    newest, oldest = selectors.budget_detail(mine).history

    assert (newest.amount_usd, newest.actor, newest.reason, newest.until) == (
        400,
        "Ben Okafor",
        "More traffic.",
        None,
    )
    assert (oldest.amount_usd, oldest.actor, oldest.until) == (300, "Purser", newest.in_force_since)


def test_detail_names_what_binds_the_same_calls_and_the_tightest(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    mine = budget(cast.ranking, "300")
    budget(cast.search, "50", window=Window.DAY)
    budget(cast.search, "20", only_tier=cast.tier3)
    budget(cast.cards, "1")
    budget(key, "5")

    detail = selectors.budget_detail(mine)

    assert [(row.name, row.window) for row in detail.path] == [("Search team", Window.DAY)]
    assert detail.tightest is not None
    assert detail.tightest.name == "Search team"


def test_past_windows_keep_what_they_came_to(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    mine = budget(cast.ranking, "300")
    spend(key, cast.small, "12", at=datetime(2026, 5, 31, 23, tzinfo=UTC))
    spend(key, cast.small, "30", at=datetime(2026, 6, 1, 0, tzinfo=UTC))

    past = selectors.budget_detail(mine).past_windows

    assert [(window.starts_at.month, window.spent_usd) for window in past] == [(6, 30), (5, 12)]


def test_headroom_is_the_tightest_hard_budget_of_the_path(
    cast: Cast, budget: OpenBudget, key: ApiKey
) -> None:
    budget(None, "5000")
    budget(cast.search, "400")
    budget(cast.ranking, "300", mode=Mode.SOFT)
    budget(cast.search, "10", only_tier=cast.tier3)
    spend(key, cast.small, "250")

    room = selectors.headroom(cast.ranking)
    room_for_tier3 = selectors.headroom(cast.ranking, tier=3)

    assert [row.name for row in room.rows] == ["Organisation", "Search team", "Ranking"]
    assert room.tightest is not None
    assert (room.tightest.name, room.tightest.left_usd) == ("Search team", 150)
    assert room_for_tier3.tightest is not None
    assert room_for_tier3.tightest.only == "Tier 3"


def test_headroom_without_budgets_binds_nothing(cast: Cast) -> None:
    assert selectors.headroom(cast.ranking).tightest is None


def test_keys_spending_are_those_of_this_window_on_this_budget(cast: Cast, budget: OpenBudget) -> None:
    mine, other, silent, outsider = (
        ApiKeyFactory.create(project=project, owner=cast.ada)
        for project in (cast.ranking, cast.ranking, cast.ranking, cast.fraud)
    )
    project, team, organisation = budget(cast.ranking, "10"), budget(cast.search, "10"), budget(None, "10")
    on_key = budget(silent, "5")
    spend(mine, cast.small, "1")
    spend(other, cast.small, "1", held="1")
    spend(silent, cast.small, "1", at=clock.now() - timedelta(days=40))
    spend(outsider, cast.small, "1")

    assert selectors.keys_spending_on(project) == selectors.keys_spending_on(team) == [mine.pk, other.pk]
    assert selectors.keys_spending_on(organisation) == [mine.pk, other.pk, outsider.pk]
    assert selectors.keys_spending_on(on_key) == [silent.pk]


def test_balances_that_differ_from_the_books_are_found(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    mine = budget(cast.ranking, "300")
    spend(key, cast.small, "150", held="30")
    assert selectors.unbalanced_balances() == []

    Balance.objects.filter(budget=mine).update(spent_usd=Decimal("150.000000000001"), reserved_usd=29)

    [wrong] = selectors.unbalanced_balances()
    assert wrong.subject.startswith(mine.public_id)
    assert "spent 150.000000000001, entries 150.000000000000;" in wrong.detail
    assert "reserved 29.000000000000, holds 30.000000000000" in wrong.detail


def test_a_missing_balance_is_found_too(cast: Cast, budget: OpenBudget, key: ApiKey) -> None:
    mine = budget(cast.ranking, "300")
    spend(key, cast.small, "150")

    Balance.objects.filter(budget=mine).delete()

    [missing] = selectors.unbalanced_balances()
    assert missing.detail.startswith("spent nothing, entries 150.000000000000;")


def test_closed_budgets_are_not_listed(cast: Cast, budget: OpenBudget) -> None:
    mine = budget(cast.ranking, "300")
    Budget.objects.filter(pk=mine.pk).update(closed_at=clock.now())

    assert selectors.list_budgets(cast.ada) == []
