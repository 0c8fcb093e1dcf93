"""Rows are drawn and checked a page ahead of the one that the database books."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.usage.telling import Telling, telling, wrong
from usage.models import UsageEvent
from usage.services.bulk import import_pages

__all__ = ["telling"]

pytestmark = pytest.mark.django_db


def test_a_page_is_drawn_while_the_one_before_is_booked(telling: Telling) -> None:
    drawn: list[int] = []

    def rows() -> Iterator[Any]:
        for number in range(9):
            drawn.append(number)
            yield telling.row(number)

    pages = import_pages(source=telling.gateway.public_id, rows=rows(), page_rows=3)
    booked = [next(pages).booked for _ in range(2)]
    pages.close()

    assert booked == [3, 3]
    assert len(drawn) == 9  # the third page was drawn, and nobody asked for it
    assert UsageEvent.objects.count() == 6
    assert wrong() == []


def test_rows_that_end_in_an_error_leave_what_was_booked_and_say_it(telling: Telling) -> None:
    def rows() -> Iterator[Any]:
        yield from telling.rows(4)
        raise OSError("the log is gone")

    pages = import_pages(source=telling.gateway.public_id, rows=rows(), page_rows=2)
    found = [next(pages).booked, next(pages).booked]
    with pytest.raises(OSError, match="the log is gone"):
        next(pages)

    assert found == [2, 2]
    assert UsageEvent.objects.count() == 4
    assert wrong() == []
