"""An emptied Valkey loses nothing: the queue is an alarm clock, PostgreSQL is the record."""

from __future__ import annotations

from tests.installations import installation


def test_valkey_that_is_emptied_while_the_portal_works_costs_nobody_anything() -> None:
    """Real servers and a real worker: queued alarms, locks and counters all go, again and again."""
    with installation() as made:
        done = made.manage("shell", "-c", "from tests.portal.flushed_story import tell; tell()")
    assert done.stdout.rstrip().endswith("told")
