"""No page reads single calls: every figure comes from roll-ups, however many calls there are."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.api.test_matrix import undone
from tests.api.world import World
from tests.portal.test_matrix import CELLS, address, one_world, pages, visitor, world
from tests.usage.telling import make_telling
from usage.models import UsageEvent
from usage.services import import_rows

__all__ = ["one_world", "world"]

# The comparison with a gateway is about single calls: it looks up the differing ones, 200 at most.
SINGLE_CALLS = {"/reconciliation/{source}/{day}/"}
# The database counts scans itself, so that a read inside a function is seen too.
SCANS = """
    SELECT coalesce(sum(coalesce(seq_scan, 0) + coalesce(idx_scan, 0)), 0) FROM pg_stat_xact_user_tables
    WHERE relname LIKE 'usage\\_call%'
"""


def scans() -> int:
    with connection.cursor() as cursor:
        cursor.execute(SCANS)
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("role", ["ann", "ben"])
def test_no_page_reads_single_calls(role: str, world: World) -> None:
    telling = make_telling(world.cast)
    import_rows(source=telling.gateway.public_id, rows=telling.rows(30))
    before = scans()
    with undone():
        assert UsageEvent.objects.count() == 30
    assert scans() > before, "a read of single calls is not seen"

    reading = []
    for page in pages():
        if CELLS[page][role] != "200" or page in SINGLE_CALLS:
            continue
        before = scans()
        with undone():
            visitor(role, world).get(address(page, world))
        if scans() != before:
            reading.append(page)
    assert reading == []
