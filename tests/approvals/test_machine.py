"""No order of acts, refusals and attacks breaks an approval."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.approvals.machine import Approvals
from tests.ledger import sizes

pytestmark = pytest.mark.django_db


@pytest.mark.timeout(300)
def test_no_order_of_acts_breaks_an_approval() -> None:
    usual = sizes.usual() if sizes.seeded_sizes else sizes.sized(10, 25, derandomize=True)
    run_state_machine_as_test(Approvals, settings=usual)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_no_long_order_of_acts_breaks_an_approval() -> None:
    run_state_machine_as_test(Approvals, settings=sizes.sized(120, 60))
