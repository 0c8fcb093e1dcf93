"""A plugin that runs the collected tests once for each seeded bug, until one of them notices it.

It prints `killed by <test>` or `SURVIVED` for each and the count at the end, and fails when one survives or
when a test fails without any bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from pytest_django.plugin import blocking_manager_key

from tests.ledger import sizes
from tests.ledger.mutants import MUTANTS
from tests.ledger.seeded import Mutant, seeded

EXAMPLES, STEPS = 60, 40
REASON_CHARACTERS = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bug", default="", help="seed only bugs with this in their name")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Take the place of the usual loop."""
    run(session, MUTANTS, (EXAMPLES, STEPS))
    return True


def run(session: pytest.Session, mutants: Sequence[Mutant], size: tuple[int, int]) -> None:
    """Run the collected tests once for each mutant, a machine with so many examples of so many steps."""
    report: Any = session.config.pluginmanager.getplugin("terminalreporter")
    sizes.seeded_sizes.append(size)
    failed = first_failure(session.items, session)
    if failed:
        report.write_line(f"without any bug {failed} fails")
        session.testsfailed = 1
        return
    wanted = [mutant for mutant in mutants if session.config.getoption("bug") in mutant.name]
    killed = 0
    for mutant in wanted:
        killer = killer_of(mutant, session)
        killed += bool(killer)
        report.write_line(f"{mutant.name}: {f'killed by {killer}' if killer else 'SURVIVED'}")
    report.write_line(f"{killed} / {len(wanted)}")
    session.testsfailed = len(wanted) - killed


def killer_of(mutant: Mutant, session: pytest.Session) -> str:
    """Return the test that notices a bug; nothing when none does."""
    items = sorted(session.items, key=lambda item: not item.nodeid.startswith(mutant.tests or ("?",)))
    with session.config.stash[blocking_manager_key].unblock():
        mutation = seeded(mutant)
        mutation.__enter__()
    try:
        return first_failure(items, session)
    finally:
        with session.config.stash[blocking_manager_key].unblock():
            mutation.__exit__(None, None, None)


def first_failure(items: Sequence[pytest.Item], session: pytest.Session) -> str:
    """Run tests until one fails and return its name. What a session sets up stays; all else is taken down."""
    nowhere: Any = SimpleNamespace(listchain=lambda: [session])
    for item in items:
        if isinstance(item, pytest.Function):
            item._initrequest()
        for report in runtestprotocol(item, log=False, nextitem=nowhere):
            if report.failed:
                return f"{item.nodeid} ({reason_of(report)})"
    return ""


def reason_of(report: pytest.TestReport) -> str:
    """Return the first line of what a test failed with, so that a kill by accident shows."""
    lines = [line[1:].strip() for line in report.longreprtext.splitlines() if line.startswith("E ")]
    return lines[0][:REASON_CHARACTERS] if lines else report.longreprtext[-REASON_CHARACTERS:]
