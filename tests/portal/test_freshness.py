"""Every page with money says how fresh it is and whose days it counts; the pages are those of the matrix."""

from __future__ import annotations

import re

import pytest

from tests.api.test_matrix import undone
from tests.api.world import World
from tests.browsing import Visitor
from tests.portal.test_matrix import CELLS, address, cast, one_world, world

__all__ = ["cast", "one_world", "world"]

MAIN = re.compile(r'<main id="main".*?</main>', re.DOTALL)
FRESH = re.compile(r'<p class="fresh.*?</p>', re.DOTALL)
MONEY = re.compile(r"\$\d")
TYPED = re.compile(r"<(input|textarea|option)[^>]*>")
FORM, SPENT = '<div class="narrow">', "Spent and held"
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


@pytest.mark.parametrize("who", ["ann", "ada"])
def test_money_says_its_time_zone_and_its_age(who: str, world: World) -> None:
    visitor = Visitor(getattr(world.cast, who))
    walked = [page for page in CELLS if page not in NOTHING_SPENT and CELLS[page][who] == "200"]

    looked_at, silent = 0, []
    for page in walked:
        with undone():
            answer = visitor.client.get(address(page, world))
            main = MAIN.search(answer.getvalue().decode())
        if main is None or not MONEY.search(TYPED.sub("", main[0])):
            continue
        if FORM in main[0] and SPENT not in main[0]:  # it names limits and caps, which no call makes old
            continue
        looked_at += 1
        said = " ".join(FRESH.findall(main[0]))
        silent += [] if any(zone in said for zone in ZONES) else [f"{page} says no time zone"]
        silent += [] if any(age in said for age in AGES) else [f"{page} says no age"]

    assert not silent, "; ".join(silent)
    assert looked_at > 5
