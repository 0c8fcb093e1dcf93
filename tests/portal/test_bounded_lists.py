"""Lists of what only grows are read through an index, in either order: never the whole table for a page."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.browsing import Visitor
from tests.cast import Cast


def plan_of(statements: list[str], table: str, with_: str = "") -> str:
    """Return how a statement reads a table, where reading all of it is the last thing to do."""
    [statement] = [sql for sql in statements if f'FROM "{table}"' in sql and with_ in sql]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statement}")
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.parametrize("sort", ["", "made"])
@pytest.mark.parametrize(("state", "index"), [("", "core_outbox_pkey"), ("given_up", "outbox_given_up")])
def test_deliveries_are_read_by_an_index_either_way(cast: Cast, state: str, index: str, sort: str) -> None:
    plan = plan_of(Visitor(cast.ann).queries("/deliveries/", state=state, sort=sort), "core_outbox")
    assert index in plan
    assert "Sort" not in plan


@pytest.mark.parametrize("sort", ["", "at"])
def test_audit_is_read_by_an_index_either_way(cast: Cast, sort: str) -> None:
    plan = plan_of(Visitor(cast.audrey).queries("/audit/", sort=sort), "core_auditevent")
    assert "core_auditevent_pkey" in plan
    assert "Sort" not in plan


def test_status_reads_only_messages_that_are_not_done(cast: Cast) -> None:
    plan = plan_of(Visitor(cast.ada).queries("/status/"), "core_outbox", with_="COUNT(")
    assert "outbox_waits" in plan
    assert "outbox_given_up" in plan
    assert "core_outbox_pkey" not in plan
