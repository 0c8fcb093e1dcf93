"""A plugin that seeds bugs into approvals, one by one, and names the test that notices each."""

from __future__ import annotations

import pytest

from tests.approvals.mutants import MUTANTS
from tests.ledger.seeding import run

EXAMPLES, STEPS = 20, 25


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bug", default="", help="seed only bugs with this in their name")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Take the place of the usual loop."""
    run(session, MUTANTS, (EXAMPLES, STEPS))
    return True
