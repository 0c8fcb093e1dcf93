"""Days of long ago are summed by project once, and never read so where they were changed since."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F, Min

from core import clock
from portal import ledger
from tests.cast import Cast, make_cast
from tests.factories import ProjectFactory
from tests.racing import at_once, while_it_waits
from tests.usage.books import book
from usage import selectors
from usage.models import FoldedDays, ProjectDay, UsageDay
from usage.services import fold_days
from usage.types import Overview, Scope

SUMS = "usage_project_day_is_the_sum_of_its_days"
NAMES = "usage_project_day_names_what_exists"
UNTIL = 10  # days ago
CENT = Decimal("0.01")


def ago(days: int) -> date:
    return clock.now().date() - timedelta(days=days)


def folded_until() -> Any:
    return FoldedDays.objects.aggregate(until=Min("until"))["until"]


def tell(cast: Cast) -> None:
    """Book a hundred days of three projects, one of which moves to the team of another."""
    moved = ProjectFactory.create(team=cast.cards, code="moved")
    for back in range(100, -1, -3):
        if back == 40:
            moved.team = cast.search
            moved.save()
        for number, project in enumerate((cast.ranking, cast.fraud, moved)):
            amount = Decimal("1.000000000001") * (back + 1) + number
            book(project, cast.small, ago(back), str(amount))
            book(project, cast.large, ago(back), "0.25", owner=cast.ben)


def views(cast: Cast) -> list[Overview]:
    """Read the Overview of every kind of scope and period."""
    scopes = (
        selectors.organisation_scope(),
        selectors.department_scope(cast.product),
        selectors.team_scope(cast.search),
        selectors.project_scope(cast.ranking),
        Scope(label="both", team_ids=(cast.cards.pk,), project_ids=(cast.ranking.pk,)),
        Scope(label="keys", key_ids=tuple({row.key_id for row in UsageDay.objects.all()})),
        Scope(label="nothing"),
    )
    periods = (None, selectors.last_month(ago(0)), selectors.custom(ago(80), ago(5)))
    now = clock.now().replace(hour=12, minute=0, second=0, microsecond=0)
    return [selectors.overview(scope, period=period, at=now) for scope in scopes for period in periods]


def test_folded_days_give_the_same_figures(cast: Cast) -> None:
    tell(cast)
    before = views(cast)

    made = fold_days()

    assert views(cast) == before
    assert made == ProjectDay.objects.count() == UsageDay.objects.filter(day__lt=ago(UNTIL)).count() / 2
    assert folded_until() == ago(UNTIL)
    assert fold_days() == 0
    ProjectDay.objects.update(cost_usd=F("cost_usd") + 1)
    different = [was.scope for was, view in zip(before, views(cast), strict=True) if view != was]
    assert {*different} == {"Organisation", "Product department", "Search team", "Ranking", "both"}


@pytest.mark.parametrize(
    ("change", "back"),
    [
        (lambda _: UsageDay.objects.filter(day=ago(52)).update(cost_usd=F("cost_usd") + CENT), 52),
        (lambda _: UsageDay.objects.filter(day=ago(52)).delete(), 52),
        (lambda _: UsageDay.objects.filter(day=ago(52)).update(day=ago(2)), 52),
        (lambda _: UsageDay.objects.filter(day=ago(1)).update(day=ago(50)), 50),
        (lambda cast: book(cast.fraud, cast.frontier, ago(60), "7"), 60),
    ],
    ids=["changed", "deleted", "moved out", "moved in", "told late"],
)
def test_change_of_a_folded_day_is_read_at_once_and_folded_again(
    cast: Cast, change: Callable[[Cast], Any], back: int
) -> None:
    tell(cast)
    fold_days()
    old = views(cast)

    change(cast)

    assert folded_until() == ago(back)
    changed = views(cast)
    assert changed != old
    fold_days()
    assert (folded_until(), FoldedDays.objects.count()) == (ago(UNTIL), 1)
    assert views(cast) == changed
    FoldedDays.objects.all().delete()
    assert views(cast) == changed


def test_the_oldest_of_several_changes_counts(cast: Cast) -> None:
    tell(cast)
    fold_days()

    for number, back in enumerate((31, 70, 31, 52)):
        book(cast.ranking, cast.frontier, ago(back), "1", owner=(cast.dan, cast.eve)[number // 2])

    assert folded_until() == ago(70)
    assert SUMS not in wrong()


def test_change_of_a_recent_day_leaves_what_is_folded(cast: Cast) -> None:
    tell(cast)
    fold_days()

    UsageDay.objects.filter(day__gt=ago(9)).update(cost_usd=CENT)
    book(cast.ranking, cast.frontier, ago(8), "1")
    UsageDay.objects.filter(day=ago(8)).delete()

    assert list(FoldedDays.objects.values_list("until", flat=True)) == [ago(UNTIL)]


def wrong() -> set[str]:
    return {finding.rule for finding in ledger.verify(since=None).findings}


def test_verification_finds_sums_that_are_not_those_of_their_days(cast: Cast) -> None:
    tell(cast)
    fold_days()
    assert not wrong() & {SUMS, NAMES}

    ProjectDay.objects.filter(day=ago(52), project=cast.fraud).update(cost_usd=F("cost_usd") + CENT)
    assert SUMS in wrong()
    ProjectDay.objects.filter(day=ago(52)).delete()
    assert SUMS in wrong()
    assert NAMES not in wrong()
    ProjectDay.objects.filter(day=ago(49)).update(team_id=-1)
    assert NAMES in wrong()


@pytest.fixture
def people(transactional_db: None) -> Cast:
    """Make the cast and its days in committed rows, the first of them folded."""
    made = make_cast()
    tell(made)
    fold_days()
    FoldedDays.objects.update(until=ago(60))
    return made


def raise_day(back: int) -> int:
    with transaction.atomic():
        return UsageDay.objects.filter(day=ago(back)).update(cost_usd=F("cost_usd") + CENT)


@pytest.mark.race
@pytest.mark.parametrize("back", [70, 52])
def test_change_that_waits_for_a_fold_is_not_lost_to_it(people: Cast, back: int) -> None:
    assert while_it_waits(fold_days, lambda: raise_day(back)) == 6

    assert folded_until() == ago(back)
    assert SUMS not in wrong()


@pytest.mark.race
@pytest.mark.parametrize("back", [70, 52])
def test_fold_leaves_alone_what_is_being_changed(people: Cast, back: int) -> None:
    with transaction.atomic():
        raise_day(back)
        [folded] = at_once(fold_days)

    assert folded == 0
    assert folded_until() == ago(max(back, 60))
    assert SUMS not in wrong()
    assert fold_days() > 0
    assert SUMS not in wrong()


@pytest.mark.race
def test_two_folds_at_once_are_one(people: Cast) -> None:
    outcomes = at_once(fold_days, fold_days, fold_days)

    assert sorted(outcomes)[:2] == [0, 0]
    assert SUMS not in wrong()
