"""Every page with money says how fresh it is and whose days it counts; the pages are those of the matrix."""

from __future__ import annotations

import re

import pytest

from tests.api.world import World
from tests.browsing import Visitor
from tests.portal.test_matrix import CELLS, address, cast, one_world, world

__all__ = ["cast", "one_world", "world"]

MAIN = re.compile(r'<main id="main".*?</main>', re.DOTALL)
FRESH = re.compile(r'<p class="fresh.*?</p>', re.DOTALL)
MONEY = re.compile(r"\$\d")
ZONES = ("UTC", "Days are those of")
AGES = ("<time", "No usage booked yet", "Nothing is compared yet")
# Money that was set, asked for or agreed, and that no call makes out of date.
NOTHING_SPENT = {
    page: "limits, prices or what was asked for"
    for page in CELLS
    if re.match(
        r"/(audit|developers|prices|approvals/policies|approvals/review|approvals/delegations)/", page
    )
}


@pytest.mark.parametrize("page", [page for page in CELLS if page not in NOTHING_SPENT])
@pytest.mark.parametrize("who", ["ann", "ada"])
def test_money_says_its_time_zone_and_its_age(page: str, who: str, world: World) -> None:
    if CELLS[page][who] != "200":
        return
    answer = Visitor(getattr(world.cast, who)).get(address(page, world))
    main = MAIN.search(answer.response.content.decode())
    if main is None or not MONEY.search(re.sub(r"<(input|textarea|option)[^>]*>", "", main[0])):
        return
    said = " ".join(FRESH.findall(main[0]))
    assert any(zone in said for zone in ZONES), f"{page} says no time zone: {said}"
    assert any(age in said for age in AGES), f"{page} says no age: {said}"
