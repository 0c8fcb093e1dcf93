"""Who reads which events of the audit."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.approvals.conftest import lend
from tests.browsing import Visitor
from tests.cast import Cast
from tests.portal.test_audit_page import AUDIT, record

EVERYTHING = {
    "adas key", "adas request", "by ada", "search", "cards", "organisation", "adas token", "lent",
}  # fmt: skip


@pytest.mark.parametrize(
    ("who", "seen"),
    [
        ("ada", {"adas key", "adas request", "by ada", "adas token"}),
        ("ben", {"adas key", "adas request", "by ada", "search", "lent"}),
        ("cleo", {"adas key", "adas request", "by ada", "search"}),
        ("dan", {"lent"}),
        ("eve", {"cards"}),
        ("fay", set()),
        ("audrey", EVERYTHING),
        ("ann", EVERYTHING),
    ],
)
def test_each_reads_what_concerns_him(cast: Cast, who: str, seen: set[str]) -> None:
    """Their own, Ben's team and what he lends Dan, Cleo's department; auditors, administrators everything."""
    key = factories.ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    request = factories.AccessRequestFactory.create(requester=cast.ada, project=cast.ranking)
    nowhere: dict[str, Any] = {"actor": None, "team_id": None, "department_id": None}
    events = {
        "adas key": record(cast, actor=None, subject=key),
        "adas request": record(cast, actor=None, subject=request),
        "by ada": record(cast, actor=cast.ada, subject=cast.ranking),
        "search": record(cast),
        "cards": record(cast, actor=None, subject=cast.cards, team_id=cast.cards.pk, department_id=None),
        "organisation": record(cast, subject=cast.ann, **nowhere),
        "adas token": record(cast, subject=factories.ApiTokenFactory.create(owner=cast.ada), **nowhere),
        "lent": record(cast, subject=lend(cast, "ben", "dan"), **nowhere),
    }  # fmt: skip
    visitor = Visitor(getattr(cast, who))

    page = visitor.get(AUDIT)
    open_to = {
        name for name, event in events.items() if visitor.get(f"{AUDIT}{event.public_id}/").status == 200
    }

    assert {name for name, event in events.items() if f"{AUDIT}{event.public_id}/" in page.links} == seen
    assert open_to == seen
