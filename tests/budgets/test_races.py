"""Two people at once: what each may do is checked against what the other has done."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from threading import Barrier, BrokenBarrierError

import pytest
from django.db import connections

from budgets import selectors
from budgets.authority import Change, Powers, require_room
from budgets.errors import HeadroomError
from budgets.models import Budget, Mode, ScopeKind, Window
from budgets.services import common, limits
from core import clock
from tests.cast import Cast, make_cast
from tests.factories import ProjectFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.race]
MEETING_SECONDS = 1.0


@pytest.fixture
def people(transactional_db: None) -> Cast:
    """Make the cast in committed rows, which other sessions see."""
    return make_cast()


@pytest.fixture
def rivals(people: Cast) -> list[Budget]:
    """Give two projects 300 dollars a month each, of a team that has 1,000."""
    _open(people, ScopeKind.TEAM, people.search.pk, "1000")
    other = ProjectFactory.create(team=people.search)
    return [_open(people, ScopeKind.PROJECT, project.pk, "300") for project in (people.ranking, other)]


@pytest.fixture
def alone(people: Cast) -> Budget:
    """Give a project 300 dollars a month, of a team without a budget."""
    return _open(people, ScopeKind.PROJECT, people.ranking.pk, "300")


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make both wait, after they have checked, for the other to have checked too, if the locks let him."""
    barrier = Barrier(2)
    check = require_room

    def check_and_wait(change: Change, may: Powers, *, now: datetime) -> None:
        check(change, may, now=now)
        try:
            barrier.wait(MEETING_SECONDS)
        except BrokenBarrierError:
            return

    monkeypatch.setattr(limits, "require_room", check_and_wait)
    yield
    barrier.abort()


def test_without_the_lock_two_raises_allocate_more_than_the_team_has(
    people: Cast, rivals: list[Budget], meeting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "lock_limits", lambda _window: clock.now())

    assert _raise_both(people, rivals) == ["raised", "raised"]
    assert _allocated(people) == 1200


def test_with_the_lock_the_second_raise_is_refused(people: Cast, rivals: list[Budget], meeting: None) -> None:
    assert sorted(_raise_both(people, rivals)) == ["raised", "refused"]
    assert _allocated(people) == 900


def test_without_the_lock_a_parent_is_opened_below_a_child_that_is_raised(
    people: Cast, alone: Budget, meeting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (common, limits):
        monkeypatch.setattr(module, "lock_limits", lambda _window: clock.now())

    assert _raise_while_opening(people, alone) == ["raised", "opened"]


def test_with_the_lock_one_of_them_sees_the_other(people: Cast, alone: Budget, meeting: None) -> None:
    assert sorted(_raise_while_opening(people, alone)) in (["opened", "refused"], ["raised", "refused"])


def _raise_while_opening(people: Cast, project: Budget) -> list[str]:
    """Raise a project to 2,000 dollars while its team gets its first budget, of 1,000."""

    def raise_it() -> str:
        limits.change_limit(actor=people.cleo, budget=project, amount_usd=Decimal(2000), reason="More.")
        return "raised"

    def open_parent() -> str:
        _open(people, ScopeKind.TEAM, people.search.pk, "1000")
        return "opened"

    def attempt(act: Callable[[], str]) -> str:
        try:
            return act()
        except HeadroomError:
            return "refused"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(attempt, (raise_it, open_parent)))


def _open(people: Cast, kind: ScopeKind, scope_id: int, amount: str) -> Budget:
    return limits.open_budget(
        actor=None, scope_kind=kind, scope_id=scope_id, department=people.product, window=Window.MONTH,
        mode=Mode.HARD, amount_usd=Decimal(amount), reason="A test.",
    )  # fmt: skip


def _raise_both(people: Cast, budgets: list[Budget]) -> list[str]:
    def raise_one(budget: Budget) -> str:
        try:
            limits.change_limit(actor=people.ben, budget=budget, amount_usd=Decimal(600), reason="More.")
        except HeadroomError:
            return "refused"
        finally:
            connections.close_all()
        return "raised"

    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(raise_one, budgets))


def _allocated(people: Cast) -> Decimal:
    projects = Budget.objects.filter(scope_kind=ScopeKind.PROJECT, department=people.product)
    return sum((row.limit_usd or Decimal(0) for row in selectors.budget_rows(projects)), Decimal(0))
