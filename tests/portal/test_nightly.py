"""The nightly verification in pieces finds what one statement over everything finds, in short steps."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from budgets.models import EntrySum
from core import clock
from core.books import Finding
from core.deadline import OverTimeError
from core.models import Walk
from portal import ledger, nightly
from portal.nightly import Part, findings_of, verify_books
from tests.gateway.conftest import World
from tests.gateway.test_ledger_verify import FITS, TAMPERED, admit, busy, change, world

__all__ = ["busy", "world"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut every rule into pieces of one number, and let what was written before now be all there."""
    monkeypatch.setattr(nightly, "QUICK_SECONDS", 0.0)
    begin = nightly._begin

    def narrow(place: dict[str, Any]) -> None:
        begin(place)
        if nightly.PARTS[place["part"]].sums:
            with connection.cursor() as cursor:
                cursor.execute("SELECT coalesce(max(id) - 2, 0) FROM budgets_entry")
                (place["summed_to"],) = cursor.fetchone()
        place["width"] = max(1, (place["most"] - place["least"]) // 4)

    monkeypatch.setattr(nightly, "_begin", narrow)


def at_night() -> set[str]:
    """Verify in steps and return the rules that did not hold."""
    Walk.objects.all().delete()
    while (place := verify_books()) is None:
        pass
    return {found.rule for found in findings_of(place)}


def at_once() -> set[str]:
    return {found.rule for found in ledger.verify().findings}


@pytest.mark.usefixtures("in_small_pieces")
def test_right_books_hold_in_pieces_too(busy: World) -> None:
    assert at_night() == at_once() == set()
    assert EntrySum.objects.exists()


@pytest.mark.usefixtures("in_small_pieces")
@pytest.mark.parametrize(
    "statement",
    [pytest.param(each, id=f"{rule}-{n}") for rule, many in TAMPERED.items() for n, each in enumerate(many)],
)
def test_what_was_tampered_with_is_found_in_pieces_too(busy: World, statement: str) -> None:
    change(statement, key_budget=busy.budgets["key"].pk)
    assert at_night() == at_once() != set()


@pytest.mark.usefixtures("in_small_pieces")
@pytest.mark.parametrize("held", ["3.9", "4.1", "5"])
def test_a_hold_above_its_limit_is_found_by_looking_back_too(busy: World, held: str) -> None:
    """The replay begins with what the balance has now, less what moved it since."""
    admit(busy, busy.budgets["key"], held="1")
    Walk.objects.create(
        name=nightly.NAME,
        ended_at=clock.now(),
        outcome={"began": (clock.now() + timedelta(minutes=59, seconds=50)).isoformat()},
    )
    admit(busy, busy.budgets["key"], held=held)
    change("UPDATE budgets_reservation SET authorized_at = clock_timestamp() + interval '2 minutes'"
           " WHERE id = (SELECT max(id) FROM budgets_reservation)")  # fmt: skip
    place = verify_books()
    assert place is not None
    assert place["from_at"] < clock.now().isoformat()
    assert {found.rule for found in findings_of(place)} == at_once()
    assert (at_once() == {FITS}) == (Decimal(held) > 4)


def slow_above(monkeypatch: pytest.MonkeyPatch, width: int) -> list[int]:
    """Let every piece of entries that is wider take too long; return the widths that were looked at."""
    looked_at: list[int] = []
    look = Part.look

    def slow(part: Part, piece: Any) -> Finding | None:
        place = Walk.objects.get(name=nightly.NAME).place
        if part.rule.name == ENTRIES and place:
            looked_at.append(place["width"])
            if place["width"] > width:
                raise OverTimeError("canceling statement due to statement timeout")
        return look(part, piece)

    monkeypatch.setattr(Part, "look", slow)
    return looked_at


ENTRIES = "entry_belongs_where_its_reservation_does"


def test_a_piece_that_takes_too_long_is_halved_until_it_fits(
    busy: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    change("UPDATE budgets_entry SET team_id = team_id + 1")
    looked_at = slow_above(monkeypatch, 4)

    assert ENTRIES in at_night()

    assert max(looked_at) > 4
    assert min(looked_at) <= 4


def test_a_piece_that_never_fits_is_said_to_be_unknown_not_right(
    busy: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_above(monkeypatch, 0)

    assert at_night() == {ENTRIES}

    walk = Walk.objects.get(name=nightly.NAME)
    assert nightly.TOO_LARGE in walk.outcome["found"][ENTRIES]["first"]["detail"]


def test_another_versions_round_begins_again(busy: World) -> None:
    Walk.objects.create(name=nightly.NAME, begun_at=clock.now(), place={"parts": 3, "part": 2})
    assert verify_books() is not None


def test_every_rule_over_calls_is_cut_into_pieces() -> None:
    """Those that are not look at what is open, at scopes, or at sums that were made piece by piece."""
    uncut = {part.rule.name for part in nightly.PARTS if part.cut is None}
    assert uncut == {"balance_is_its_entries_and_holds", "rate_counts_its_open_calls", "scope_exists"}
