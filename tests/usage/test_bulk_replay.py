"""Whatever is told again, in any order and pages, by whom and however often it is stopped: the same books."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.cast import make_cast
from tests.racing import at_once
from tests.usage.telling import Telling, books, make_telling, wrong
from usage.models import Quarantine
from usage.services import import_rows

ROWS = 40
BAD = 6
CONFLICTS = 4
TOLD = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "page_rows": st.integers(4, 60),
        "stop_at_page": st.none() | st.integers(0, 8),
    }
)
# A process that tells rows of its input, page by page, as a worker does.
WORKER = """
import sys, orjson, django
django.setup()
from usage.services import import_page
source, size, *rows = orjson.loads(sys.stdin.read())
print("ready", flush=True)
for start in range(0, len(rows), size):
    import_page(source=source, rows=rows[start:start + size])
    print(start, flush=True)
"""


@pytest.fixture
def telling(transactional_db: None) -> Telling:
    return make_telling(make_cast())


def batch(telling: Telling) -> list[dict[str, Any]]:
    """Tell good rows, poison, and calls that are told with two figures."""
    rows = telling.rows(ROWS)
    rows += [telling.row(ROWS + number, input_tokens=-1) for number in range(BAD)]
    return rows


def conflicts(telling: Telling) -> list[dict[str, Any]]:
    return [telling.row(number, output_tokens=99_999) for number in range(CONFLICTS)]


class StopError(Exception):
    """The worker is gone."""


def pages(rows: list[Any], size: int, stop: int | None) -> Iterator[Any]:
    """Give the rows, and stop in the middle of a page."""
    for number, row in enumerate(rows):
        if stop is not None and number >= stop * size + size // 2:
            raise StopError
        yield row


@pytest.mark.timeout(400)
@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tellings=st.lists(TOLD, min_size=4, max_size=4), with_conflicts=st.booleans())
def test_books_are_the_same_however_a_batch_is_told(
    telling: Telling, tellings: list[dict[str, Any]], with_conflicts: bool
) -> None:
    """Five times: shuffled, in other pages, stopped in the middle, and once whole."""
    source, rows = telling.gateway.public_id, batch(telling)
    empty_the_books()
    import_rows(source=source, rows=rows)
    reference = books()
    if with_conflicts:
        rows += conflicts(telling)
    else:
        empty_the_books()
    for told in tellings:
        shuffled = random.Random(told["seed"]).sample(rows, len(rows))  # noqa: S311  an order, no secret
        with suppress(StopError):
            parts = pages(shuffled, told["page_rows"], told["stop_at_page"])
            import_rows(source=source, rows=parts, page_rows=told["page_rows"])
    import_rows(source=source, rows=rows)
    assert books() == reference
    assert wrong() == []
    kept = list(Quarantine.objects.values_list("reason", flat=True))
    assert (kept.count("negative"), kept.count("conflict")) == (BAD, CONFLICTS if with_conflicts else 0)


def worker(telling: Telling, rows: list[dict[str, Any]], size: int) -> subprocess.Popen[bytes]:
    database = connection.settings_dict
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "portal.settings"}
    environment["DATABASE_URL"] = (
        f"host={database['HOST']} dbname={database['NAME']} user={database['USER']}"
        f" password={database['PASSWORD']} port={database['PORT'] or 5432}"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdin is not None
    process.stdin.write(orjson.dumps([telling.gateway.public_id, size, *rows]))
    process.stdin.close()
    return process


def test_killed_worker_leaves_whole_pages_and_the_next_one_ends_the_work(telling: Telling) -> None:
    """A real process, killed at random moments; the last one comes to the end."""
    rows = telling.rows(120)
    chance = random.Random(7)  # noqa: S311  as above
    for attempt in range(5):
        process = worker(telling, rows, 5)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.random() * 0.25 * (attempt + 1))
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        process.stdout.close()
        wait_for_other_sessions()
        assert wrong() == []
    last = worker(telling, rows, 11)
    assert last.wait(120) == 0
    assert last.stdout is not None
    last.stdout.close()
    told = books()
    assert len(told["events"]) == 120
    assert wrong() == []
    empty_the_books()
    import_rows(source=telling.gateway.public_id, rows=rows)
    assert books() == told


def wait_for_other_sessions() -> None:
    """Wait until the server has noticed that the killed process is gone."""
    for _ in range(200):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state <> 'idle' AND pid <> pg_backend_pid() AND query LIKE '%usage_import%'"
            )
            if not cursor.fetchone()[0]:
                return
        time.sleep(0.05)
    raise TimeoutError("the killed worker's session is still there")


NOT_TRUNCATED = (
    ("budgets_entry", "entry_is_not_truncated"),
    ("usage_ledger_correction", "ledger_correction_is_not_truncated"),
)


def empty_the_books() -> None:
    """Forget all calls, as the end of a test does."""
    with connection.cursor() as cursor:
        for table, trigger in NOT_TRUNCATED:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        cursor.execute(
            "TRUNCATE budgets_entry, budgets_balance, usage_call, usage_day, usage_hour, usage_quarantine"
            " CASCADE"
        )
        for table, trigger in NOT_TRUNCATED:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")


def test_two_at_once_book_every_call_once(telling: Telling) -> None:
    """Two workers of one source in opposite orders and a third of another source on the same keys."""
    rows = telling.rows(80)
    source, other = telling.gateway.public_id, "gw_other"

    def tell(name: str, told: list[dict[str, Any]], size: int) -> Any:
        return lambda: import_rows(source=name, rows=told, page_rows=size)

    outcomes = at_once(tell(source, rows, 7), tell(source, rows[::-1], 9), tell(other, rows[::-1], 8))
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert sum(outcome.booked for outcome in outcomes[:2]) == 80
    assert outcomes[2].booked == 80
    assert [line for line in wrong() if not line.startswith("source_is_a_gateway")] == []
