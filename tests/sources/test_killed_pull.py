"""A worker that is killed while it reads a gateway's log leaves whole pages; the next one ends the work."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import Sum
from pytest_django.fixtures import Settings

from budgets.models import Balance, Entry, ScopeKind, Window
from core import clock
from gateway.models import GatewayLog, LogKind
from gateway.services import register_log
from portal import ledger
from tests.gateway.conftest import World, build_world
from tests.sources.logged import line
from tests.usage.test_bulk_replay import wait_for_other_sessions
from usage.models import GatewayCall, ImportCursor, Quarantine, UsageDay, UsageEvent

LINES, BAD = 90, 3
# A process that pulls a log in small pages, as a worker does, and says when it begins to book one.
WORKER = """
import sys, django
django.setup()
from gateway.models import GatewayLog
from gateway.tasks import log_of
from usage.services import logs
logs.PAGE_ROWS = int(sys.argv[1])
source = log_of(GatewayLog.objects.get())
keep = logs._keep

def told(*args):
    print("page", flush=True)
    return keep(*args)

logs._keep = told
logs.pull_log(source=source)
"""


@pytest.fixture
def world(transactional_db: None) -> World:
    made = build_world()
    for kind, window in ((ScopeKind.KEY, Window.MONTH), (ScopeKind.TEAM, Window.DAY)):
        made.budget(str(kind), kind=kind, limit="1000", window=window)
    return made


@pytest.fixture
def access(world: World, settings: Settings, tmp_path: Path) -> GatewayLog:
    """Return a log of calls that Purser decided and never heard of again, of others, and of lines that are
    none.
    """
    settings.GATEWAY_LOG_DIRECTORY = str(tmp_path)
    place = tmp_path / "usage.log"
    place.write_bytes(b"".join(told(world)))
    return register_log(actor=None, gateway=world.gus.gateway, kind=LogKind.NGINX, place=str(place))


def told(world: World) -> Iterator[bytes]:
    began = clock.now() - timedelta(minutes=30)
    for number in range(LINES):
        reservation = ""
        if number % 3 == 0:
            reservation = world.gus.authorize(world.token).json()["reservation"]
        usage = f'{{"prompt_tokens": {100 + number}, "completion_tokens": {number}, "total_tokens": 1}}'
        moment = (began + timedelta(seconds=number)).timestamp()
        yield line(
            f"req-{number}", reservation=reservation, key_id=world.key.public_id, usage=usage,
            ts=f"{moment:.3f}",
        )  # fmt: skip
    for number in range(BAD):
        yield b"not a line %d\n" % number


def worker(directory: Path, page_rows: int) -> subprocess.Popen[bytes]:
    """Start a worker that reads pages of so many lines."""
    database = connection.settings_dict
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "portal.settings",
        "GATEWAY_LOG_DIRECTORY": str(directory),
        "DATABASE_URL": f"host={database['HOST']} dbname={database['NAME']} user={database['USER']}"
        f" password={database['PASSWORD']} port={database['PORT'] or 5432}",
    }
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(page_rows)], stdout=subprocess.PIPE, env=environment
    )


def ended(process: subprocess.Popen[bytes]) -> int:
    with process.stdout:  # type: ignore[union-attr]
        process.stdout.read()  # type: ignore[union-attr]
    return process.wait(120)


def let_others_read() -> None:
    """End the time for which a reader that is gone has the source to itself."""
    wait_for_other_sessions()
    ImportCursor.objects.update(next_attempt_at=None, claimed_until=None)


def totals() -> set[Decimal]:
    """Return what was spent, as each of the books has it, to twelve decimals."""
    return {
        UsageEvent.objects.aggregate(usd=Sum("cost_usd"))["usd"],
        UsageDay.objects.aggregate(usd=Sum("cost_usd"))["usd"],
        Entry.objects.aggregate(usd=Sum("amount_usd"))["usd"],
        *Balance.objects.values_list("spent_usd", flat=True),
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.full)])
def test_a_pull_that_is_killed_anywhere_and_begun_again_books_every_line_once(
    world: World, access: GatewayLog, kills: int
) -> None:
    directory, chance = Path(access.place).parent, random.Random(11)  # noqa: S311  a moment, no secret
    read = []
    for _ in range(kills):
        process = worker(directory, 4)
        assert process.stdout is not None
        for _ in range(chance.randint(1, 4)):
            assert process.stdout.readline() == b"page\n"
        time.sleep(chance.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        ended(process)
        let_others_read()
        cursor = ImportCursor.objects.filter(source=access.public_id).first()
        read.append(cursor.rows_read if cursor else 0)
        booked = UsageEvent.objects.count()
        assert booked == GatewayCall.objects.count() == min(read[-1], LINES)
        assert ledger.verify().findings == ()

    assert ended(worker(directory, 7)) == 0

    assert any(0 < rows < LINES for rows in read), f"no worker was killed within its work: {read}"
    expected = sum(
        ((100 + n) * Decimal("0.000001") + n * Decimal("0.000002") for n in range(LINES)), Decimal()
    )
    assert totals() == {expected}
    assert UsageEvent.objects.count() == GatewayCall.objects.count() == LINES
    assert Quarantine.objects.count() == BAD
    assert ledger.verify().findings == ()

    ImportCursor.objects.update(position="", next_attempt_at=None)  # all of it again
    assert ended(worker(directory, 5)) == 0
    assert totals() == {expected}
    assert Quarantine.objects.count() == BAD
